"""Health checks: is a real server alive, and who says so?

`check` says how to ask, `probes` ask, `worker` asks in a process of its own, at the right times;
`process` keeps that process alive, `tracker` turns answers into up and down, and `checks` tells the
switch.  Words: a *probe* is one attempt, a *check* the repeated thing.
"""
