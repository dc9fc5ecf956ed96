"""lb-switch: a userspace, packet-level NAT load balancer; an L4 switch you can read.

The rooms of the package, in the order in which a packet and then its story go through them:

    capture/          where packets come from and go back to: a TUN device, NFQUEUE, memory
    engine/           everything that decides on packets; no I/O (start reading here)
    stream/           what the engine tells, as lines that others read: schema, recordings, pipes
    host/             what a capture changes on the host: planned, applied, undone exactly
    files/            capture files; files and locks of root's, where others may be
    health/           probes of the real servers, in a process of their own
    config/           the TOML file: schema, errors, the switch it describes
    control/          the local socket through which the running switch is seen and changed
    daemon/           the running switch: the loop, the only reader of the clock
    replay.py         the same engine over a capture file
    words/            the sentences, in English: what reasons, causes and rules mean
    explain/          stories, header diffs, ladders
    compare/          schedulers side by side
    export/           both sides of the switch in one pcapng file
    web/              the switch on a page: live in a browser, or as one file
    cli/              the commands
    bench/            the engine measured alone
    service/          the systemd unit, and what systemd is told
    examples/         a capture, its configuration and its recording, to try things on
    drawing.py        pictures as SVG: one style for all of them
    harmless.py       text from outside, before it meets a terminal or a file
    interpreter.py    the Python that processes of the package's own run in

Who may know whom stands in pyproject.toml (import-linter); a new room has to say where it stands.
"""
