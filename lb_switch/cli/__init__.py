"""The commands: parse, call, render; nothing else.

One file per command.  A command's module imports nothing slow at its top (no pydantic, no scapy,
no engine): `lb-switch show --help` must come at once.
"""
