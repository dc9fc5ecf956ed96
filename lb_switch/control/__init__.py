"""The local control socket of a running switch."""
