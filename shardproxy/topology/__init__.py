"""Which topology is served: proposals in, numbered topologies out."""
