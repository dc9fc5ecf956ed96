"""Doubly linked lists through their members' own fields.

A dict or a list that grows past its bounds is copied in one go, and with a million members a packet
waits for that.  A chain never is: a member goes in and comes out in a handful of steps, from
anywhere, and holds its place in two fields of its own.
"""

from __future__ import annotations

from typing import Generic, TypeVar, cast


class Link:
    """What a member of a chain has: its neighbours; None while it is in no chain."""

    __slots__ = ("before", "behind")

    def __init__(self) -> None:
        self.before: Link | None = None
        self.behind: Link | None = None


Member = TypeVar("Member", bound=Link)


class Chain(Link, Generic[Member]):
    """Members in order; itself the link between the last and the first."""

    __slots__ = ()

    def __init__(self) -> None:
        self.before = self.behind = self

    @property
    def first(self) -> Member | None:
        """The first member, or None."""
        return None if self.behind is self else cast("Member", self.behind)

    def append(self, member: Member) -> None:
        """Put a member that is in no chain at the end."""
        last = self.before
        assert last is not None
        member.before, member.behind = last, self
        last.behind = self.before = member

    def dissolve(self) -> None:
        """Let go of itself: an empty chain that is not needed any more is a cycle else."""
        self.before = self.behind = None


def take_out(member: Link) -> None:
    """Take a member out of the chain it is in."""
    before, behind = member.before, member.behind
    assert before is not None
    assert behind is not None
    before.behind, behind.before = behind, before
    member.before = member.behind = None
