"""lb-switch: a userspace, packet-level NAT load balancer; an L4 switch you can read.

A packet's way through the package, and the room where each step lives:

    capture/          where packets come from and go back to: a TUN device, NFQUEUE, files, memory
    packet/           views over the headers; flow keys; checksum arithmetic
    connections/      the table of connections, their TCP states, who gives way, timers; fragments
    servers.py        virtual servers and their groups of real servers
    scheduling/       who gets a new connection
    nat/              translations; rewriting of packets and of ICMP errors; the switch's answers
    switch.py         the engine: these steps, in packet order
    short_road.py     the same in one breath, for the ordinary packets of a known connection
    tcp_tracking.py   what a TCP segment does to a connection's state
    severing.py       who waits for a real server that went out of service is told
    fragment_road.py  the first fragment decides, the others follow it
    bookkeeping.py    connections begin, change and end in all books at once
    outcome.py        what comes of a packet inside the engine: a verdict, and whom it is about
    verdict.py        what became of the packet, and the closed list of reasons
    events.py         what leaves the engine as values, for whoever listens
    settings.py       what holds for the whole switch, whatever its virtual servers
    tally.py          packets and bytes in one number
    harmless.py       text from outside, before it meets a terminal or a file
    interpreter.py    the Python that processes of the package's own run in
    private_file.py   files and locks of root's, where others may be
    chain.py          doubly linked lists
    invariants.py     what must always hold of all this

and around it:

    runtime.py        the loop of the live switch, the only reader of the clock
    health/           probes of the real servers, in a process of their own
    config/           the TOML file: schema, errors, the switch it describes
    control/          the local socket through which the running switch is seen and changed
    replay.py         the same engine over a capture file
    explain/          stories, diffs, ladders, recordings, pcapng; schedulers compared
    examples/         a capture, its configuration and its recording, to try things on
    bench/            the engine measured alone
    service/          the systemd unit, and what systemd is told
    cli/              the commands

Start reading at `lb_switch.switch`.
"""
