"""Benchmarks on the wire: every contestant in a lab of its own, side by side in one run.

Rooms, from data to picture::

    topology        one client, three servers, the switch between them (pure data)
    contestants     who takes part: what is set up on the switch, what program runs there (pure)
    configurations/ the contestants' and the servers' configuration files, to be read and doubted
    measures        what is measured, with which program, for how long (pure)
    readings        the output of wrk, iperf3 and the UDP client -> figures (pure)
    arena           a fresh lab for one contestant: build, start, wait until it serves
    udp             the UDP echo server and its closed-loop client (programs)
    processor       CPU seconds of a process with its children, and how busy the machine is
    tournament      rounds of contestants of measures; progress; results as they come
    results         medians, ratios, JSON, table (pure)
    chart           the picture: SVG bars, light and dark (pure)

How it is kept fair stands in `NOTES.md`.  Start it with ``lb-switch bench`` or, on a machine that
lacks haproxy, nginx, iperf3 or wrk, with ``scripts/bench``.
"""
