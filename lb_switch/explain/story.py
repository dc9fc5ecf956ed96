"""The packet story: for each packet what came in, what was decided and why, what went out."""

from __future__ import annotations

from collections.abc import Iterator

from lb_switch.explain.describe import Summary, is_group_membership, summarise
from lb_switch.explain.style import NO_BREAK, WIDTH, Style
from lb_switch.explain.who import Who
from lb_switch.stream.schema import (
    ChoiceEntry,
    ConnectionRecord,
    DroppedRecord,
    EndRecord,
    Header,
    HostRecord,
    LossesRecord,
    PacketRecord,
    ProbeRecord,
    Record,
    SentRecord,
    ServerRecord,
    SettingsRecord,
    VirtualServerRecord,
)
from lb_switch.words import english as words
from lb_switch.words.english import purpose, sentence

_INTRODUCTION = (
    "Clients talk to a virtual IP (VIP), which no machine owns. For each new connection the switch"
    " chooses a real server, remembers the choice in its connection table, and writes the real"
    " server's address over the VIP (destination NAT). In the answers it writes the VIP back, so"
    " that the client never learns of it."
)
_MOST_NAMED = 6
"""Real servers that are named one by one."""


News = ServerRecord | VirtualServerRecord | SettingsRecord | LossesRecord | HostRecord


