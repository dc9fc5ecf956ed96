"""Where packets come from and go back to: a TUN device, netfilter's queue, or memory.

`interface` says what a capture is; `tun` and `nfqueue` are the two of a live switch.  What they
need of the host is planned and installed in `host`; the engine decides what becomes of a packet.
"""
