"""Benchmarks of the engine alone: no network, no root, no other program.

    packets   what a packet costs, by kind, and what scapy takes for the same
    memory    bytes per established connection
    lookup    a packet's cost in a large table, against a small one
    growth    the longest time of a single packet while the table grows
    flood     the same, by SYNs alone
    expiry    the longest time a packet waits while a large table expires

Each runs in a process of its own (`python -m lb_switch.bench NAME`), with the garbage collector
set as the loop in `lb_switch.daemon.loop` sets it.  `report` runs them one by one and puts the
results together; `lb-switch bench engine` calls it.

Two things are kept apart in whatever looks for a longest time.  *Wall* time is what a packet
waits; it includes whatever else the machine did meanwhile.  *CPU* time of the thread leaves out
the time in which others ran, but not interrupts.  And a *control*, a bit of arithmetic that takes
about as long as a packet, is timed in turn with the packets, on both clocks: what happens to it
is the machine's own noise.
"""
