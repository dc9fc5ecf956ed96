"""Stories told with a lab.

Each of `scale_out`, `failover`, `health_levels` and `drain` builds nothing itself: it gets a lab
that is up (`stage`), lets programs run in it (`running_traffic`, `health_watch`, both by
`following`), says what happens (`narration`, `live_chart`), and returns what was expected against
what was seen (`expectations`).  `catalogue` lists them and runs one; `performance` makes sure that
the lab is gone afterwards.  What can be computed from values alone is in pure functions: the
`judge` of each story, `chart`, `request`.
"""
