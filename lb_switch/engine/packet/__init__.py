"""Views over the headers of one IP packet, flow keys and checksum arithmetic."""
