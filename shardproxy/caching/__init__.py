"""Caching by rules: values that are loaded when they are asked for, and writes that reach a database."""
