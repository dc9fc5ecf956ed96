"""The local control socket of a running switch.

`messages` is the protocol, `server` the running switch's end (never blocks), `client` the command
line's end (blocks), `verbs` what each request does to a `Switch`.  `changes` are the requests that
change something, `operations` how that is done: all or nothing; `subscription` is a client that
reads the stream.
"""
