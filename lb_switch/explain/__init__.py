"""Every packet can explain itself: views for people of what a stream or a recording says.

`story`, `header_diff` and the ladders are views; each takes only what was read from lines
(`lb_switch.stream`), so a live run and its recording look the same.  Nothing here knows the
engine's objects, and nothing runs in the packet process.
"""
