"""The stream: what the engine tells, as JSON lines that others can read.

    engine -> events -> hub -> JSON lines -> schema -> whoever reads
                                     |
                             a recording (a file)

`schema` is the one place where the lines are described; `encode` makes them, `hub` gives each to
everybody who wants it, `recording` reads them back, `picture` is what a reader knows by them.  To
other processes they go through pipes (`live`, `pipe_outlet`, `relay`), to clients of the control
socket by `subscribe`: a reader that is too slow loses lines and is told how many; no packet waits.
Nothing here speaks to people.
"""
