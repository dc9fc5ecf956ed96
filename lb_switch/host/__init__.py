"""What a capture changes on the host: planned as data, applied with a journal, undone exactly.

`view` reads the network namespace, `plan` turns it and the services into steps (pure), `steps`
says what a step is, `setup` applies, journals and undoes them.  `keeper` looks after them in a
process of its own (`keeper_process`, as the switch sees it): `rtnetlink` tells that something has
changed, `presence` what is missing, and `announcing` says on the wire who has a VIP now.  No packet
passes here.
"""
