"""lb-switch as a system service: the systemd unit, and what systemd is told.

`unit` is the file as it is shipped, `notify` the datagrams of sd_notify(3).  Nothing here starts a
switch: that is `lb-switch run`.
"""
