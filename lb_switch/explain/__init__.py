"""Every packet can explain itself: records of what happened, and views that show them.

    engine -> events -> encode -> JSON lines -> schema -> story, diff, ladder
                                     |
                             a recording (a file)

The engine's events become lines (`encode`), and every view takes only what was read back from such
a line (`schema`, `recording`).  So a live run and its recording look the same by construction.

Live, the lines go into pipes that other processes read (`live`, `pipe_outlet`): rendering costs the
datapath nothing, and a reader that is too slow loses events, never packets.
"""