class Story:
    """The view: `begin` once, then `show` each record; both yield lines of at most 80 columns."""

    def __init__(self, header: Header, style: Style) -> None:
        self._header = header
        self._style = style
        self._who = Who(header)

    def begin(self) -> Iterator[str]:
        """Introduce what is to be seen: the idea, the virtual servers, the machines."""
        style, to = self._style, self._style.glyphs.to
        yield from style.fill(_INTRODUCTION, 0, 0)
        yield ""
        for virtual_server in self._header.virtual_servers:
            servers = [self._who.called(each.address) for each in virtual_server.real_servers]
            protocol, scheduler = virtual_server.protocol, virtual_server.scheduler
            yield from style.fill(
                f"{virtual_server.name}: {protocol} {virtual_server.address}, {scheduler} {to} "
                + (_listed(servers) or "no real server"),
                2,
            )
        yield ""

    def show(self, record: Record) -> Iterator[str]:
        """Tell one record.  What kernels tell of multicast groups (MLD, IGMP) is left out."""
        self._who.learn(record)
        if isinstance(record, PacketRecord):
            if is_group_membership(record.bytes_before):
                return
            yield from self.packet(record)
            yield ""
        elif isinstance(record, ConnectionRecord):
            if record.stage == "closed":
                yield from self._aside(record.time, self._closed(record))
        elif isinstance(record, SentRecord):
            yield from self._aside(record.time, self._sent(record))
        elif isinstance(record, News):
            yield from self._aside(record.time, self.news(record))
        elif isinstance(record, ProbeRecord):
            # One that finds what was known already is no news.
            if record.became is None and record.passed is not None:
                return
            yield from self._aside(record.time, self._probe(record))
        elif isinstance(record, DroppedRecord):
            text = f"{_count(record.count, 'event')} missing here: the reader is too slow"
            yield self._style.paint("bad", f"    ... {text}")
            yield ""
        elif isinstance(record, EndRecord):
            yield from self._end(record)

    def news(self, record: News) -> str:
        """Say in a phrase what has changed, of the servers or of the whole switch."""
        if isinstance(record, ServerRecord):
            return self._server(record)
        if isinstance(record, VirtualServerRecord):
            return self._group(record)
        if isinstance(record, LossesRecord):
            return words.losses(record.capture, record.counts)
        if isinstance(record, HostRecord):
            return words.host(record.what, record.lines)
        return words.SETTINGS_CHANGED

    # -- packets ---------------------------------------------------------------------------

    def packet(self, record: PacketRecord) -> Iterator[str]:
        """Tell a packet: a headline and what happened."""
        summary = summarise(record.bytes_before, record.length)
        yield from self._headline(record, summary)
        yield from self._style.fill(self._found(record))
        if record.choice is not None:
            yield from self._style.fill(self.choice(record.choice))
        yield from self._outcome(record)
        if record.state is not None and record.reason != "icmp_error":
            yield from self._style.fill(self._state(record))

    def comment(self, record: PacketRecord) -> str:
        """Return what happened to a packet as one line of plain text."""
        lines = list(self.packet(record))[1:]
        return " ".join(" ".join(line.split()) for line in lines)

    def _headline(self, record: PacketRecord, summary: Summary) -> Iterator[str]:
        style, to = self._style, self._style.glyphs.to
        source, destination = (self._who.called(each) for each in summary[:2])
        when = f"#{record.number} {record.time - self._header.time:.6f}"
        ends = f"{when}  {source} {to} {destination}"
        if len(ends) + 2 + len(summary.what) <= WIDTH:
            lines = [f"{ends}  {summary.what}".replace(NO_BREAK, " ")]
        else:
            lines = [*style.fill(ends, 0), *style.fill(summary.what)]
        for line in lines:
            yield style.paint("bold", line)

    def _found(self, record: PacketRecord) -> str:
        """Say whether the table knew it, and which virtual server it is about."""
        text = sentence(record.reason)
        about = []
        if record.connection is not None:
            about.append(f"connection {record.connection.number}")
        if record.virtual_server is not None:
            about.append(f"virtual server {record.virtual_server}")
        if not about:
            return text
        whom = " of ".join(about).replace(" ", NO_BREAK)
        if record.reason == "new_connection":
            return f"not in the connection table: new {whom}"
        return f"{text} ({whom})" if ":" in text else f"{text}: {whom}"

    def called(self, place: str) -> str:
        """Return an endpoint with the name of its machine before it."""
        return self._who.called(place)

    def choice(self, choice: ChoiceEntry) -> str:
        """Say who was chosen, why, and who was not."""
        name = self._who.short  # the address follows where the packet is rewritten
        if choice.real_server is None:
            text = f"{choice.scheduler} has nobody to choose from"
        elif choice.persistent:
            text = f"{name(choice.real_server)}: this client's server so far (persistence)"
        else:
            text = f"{choice.scheduler} chooses {name(choice.real_server)}: {self._why(choice)}"
        others = [each for each in choice.candidates if each != choice.real_server]
        remarks = []
        if others:
            remarks.append(f"not {self._names(others)}")
        if choice.passed_over:
            skipped = [
                f"{self._who.short(each.address)}{NO_BREAK}({each.because})"
                for each in choice.passed_over[:_MOST_NAMED]
            ]
            more = len(choice.passed_over) - len(skipped)
            remarks.append(f"skipped {_listed(skipped)}" + (f" and {more} more" if more else ""))
        return "; ".join([text, *remarks])

    def _why(self, choice: ChoiceEntry) -> str:
        """Put names in the place of addresses, and add the counts that were compared."""

        def name(address: str) -> str:
            return self._who.name(address) or address

        text = words.choice(choice.rule or "", choice.facts, choice.real_server or "", name)
        for key, title in (("active", "active"), ("current_weights", "current weights")):
            counts = choice.facts.get(key)
            if isinstance(counts, dict):
                shown = [f"{self._who.short(a)} {n}" for a, n in counts.items()][:_MOST_NAMED]
                more = len(counts) - len(shown)
                text += f" ({title}: {_listed(shown)}" + (f" and {more} more)" if more else ")")
        slot = choice.facts.get("slot")
        if slot is not None and choice.real_server is not None:
            text = text.replace("->", self._style.glyphs.to)
            text += f" {self._style.glyphs.to} {self._who.short(choice.real_server)}"
        return text

    def _names(self, addresses: list[str]) -> str:
        shown = [self._who.short(each) for each in addresses[:_MOST_NAMED]]
        more = len(addresses) - len(shown)
        return " or ".join(shown) + (f" or {more} more" if more else "")

    def _outcome(self, record: PacketRecord) -> Iterator[str]:
        style = self._style
        if record.verdict == "drop":
            kind = "held back" if record.reason == "fragment_held" else "dropped"
            yield "    " + style.paint("bad", kind)
        elif record.verdict == "pass" and record.reason != "not_for_the_switch":
            yield "    passed on unchanged"
        elif record.verdict == "forward":
            yield from self._rewritten(record)
        for sent in record.sent:
            summary = summarise(bytes.fromhex(sent.data), sent.length)
            source, destination = (self._who.called(each) for each in summary[:2])
            verb = "answered" if record.verdict == "reply" else "released"
            text = f"{verb}: {summary.what} from {source} to {destination}"
            for line in style.fill(text):
                yield style.paint("bad" if "RST" in summary.what else "changed", line)
        more = record.sent_count - len(record.sent)
        if more:
            yield f"    and {_count(more, 'packet')} more"

    def _rewritten(self, record: PacketRecord) -> Iterator[str]:
        style, to = self._style, self._style.glyphs.to
        before = summarise(record.bytes_before, record.length)
        after = summarise(record.bytes_after, record.length)
        parts = [
            f"{side} {self._who.called(old)} {to} {self._who.called(new)}"
            for side, old, new in (
                ("source", before.source, after.source),
                ("destination", before.destination, after.destination),
            )
            if old != new
        ]
        text = "rewritten: " + "; ".join(parts) if parts else "nothing to rewrite"
        if before.what != after.what and record.reason == "icmp_error":
            text += f"; it is now about {after.what.partition(' about ')[2]}"
        if record.partial:
            text += " (checksum still partial)"
        for line in style.fill(text):
            yield style.paint("changed", line)

    def _state(self, record: PacketRecord) -> str:
        to = self._style.glyphs.to
        if record.old_state is None:
            opened = record.choice is not None
            change = f"(none) {to} {record.state}" if opened else f"{record.state}"
        elif record.old_state == record.state:
            change = f"stays {record.state}"
        else:
            change = f"{record.old_state} {to} {record.state}"
        timeout = (
            "" if record.timeout is None else f", forgotten after {record.timeout:g} s of silence"
        )
        return f"state {change}{timeout}"

    # -- everything else -------------------------------------------------------------------

    def _aside(self, time: float, text: str) -> Iterator[str]:
        style = self._style
        for line in style.fill(f"-- {time - self._header.time:.6f}  {text}", 0):
            yield style.paint("dim", line)
        yield ""

    def _closed(self, record: ConnectionRecord) -> str:
        connection, there, back = record.connection, record.to_server, record.to_client
        cause = words.cause(record.cause or "")
        return (
            f"connection {connection.number}"
            f" ({self._who.called(connection.client)} {self._style.glyphs.to}"
            f" {self._who.called(connection.real)}) leaves the table: {cause};"
            f" {_count(there.packets, 'packet')} there, {back.packets:,} back"
        )

    def _sent(self, record: SentRecord) -> str:
        summary = summarise(record.bytes_sent, record.length)
        source, destination = (self._who.called(each) for each in summary[:2])
        return (
            f"the switch's own (connection {record.connection.number}): {summary.what} from"
            f" {source} to {destination}: {purpose(summary.what)}"
        )

    def _server(self, record: ServerRecord) -> str:
        server = record.real_server
        health = "up" if server.healthy else "down"
        change = words.server_change(record.changed, record.finding, server.state, server.weight)
        return (
            f"real server {self._who.called(server.address)} of {record.virtual_server}:"
            f" {change} (now {health}, {server.state}, weight {server.weight})"
        )

    def _group(self, record: VirtualServerRecord) -> str:
        group = record.virtual_server
        server = "" if record.real_server is None else self._who.called(record.real_server)
        change = words.virtual_server_change(record.stage, server)
        return f"{group.name} ({group.protocol} {group.address}, {group.scheduler}): {change}"

    def _probe(self, record: ProbeRecord) -> str:
        verdict = {True: "passed", False: "failed", None: "could not be made"}[record.passed]
        text = (
            f"{record.kind} probe of {self._who.called(record.real_server)}"
            f" for {record.virtual_server} {verdict} after {record.seconds:.3f} s: {record.finding}"
        )
        return text if record.became is None else f"{text}; it is now {record.became}"

    def _end(self, record: EndRecord) -> Iterator[str]:
        text = (
            f"-- {record.time - self._header.time:.6f}  the end: {_count(record.packets, 'packet')}"
        )
        yield self._style.paint("dim", text)
        if record.dropped:
            missing = f"{_count(record.dropped, 'event')} dropped: the reader was too slow"
            yield self._style.paint("bad", f"-- {missing}")


def _listed(items: list[str]) -> str:
    return ", ".join(items)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
