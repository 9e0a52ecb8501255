"""Proxies that share a store: who is alive, and what each of them serves."""
