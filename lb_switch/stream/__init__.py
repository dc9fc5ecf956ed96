"""The stream: what the engine tells, as JSON lines that others can read.

    engine -> events -> encode -> JSON lines -> schema -> whoever reads
                                     |
                             a recording (a file)

`schema` is the one place where the lines are described; `encode` makes them, `recording` reads them
back.  Live, they go through pipes to other processes (`live`, `pipe_outlet`, `relay`): a reader
that is too slow loses lines and is told how many; no packet waits.  Nothing here speaks to people.
"""
