"""The namespace lab: real clients, real servers and the switch between them, on one machine.

Rooms, from data to wire::

    topology   what a lab consists of: segments, hosts, services, virtual servers (pure data)
    topologies those that come with it
    plan       topology -> the commands that build it and the commands that remove it (pure)
    config     topology -> the switch's configuration file (pure)
    lab        runs the plan, keeps the state file, starts servers and the switch, cleans up
    server     the real servers' program: HTTP, HTTPS, TCP echo, UDP echo
    client     the clients' program: who answered how often, echo checks, many connections
    traffic    requests at a rate, or of so many users, one line for each outcome (`request`)
    page       the lab's page: its log, and the address that stands there
    names      who is meant by a name or an address (pure)
    acts       what can be done to a lab that is up: kill, start, unplug, misbehave, request
    scenarios  stories told with a lab: `demo`, and those of `lb-switch lab run`
    recordings what happens in a lab, recorded: those that come with lb-switch

Begin with `lab`: `Lab` is one lab as an object (`with Lab() as lab: ...`), and `up`, `down`,
`attach`, `show`, `list_labs` and `exec_in` are what `lb-switch lab` calls.  The topologies that
come with it stand in `topologies`; the pytest fixtures in `pytest_plugin`.
"""
