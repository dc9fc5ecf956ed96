"""The running switch: engine, capture, health checks and control socket in one loop.

`running_switch` puts all parts together; `loop` is the only reader of the clock; `surroundings` and
`advice` look at the host, `announce` speaks to whoever watches the terminal, `invariant_check`
audits.  Commands live in `cli`.
"""
