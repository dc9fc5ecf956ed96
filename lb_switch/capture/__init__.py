"""Where packets come from and go back to."""
