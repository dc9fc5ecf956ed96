"""The commands: parse, call, render; nothing else."""
