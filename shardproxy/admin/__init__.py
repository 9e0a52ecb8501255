"""What operators and their tools ask over HTTP: probes, metrics, status."""
