"""The demo: balance real traffic and show, packet by packet, what destination NAT does.

    python -m netns_lab.scenarios.demo [--capture tun|nfqueue] [--prefix lb-]

Tells what it does on stdout and believes nothing it has not checked: a surprise ends it with exit
code 1 and one line.  Ctrl-C at any point removes the lab.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence

from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.scenarios.narration import Narrator
from netns_lab.scenarios.packet_pairs import Pair, changed_fields, ladder, pair_up, side_by_side
from netns_lab.scenarios.performance import perform
from netns_lab.scenarios.stage import SurpriseError, ask_switch
from netns_lab.sniff import sniff
from netns_lab.topologies import Topology

REQUESTS = 6
PATIENCE = 10.0
CAPTURES = {
    "tun": (
        "rr",
        "The route to the VIP leads into a TUN device; a program reads it there.",
        "Round robin: each new connection goes to the next real server.",
    ),
    "nfqueue": (
        "sh",
        "An iptables rule queues packets for the VIP to a program, which hands them back.",
        "Source hash: one client always gets the same real server.",
    ),
}
"""For each capture: the scheduler it is shown with, and what to say of the two."""

PICTURE = """
clients 10.0.1.0/24                             servers 10.0.2.0/24

c1 10.0.1.11 --+                               +-- s1 10.0.2.11 http
               |          +-----------+        |
               +- 10.0.1.1| lb-switch |10.0.2.1+-- s2 10.0.2.12 http, https
               |          +-----------+        |
