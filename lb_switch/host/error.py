"""What goes wrong on the host."""


class HostError(Exception):
    """The host cannot do what the switch needs of it.

    The text is one clear line, with the fix where it is known.
    """
