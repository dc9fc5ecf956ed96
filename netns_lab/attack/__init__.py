"""Attacks on the wire: floods, and segments of somebody who sees nothing of a conversation.

Rooms, from data to verdict::

    topology   honest clients, real servers, an attacker on either side, and the switch (pure data)
    headers    IP, TCP, UDP, ICMP packets and fragments, byte by byte, with their checksums (pure)
    floods     endless packets of one kind: SYN, lone ACK, datagrams, fragments, ICMP quotes (pure)
    blind      segments in the names of two ends whose numbers are not known (pure)
    burst      many frames with one system call (AF_PACKET, sendmmsg)
    sender     the attacker's program: packets at a rate
    servers    the real servers' program: echo and discard
    newcomers  clients that come once: a connection or a question each
    honest     the honest program: established transfers, idle connections, newcomers
    programs   a program on a host, with a line to it and one back
    lookout    the switch's table, counters, memory and queue, as they can be seen
    arena      a fresh lab for one attack: build, attack, count, remove
    report     what must hold, and the table (pure)

What is honest, what is sent and what is counted stands in `NOTES.md`.  Start it with
``sudo scripts/attack``.
"""
