"""The engine: everything that decides on packets, and nothing that does I/O.

A packet and the time come in, a verdict goes out; what happened is told as values.  No file, no
socket, no clock, no random number and no log here: a live capture, the replay of a recording, a
test and a benchmark run this same code.

A packet's way, and the file or room where each step lives:

    switch.py         the way in: which road the packet takes, and what it is told of
    readable_road.py  every step of a packet's way; the rooms that it goes through:
    packet/           views over the headers; flow keys; checksum arithmetic; the hop
    connections/      the table of connections, their TCP states, who gives way, timers; fragments
    servers.py        virtual servers, their groups of real servers, and what a scheduler is
    scheduling/       who gets a new connection
    nat/              translations; rewriting of packets and of ICMP errors; the switch's answers
    directory.py      which virtual server a packet is for; which addresses are the switch's own
    short_road.py     all of it in a single function, for ordinary packets of a known connection
    tcp_tracking.py   what a TCP segment does to a connection's state
    fragment_road.py  the first fragment decides, the others follow it
    bookkeeping.py    connections begin, change and end in all books together
    severing.py       who waits for a real server that went out of service is told
    outcome.py        what comes of a packet inside the engine: a verdict, and whom it is about
    verdict.py        what became of the packet, and the closed list of reasons
    changes.py        what can be changed while it runs: one door for all
    events.py         what is told of all this, as values
    listeners.py      who is told what
    settings.py       what holds for the whole switch, whatever its virtual servers
    tally.py          packets and bytes in one number
    chain.py          doubly linked lists
    invariants.py     what must always hold of all this

Start reading at `switch` and `readable_road`.
"""
