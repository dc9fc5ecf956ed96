"""What a capture changes on the host: planned as data, applied with a journal, undone exactly.

`view` reads the network namespace, `plan` turns it and the services into steps (pure), `steps`
says what a step is, `setup` applies, journals and undoes them.  No packet passes here.
"""
