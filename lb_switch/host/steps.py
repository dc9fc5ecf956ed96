"""The three kinds of changes a capture makes on the host.  Pure values: nothing runs here.

Two steps of one `slot` never stand side by side: on a live change of the configuration the later
one takes the earlier one's place without the host being without either in between.
"""

from __future__ import annotations

from dataclasses import dataclass

Argv = tuple[str, ...]


@dataclass(frozen=True)
class HostChange:
    """A command, and the command that takes it back (empty: it vanishes with the device)."""

    do: Argv
    undo: Argv = ()
    slot: str = ""


@dataclass(frozen=True)
class Sysctl:
    """Set a kernel parameter; its old value comes back at the end, unless others changed it.

    `path` is below /proc/sys.  `overwrites` are parameters that the kernel changes along with this
    one, each with the value that it gives them; they are restored last.  `recorded=False`: it
    belongs to a device that vanishes with the switch.  `optional`: absent in some kernels.
    `only_from`: where it has another value than this, it stays as it is.
    """

    path: str
    value: str
    overwrites: tuple[tuple[str, str], ...] = ()
    recorded: bool = True
    optional: bool = False
    only_from: str = ""

    @property
    def slot(self) -> str:
        """One parameter has one value."""
        return f"sysctl {self.path}"


@dataclass(frozen=True)
class FilterChain:
    """An iptables chain of the switch's own and the jump to it from a built-in chain.

    `program` is iptables or ip6tables; `rules` are in the syntax of iptables-restore, without
    `-A CHAIN`.
    """

    program: str
    table: str
    built_in: str
    name: str
    rules: tuple[str, ...]

    @property
    def slot(self) -> str:
        """The chain's place; its content may be replaced in place."""
        return f"{self.program} {self.table} {self.name}"

    @property
    def do(self) -> Argv:
        """The command that makes the chain, or replaces its content; reads `content`."""
        return (f"{self.program}-restore", "--noflush")

    def content(self, jump: bool) -> str:
        """Return the input of `do`, an atomic commit.  `jump`: also insert the jump to it.

        The jump is appended: the host's own rules (a drop of a flood, say) see packets first.
        """
        lines = [f"*{self.table}", f":{self.name} - [0:0]"]
        lines += [f"-A {self.name} {rule}" for rule in self.rules]
        if jump:
            lines.append(f"-A {self.built_in} -j {self.name}")
        return "\n".join([*lines, "COMMIT", ""])

    @property
    def undo(self) -> tuple[Argv, ...]:
        """The commands that remove jump, content and chain, in this order."""
        command = (self.program, "-w", "-t", self.table)
        return (
            (*command, "-D", self.built_in, "-j", self.name),
            (*command, "-F", self.name),
            (*command, "-X", self.name),
        )


Step = HostChange | Sysctl | FilterChain


def key_of(step: Step) -> str:
    """Return what a step is known by: its slot, or all of it."""
    return step.slot or repr(step)
