"""The namespace lab: real clients, real servers and the switch between them, on one machine.

Rooms, from data to wire::

    topology   what there is: segments, hosts, addresses, services, virtual servers (pure data)
    plan       topology -> the commands that build it and the commands that remove it (pure)
    config     topology -> the switch's configuration file (pure)
    lab        runs the plan, keeps the state file, starts servers and the switch, cleans up
    server     the real servers' program: HTTP, HTTPS, TCP echo, UDP echo
    client     the clients' program: who answered how often, echo checks, many connections
    scenarios  stories told with a lab: `demo`, and those of `lb-switch lab run`

What the command line (``lb-switch lab ...``) and tests call, all in ``netns_lab.lab``::

    up(topology_name: str = "textbook", prefix: str = "lb-", *, capture: str = "tun",
       scheduler: str = "rr", switch: bool = True) -> Lab
        builds the lab, starts its servers and (``switch=True``) the switch, waits until both serve
    down(prefix: str = "lb-") -> bool
        removes it, whole or half-built, also after a crash; False: there was no such lab
    list_labs() -> list[LabSummary]
        LabSummary(prefix: str, topology: str, capture: str | None, switch_pid: int | None,
                   hosts: tuple[str, ...], directory: Path); capture and pid None: no live switch
    exec_in(prefix: str, host: str, argv: Sequence[str]) -> int
        runs argv in that host's namespace with inherited stdio; returns its exit code
        (host: a name of the topology, or "switch")
    show(prefix: str = "lb-") -> str
        the lab as text: picture, hosts with addresses and services, switch and its capture
    attach(prefix: str = "lb-") -> Lab
        the running lab as an object, from any process

    Lab(topology: Topology = TEXTBOOK, prefix: str | None = None, *, capture: str = "tun",
        scheduler: str = "rr", switch: bool = True)         # prefix None: a random one
        with Lab() as lab: ...                              # up() and down()
        lab.exec(host, argv, *, timeout=30.0, check=False, input=None) -> CompletedProcess[str]
        lab.popen(host, argv, **popen_arguments) -> Popen   # ended by down() at the latest
        lab.start_switch(*, capture=None, scheduler=None), lab.stop_switch()
        lab.cli(*arguments) -> CompletedProcess[str]        # `lb-switch ...` on the switch
        lab.config_path, lab.control_socket, lab.directory: Path

    TOPOLOGIES: Mapping[str, Topology]  (in netns_lab.topology)
    LabError(Exception): one clear line for stderr; UnknownNameError(LabError): bad usage

All of it needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN); ``netns_lab.capability.missing()`` returns
None or one line that names what is missing. A prefix is lower-case letters and digits that end
in "-". A lab's files (state, configuration, control socket, logs, certificate) live in
``/run/lb-switch/lab-<prefix without the dash>/``.
"""
