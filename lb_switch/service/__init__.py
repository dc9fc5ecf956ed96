"""lb-switch as a system service: the systemd unit, and what systemd is told."""
