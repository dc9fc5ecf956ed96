"""Connections: their TCP states, their timers, and the table that holds them."""
