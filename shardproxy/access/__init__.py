"""Who came in, and who was kept out."""
