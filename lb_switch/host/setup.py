"""Applies the steps of a plan, journals how to undo them, and undoes them exactly.

Before each change its undoing is written to a state file, so that whatever ends the process, the
next start in the same network namespace can take back what was left behind.

A state file outlives its namespace if the switch was killed and the namespace is deleted then (a
lab takes it along).  It stays until the machine starts again, as nothing tells for sure that a
namespace is gone: a socket, a mount in another mount namespace or a descriptor on its way keep one
where no look at /proc finds it, and a journal removed too soon would leave its rules behind for
ever.  There are never many: the kernel gives the lowest inode number that is free, and the next
switch whose namespace gets it throws the file away.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lb_switch.files.private_file import Folder, HeldError, LockFile
from lb_switch.host.error import HostError
from lb_switch.host.kept import Kept, Planner
from lb_switch.host.nf_tables import delete_table
from lb_switch.host.plan import IPTABLES, OWN_CHAINS
from lb_switch.host.run import run
from lb_switch.host.steps import FilterChain, HostChange, Step, Sysctl, key_of

_log = logging.getLogger(__name__)

DEFAULT_DIRECTORY = Path("/run/lb-switch")
_SYSCTLS = Path("/proc/sys")
_SO_NETNS_COOKIE = 71
_GONE = ("Cannot find device", "No such file or directory")
"""So `ip` speaks of what has gone already, with its interface or an address: it is undone."""

Undo = list[str]
"""["run", program, …], ["sysctls", path, old value, our value, …] or ["table", program, table]: how
one change is taken back, as it stands in the state file.  A list of them is carried out in order.
"""


@dataclass
class _Done:
    step: Step
    undo: list[Undo]


class HostSetup:
    """The changes that one running switch has made in its network namespace.

    `device` is one of its own, of which a plan is not to know.
    """

    def __init__(self, directory: Path | str = DEFAULT_DIRECTORY, device: str = "") -> None:
        inode = os.stat("/proc/self/ns/net").st_ino
        self.state_file = Path(directory) / f"{inode}.state"
        self._folder = Folder(directory)
        self._lock = LockFile(self.state_file.with_suffix(".lock"))
        self._done: dict[str, _Done] = {}
        self._device = device
        self._planner: Planner | None = None
        self.around_change: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
        """The host is changed within it: somebody else may be looking after what was changed."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """What has been done, in order."""
        return tuple(done.step for done in self._done.values())

    def acquire(self) -> None:
        """Become the one switch of this namespace; take back what a killed one left behind.

        The lock is a file in a folder that only root writes to: nobody else can hold it.
        Raises HostError if another switch holds it or the state file cannot be dealt with, and
        then holds nothing.
        """
        folder = self.state_file.parent
        try:
            self._lock.take_in(self._folder)
        except HeldError as held:
            owner = f" (pid {held.pid})" if held.pid else ""
            raise HostError(
                f"another lb-switch runs in this network namespace{owner}: stop it first"
            ) from None
        except OSError as error:
            self._folder.remove()
            raise HostError(f"{error.filename or folder}: {error.strerror}") from None
        try:
            self._reclaim()
            _reclaim_chains()
            _sweep(folder, besides=self.state_file.stem)
        except OSError as error:
            # The journal stays for the next start: `release` must not take it for ours.
            self._lock.release()
            raise HostError(f"{self.state_file}: {error.strerror}") from None

    def apply(self, plan: Sequence[Step], planner: Planner | None = None) -> None:
        """Make the host fit the plan: apply what is new in it, then undo what is no longer in it.

        `planner` is what has made the plan of a view of the host, for who looks after it.

        Raises HostError when a step fails or cannot be written down; the host fits the plan
        before this one then, and so does the state file.
        """
        with self.around_change():
            self._fit(plan)
            self._planner = planner

    def kept(self) -> Kept | None:
        """Return what is to be looked after; None: nothing."""
        return None if self._planner is None else Kept(self.steps, self._planner, self._device)

    def _fit(self, plan: Sequence[Step]) -> None:
        length = self._length()
        wanted = {key_of(step): step for step in plan}
        new: list[str] = []
        replaced: list[tuple[_Done, Step]] = []
        try:
            for key, step in wanted.items():
                before = self._done.get(key)
                if before is None:
                    new.append(key)
                    self._apply(key, step)
                elif before.step != step:
                    replaced.append((before, before.step))
                    before.step = step
                    _do(step, first=False)
        except BaseException:
            self._undo(new, quiet=True)
            _put_back(replaced)
            self._cut(length)
            raise
        gone = [key for key in self._done if key not in wanted]
        self._undo(gone)
        if gone and self._length() is not None:
            self._shorten()

    def release(self) -> None:
        """Undo everything, latest first, and let another switch start.  Idempotent."""
        if not self._lock.is_held:
            return
        self._planner = None
        with self.around_change():  # nobody is to put back what goes
            self._undo(list(self._done))
        self._cut(None)
        self._lock.release()
        self._folder.remove()

    def _apply(self, key: str, step: Step) -> None:
        undo = _undo_of(step)
        if undo:
            try:
                self._append(undo)
            except OSError as error:
                raise HostError(f"{self.state_file}: {error.strerror}") from None
        self._done[key] = _Done(step, undo)
        _do(step, first=True)

    def _undo(self, keys: Sequence[str], quiet: bool = False) -> None:
        for key in reversed(keys):
            done = self._done.pop(key, None)
            if done is not None:
                _carry_out(done.undo, quiet)

    def _length(self) -> int | None:
        """Return how long the state file is, in bytes; None: there is none."""
        try:
            return self.state_file.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _append(self, undo: list[Undo]) -> None:
        if self._length() is None:
            self._write_file([*self._journal(), undo])
            return
        with self.state_file.open("a") as file:
            file.write(json.dumps(undo) + "\n")

    def _cut(self, length: int | None) -> None:
        """Take back what was appended to the state file.  A full disk does not hinder that."""
        try:
            if length is None:
                self.state_file.unlink(missing_ok=True)
            else:
                os.truncate(self.state_file, length)
        except OSError as error:
            _log.warning("%s: lists what is undone: %s", self.state_file, error.strerror)

    def _shorten(self) -> None:
        """List only what there is.  To list more does no harm: undoing it again is no error."""
        try:
            self._write_file(self._journal())
        except OSError as error:
            _log.warning("%s: lists what is undone: %s", self.state_file, error.strerror)

    def _journal(self) -> list[object]:
        return [_identity(), *(done.undo for done in self._done.values() if done.undo)]

    def _write_file(self, lines: Iterable[object]) -> None:
        """Write the whole state file, or leave it as it is.  Raises OSError."""
        fresh = self.state_file.with_suffix(".new")
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
            fresh.rename(self.state_file)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise

    def _reclaim(self) -> None:
        """Undo what the state file lists.  We hold the lock, so its owner is dead."""
        try:
            lines = self.state_file.read_text().splitlines()
        except FileNotFoundError:
            return
        records = [record for line in lines if (record := _parsed(line)) is not None]
        # Inode numbers are used again: the file may be of a namespace that is no more.
        if records and records[0] == _identity():
            _log.warning("taking back what a killed lb-switch left in this network namespace")
            for undo in reversed(records[1:]):
                _carry_out(undo, quiet=True)
        self.state_file.unlink()


def _reclaim_chains() -> None:
    """Remove chains with our names that stand in no journal: somebody has restored them.

    We hold the lock, so they are no running switch's.  A jump to a queue that nobody reads would
    drop whatever meets it.
    """
    for program in IPTABLES.values():
        if shutil.which(program) is None:
            continue
        try:
            commands = _removing(program, run((f"{program}-save",)).splitlines())
            if commands:
                _log.warning("taking back chains of an lb-switch that stand in no journal")
            for argv in commands:
                run(argv)
        except HostError as error:
            _log.info("%s", error)  # a kernel without this table


def _removing(program: str, saved: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the commands that remove our chains from what is saved: jumps first, then chains."""
    jumps: list[tuple[str, ...]] = []
    chains: list[tuple[str, ...]] = []
    table = ""
    for line in saved:
        words = line.split()
        command = (program, "-w", "-t", table)
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith("-A") and words[1] not in OWN_CHAINS and words[-1] in OWN_CHAINS:
            jumps.append((*command, "-D", *words[1:]))
        elif line.startswith(":") and words[0][1:] in OWN_CHAINS:
            chains += [(*command, "-F", words[0][1:]), (*command, "-X", words[0][1:])]
    return jumps + chains


