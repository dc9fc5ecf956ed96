"""Schedulers side by side: one load through each of them, offline, on the load's own clock.

`load` and `recorded` are where connections come from, `run` puts them through the engine,
`schedulers` reads off what came out, `table` and `picture` show it.  No live switch is asked here.
"""
