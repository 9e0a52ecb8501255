"""What the nodes of a Redis Cluster say of it, and what is believed of that.

seeds ─> poll ─> views ─> decide ─> layout ─> numbers ─> records
         (I/O)   (view.py) (pure)             (pure)
"""