def _sweep(folder: Path, besides: str) -> None:
    """Remove what dead switches of other namespaces left, as far as nobody can need it.

    That is: a lock without a journal, and a journal from before the machine started again.
    """
    boot = _identity()["boot"]
    for path in (*folder.glob("*.lock"), *folder.glob("*.state"), *folder.glob("*.new")):
        if not path.stem.isdecimal() or path.stem == besides:
            continue
        lock = LockFile(path.with_suffix(".lock"))
        with contextlib.suppress(OSError, HeldError):
            lock.lock()
            journal = path.with_suffix(".state")
            if _boot_of(journal) not in (boot, None):
                journal.unlink()
            path.with_suffix(".new").unlink(missing_ok=True)
        lock.release()


def _boot_of(journal: Path) -> str | None:
    """Return in which run of the machine a journal was written; None: it does not tell."""
    with contextlib.suppress(OSError), journal.open() as file:
        identity = _parsed(file.readline())
        if isinstance(identity, dict) and isinstance(identity.get("boot"), str):
            return str(identity["boot"])
    return None


def _put_back(replaced: Sequence[tuple[_Done, Step]]) -> None:
    """Give steps that were replaced in place their old content, latest first."""
    for done, old in reversed(replaced):
        done.step = old
        try:
            _do(old, first=False)
        except HostError as error:
            _log.warning("while undoing: %s", error)


