"""Sans-I/O codecs for the control plane. Knows nothing of sockets."""
