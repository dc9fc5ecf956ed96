"""Destination NAT: translations as plain data, and the packets the switch makes itself."""
