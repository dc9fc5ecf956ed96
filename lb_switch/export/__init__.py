"""Both sides of the switch in one capture file, for Wireshark and its kin.

A reader of the stream, in a process of its own where packets are live (`python -m
lb_switch.export`).  `sides` says which copies of a packet there are, `both_sides` makes blocks of
them, `comment` their one-line story, `names` the names of addresses; `pcapng_file` writes.  Views
for people live in `explain`, the file formats in `files`.
"""
