"""Data on its way from one engine to another, or to a file, while both serve.

The threads that move bytes are the crate's; here they are ordered about, and their progress is read.
"""