def _do(step: Step, first: bool) -> None:
    match step:
        case HostChange():
            run(step.do)
        case FilterChain():
            run(step.do, step.content(jump=first))
        case Sysctl():
            _write(step)


def _write(step: Sysctl) -> None:
    if step.only_from and _read(step.path) not in (step.only_from, step.value):
        return
    try:
        (_SYSCTLS / step.path).write_text(step.value)
    except OSError as error:
        if not (step.optional and isinstance(error, FileNotFoundError)):
            raise HostError(f"cannot set /proc/sys/{step.path}: {error.strerror}") from None


def _undo_of(step: Step) -> list[Undo]:
    """Return what takes the step back, given what the host looks like before it."""
    match step:
        case HostChange():
            return [["run", *step.undo]] if step.undo else []
        case FilterChain():
            undo = [["run", *argv] for argv in step.undo]
            if not _has_table(step.program, step.table):
                undo.append(["table", step.program, step.table])
            return undo
        case Sysctl():
            return _old_values(step) if step.recorded else []


def _old_values(step: Sysctl) -> list[Undo]:
    old = _read(step.path)
    if old is None or old == step.value or (step.only_from and old != step.only_from):
        return []
    undo = ["sysctls"]
    for path, ours in ((step.path, step.value), *step.overwrites):
        old = _read(path)
        if old is not None:
            undo += [path, old, ours]
    return [undo]


def _read(path: str) -> str | None:
    try:
        return (_SYSCTLS / path).read_text().strip()
    except OSError:
        return None


def _carry_out(undo: Iterable[Undo], quiet: bool) -> None:
    """Carry on after a failure: the rest must be undone all the same.

    `quiet`: failures are expected, as the change may never have been made or has vanished.
    """
    for kind, *arguments in undo:
        try:
            if kind == "run":
                run(arguments)
            elif kind == "sysctls":
                _restore(arguments)
            elif kind == "table":
                _delete_empty_table(*arguments)
        except (HostError, OSError) as error:
            if not quiet and not any(words in str(error) for words in _GONE):
                _log.warning("while undoing: %s", error)


def _restore(arguments: Sequence[str]) -> None:
    """Bring parameters back: path, old value and our value of each.

    What somebody else has changed meanwhile stays, also where the kernel changes it along with
    another one.  Raises OSError.
    """
    wanted = []
    triples = zip(arguments[::3], arguments[1::3], arguments[2::3], strict=True)
    for path, old, ours in triples:
        value = _read(path)
        if value is None:
            continue
        if value not in (old, ours):
            name = path.replace("/", ".")
            _log.warning("%s was set to %s by somebody else meanwhile: it stays so", name, value)
        wanted.append((path, old if value == ours else value))
    for path, value in wanted:
        if _read(path) != value:
            (_SYSCTLS / path).write_text(value)


def _tables(program: str) -> str:
    return run((f"{program}-save",))


def _has_table(program: str, table: str) -> bool:
    return f"*{table}\n" in _tables(program)


def _delete_empty_table(program: str, table: str) -> None:
    """Delete the table unless somebody has put a rule, a chain or a policy into it meanwhile."""
    body = run((f"{program}-save", "-t", table)).splitlines()
    content = [line for line in body if line.startswith(("-", ":"))]
    if all(line.startswith(":") and line.split()[1] == "ACCEPT" for line in content):
        delete_table(program, table)


def _identity() -> dict[str, str]:
    """Return what tells this network namespace from another that had its inode number before."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            raw = probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
            cookie = str(struct.unpack("=Q", raw)[0])
        except OSError:  # Linux < 5.14
            cookie = ""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"boot": boot, "namespace": cookie}


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:  # the process was killed while it wrote its last line
        return None