c2 10.0.1.12 --+   virtual IP 10.0.1.100       +-- s3 10.0.2.13 https
""".strip("\n").splitlines()


CHANGES = {
    True: {"destination", "TTL", "IP checksum", "TCP checksum"},
    False: {"source", "TTL", "IP checksum", "TCP checksum"},
}
"""What the switch changes on the way to the real server (True), and back."""


def demo(narrator: Narrator, lab: Lab, captures: Sequence[str]) -> None:
    """Tell the story with a lab that is not yet up.  Raises LabError, SurpriseError."""
    narrator.title("lb-switch: a load balancer you can watch")
    _build(narrator, lab)
    _tell_all(narrator, lab, captures[0])
    for capture in captures[1:]:
        _tell_again(narrator, lab, capture)
    narrator.chapter("Clean-up")
    lab.down()
    narrator.say(
        """The lab is gone: no namespace, process or rule is left. To play with one of your
        own:"""
    )
    narrator.block(
        [
            "sudo .venv/bin/lb-switch lab up",
            "sudo .venv/bin/lb-switch lab exec c1 -- curl http://10.0.1.100/",
            "sudo .venv/bin/lb-switch lab web     # a page where packets move",
            "sudo .venv/bin/lb-switch lab down",
        ]
    )


def _build(narrator: Narrator, lab: Lab) -> None:
    narrator.chapter("A small network, all on this machine")
    started = time.monotonic()
    lab.up()
    narrator.say(
        f"""Two clients, three web servers and a switch between them: each in a network namespace
        of its own, with its own addresses and routes, as if it were a machine. Built in
        {time.monotonic() - started:.1f} seconds."""
    )
    narrator.block(PICTURE)
    vip = lab.topology.vips[0]
    narrator.say(
        f"""No machine has the address {vip}. It is virtual: clients talk to it, and the switch
        passes each connection on to a real server of the group behind the port:"""
    )
    narrator.block(
        f"{each.endpoint:<16} {each.name:<8} {' or '.join(each.real_servers)}"
        for each in lab.topology.virtual_servers
    )


def _tell_all(narrator: Narrator, lab: Lab, capture: str) -> None:
    narrator.chapter(f"The switch at work: capture {capture}, scheduler {CAPTURES[capture][0]}")
    _balance(narrator, lab, capture)
    narrator.chapter("One connection, on both sides of the switch")
    _explain(narrator, lab.topology, *_one_connection(lab))
    narrator.chapter("What the switch remembers")
    waiting = _connections(narrator, lab)
    narrator.say("Per virtual server and real server, how many are open and over:")
    _show(narrator, lab)
    waiting.terminate()


def _tell_again(narrator: Narrator, lab: Lab, capture: str) -> None:
    narrator.chapter(f"The same with capture {capture}, scheduler {CAPTURES[capture][0]}")
    _balance(narrator, lab, capture)
    pairs, server = _one_connection(lab)
    narrator.say(f"The rewriting is the same; one connection, with {server}:")
    narrator.block(ladder(pairs))
    narrator.say(f"Each of the {2 * len(pairs)} packets has right checksums.")
    _show(narrator, lab)


def _balance(narrator: Narrator, lab: Lab, capture: str) -> None:
    scheduler, about_capture, about_scheduler = CAPTURES[capture]
    lab.stop_switch()
    lab.start_switch(capture=capture, scheduler=scheduler)
    narrator.say(f"{about_capture} {about_scheduler}")
    narrator.command(f"lb-switch run {lab.config_path.name}")
    narrator.say(f"{REQUESTS} requests from each client to each service, and who answered:")
    narrator.block(_who_answers(lab))


def _who_answers(lab: Lab) -> list[str]:
    lines = []
    for client in lab.topology.clients:
        for virtual_server in lab.topology.virtual_servers:
            scheme = "https" if virtual_server.port == 443 else "http"
            url = f"{scheme}://{virtual_server.address}/"
            result = lab.client(client.name, "requests", url, "-n", str(REQUESTS))
            if result["errors"] or sum(result["answers"].values()) != REQUESTS:
                raise SurpriseError(
                    f"{client.name}: {url}: {result['errors'] or result['answers']}"
                )
            if not set(result["answers"]) <= set(virtual_server.real_servers):
                raise SurpriseError(f"{url} was answered by {', '.join(result['answers'])}")
            counts = ", ".join(f"{name} {count}x" for name, count in result["answers"].items())
            order = " ".join(result["order"])
            lines.append(f"{client.name}  {url:<22} {order:<19} {counts}")
    return lines


def _one_connection(lab: Lab) -> tuple[list[Pair], str]:
    """One request of the first client, seen on its wire and on that of whoever answered."""
    client = lab.topology.clients[0]
    web = lab.topology.virtual_servers[0]
    expression = f"tcp port {web.port} and host {client.ips[0]}"
    with contextlib.ExitStack() as sniffers:
        at_client = sniffers.enter_context(sniff(lab, client.name, expression))
        at_servers = {
            name: sniffers.enter_context(sniff(lab, name, expression)) for name in web.real_servers
        }
        lab.exec(client.name, ["curl", "-sSf", f"http://{web.address}/"], check=True)
    answering = [name for name, sniffer in at_servers.items() if sniffer.packets]
    if len(answering) != 1:
        raise SurpriseError(f"one connection reached {' and '.join(answering) or 'no server'}")
    (server,) = answering
    pairs = pair_up(at_client.packets, at_servers[server].packets, client.ips[0])
    counts = (len(at_client.packets), len(at_servers[server].packets))
    if counts != (len(pairs), len(pairs)) or len(pairs) < 7:
        raise SurpriseError(f"{len(pairs)} packets match, of {counts[0]} and {counts[1]} seen")
    for seen in (*at_client.packets, *at_servers[server].packets):
        if not (seen.ip_checksum_ok and seen.l4_checksum_ok):
            raise SurpriseError(f"a checksum is wrong: {seen}")
    for pair in pairs:
        if set(changed_fields(pair)) != CHANGES[pair.to_server]:
            raise SurpriseError(f"{pair.name}: changed: {', '.join(changed_fields(pair))}")
    return pairs, server


def _explain(narrator: Narrator, topology: Topology, pairs: list[Pair], server: str) -> None:
    client, vip = topology.clients[0], topology.vips[0]
    real = topology.host(server).ips[0]
    narrator.command(f"curl http://{vip}/")
    narrator.say(
        f"""{client.name} asks, {server} answers; tcpdump listens to both. The first packet, as
        {client.name} sent it and as {server} got it (marked: what the switch has changed):"""
    )
    request = next(pair for pair in pairs if pair.name == "SYN")
    answer = next(pair for pair in pairs if pair.name == "SYN/ACK")
    narrator.block(side_by_side(request, client.name, server, narrator.marked))
    narrator.say(
        f"""This is destination NAT: the virtual address {vip} was replaced by the real one, {real}.
        Both checksums cover the address, so they were adjusted. The TTL counts routers: the switch
        is one. The client's own address stayed: {server} knows whom it serves. Its answer goes
        through the switch again, where the real address is hidden:"""
    )
    narrator.block(side_by_side(answer, client.name, server, narrator.marked))
    narrator.say("And so on, for every packet of the connection:")
    narrator.block(ladder(pairs))
    carried = sum(len(pair.at_client.payload) for pair in pairs)
    narrator.say(
        f"""Nothing else changed: the client's end, the sequence numbers and all {carried} bytes
        that the packets carried are the same on both wires, and each of the {2 * len(pairs)}
        packets has right checksums."""
    )


def _connections(narrator: Narrator, lab: Lab) -> subprocess.Popen[bytes]:
    """Show the table, with one connection that is open as long as the returned process runs."""
    narrator.say(
        """To treat all packets of a connection alike, the switch keeps a table of connections. One
        client is waiting for a slow answer right now: its connection is ESTABLISHED. The others
        are over and will soon be forgotten (expire: minutes and seconds left)."""
    )
    web, client = lab.topology.virtual_servers[0], lab.topology.clients[-1]
    url = f"http://{web.endpoint}/slow?seconds={PATIENCE:.0f}"
    waiting = lab.popen(client.name, ["curl", "-s", "-o", "/dev/null", url])
    deadline = time.monotonic() + PATIENCE
    while "ESTABLISHED" not in (table := ask_switch(lab, "show", "connections")):
        if time.monotonic() > deadline:
            raise SurpriseError("the connection that is open is not in the connection table")
    narrator.command("lb-switch show connections")
    narrator.block(_shortened(table.splitlines()), output=True)
    return waiting


def _show(narrator: Narrator, lab: Lab) -> None:
    narrator.command("lb-switch show")
    narrator.block(ask_switch(lab, "show").splitlines(), output=True)


def _shortened(table: list[str], longest: int = 8) -> list[str]:
    """The heading and the first rows, live connections first."""
    rows = sorted(table[1:], key=lambda row: "ESTABLISHED" not in row)
    more = len(rows) - longest
    return [table[0], *rows[:longest], *([f"... and {more} more"] if more > 0 else [])]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; exit code 0 done, 1 failed, 2 bad usage, 128 + N for signal N."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="The narrated demo.")
    parser.add_argument("--capture", choices=list(CAPTURES), help="only this one; default: both")
    parser.add_argument("--prefix", help="of the lab's namespaces; default: a random one")
    options = parser.parse_args(arguments)
    captures = [options.capture] if options.capture else list(CAPTURES)

    try:
        lab = Lab(prefix=options.prefix, switch=False)
    except LabError as error:
        parser.error(str(error))

    def tell() -> bool:
        demo(Narrator(sys.stdout), lab, captures)
        return True

    return perform("scripts/demo", lab, tell)


if __name__ == "__main__":
    sys.exit(main())
