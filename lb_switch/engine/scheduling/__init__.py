"""Schedulers: who gets the next new connection."""
