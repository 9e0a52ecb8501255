"""Who gets in, as whom, and what is noted of it."""
