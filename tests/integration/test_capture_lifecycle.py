"""A switch leaves the host as it found it, and never runs twice."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rig import (
    CLIENT,
    SERVERS,
    TCP_VIP,
    TCP_VIP6,
    UDP_VIP,
    VIP,
    Group,
    Process,
    ReloadRefusedError,
    Rig,
    built,
    inside,
)

pytestmark = pytest.mark.netns
both = pytest.mark.parametrize("capture", ["tun", "nfqueue"])


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with built(tmp_path) as made:
        yield made


def host_settings(rig: Rig) -> None:
    """Give the host settings of its own, so that "as before" is more than "as a fresh one"."""
    script = """
        iptables -A FORWARD -s 192.0.2.1 -j DROP
        iptables -t mangle -A POSTROUTING -d 192.0.2.2 -j MARK --set-mark 7
        ip rule add from 192.0.2.3 lookup 99 priority 51
        ip route add 192.0.2.4/32 dev srv0 table 7450
        ip neigh add proxy 192.0.2.5 dev cli0
        echo 1 > /proc/sys/net/ipv4/conf/cli0/rp_filter
        echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter
        echo 1 > /proc/sys/net/ipv4/conf/srv0/forwarding
        echo 33 > /proc/sys/net/ipv4/neigh/cli0/proxy_delay
    """
    rig.run(rig.switch, "sh", "-ec", script)


@both
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGQUIT, signal.SIGRTMIN]
)
def test_an_orderly_stop_restores_the_host(rig: Rig, capture: str, number: int) -> None:
    rig.configure(TCP_VIP, UDP_VIP, TCP_VIP6)
    before = rig.snapshot()
    switch = rig.start(capture)
    assert rig.snapshot() != before
    switch.stop(number)
    assert switch.stderr == ""
    assert rig.snapshot() == before
    assert not rig.journal.exists()


@both
def test_settings_of_the_hosts_own_come_back(rig: Rig, capture: str) -> None:
    host_settings(rig)
    before = rig.snapshot()
    with rig.listen(SERVERS[0]) as listener:
        switch = rig.start(capture)
        with rig.connect(), listener.accept()[0]:
            pass
        switch.stop()
    assert rig.snapshot() == before


@both
def test_the_next_start_takes_back_what_a_killed_switch_left(rig: Rig, capture: str) -> None:
    host_settings(rig)
    rig.configure(TCP_VIP, UDP_VIP, TCP_VIP6)
    before = rig.snapshot()
    rig.start(capture).stop(signal.SIGKILL)
    assert rig.snapshot() != before
    rig.configure(UDP_VIP)
    switch = rig.start(capture)
    assert "taking back" in switch.stderr
    switch.stop()
    assert rig.snapshot() == before


@pytest.fixture
def legacy(tmp_path: Path) -> str:
    """Return a PATH on which iptables is the one that does without nf_tables."""
    programs = tmp_path / "legacy"
    programs.mkdir()
    for program in ("iptables", "ip6tables"):
        for name in ("", "-save", "-restore"):
            found = shutil.which(f"{program}-legacy{name}")
            assert found, f"{program}-legacy{name} is missing: apt-get install iptables"
            (programs / f"{program}{name}").symlink_to(found)
    return f"{programs}:{os.environ['PATH']}"


def test_iptables_legacy_serves_and_restores_as_well(rig: Rig, legacy: str) -> None:
    def rules() -> str:
        script = "iptables-legacy-save; ip6tables-legacy-save"
        lines = rig.run(rig.switch, "sh", "-c", script).splitlines()
        return "\n".join(line.partition(" [")[0] for line in lines if not line.startswith("#"))

    # A legacy table lives as long as its namespace, once it was looked at.
    for table in ("raw", "mangle", "filter"):
        for program in ("iptables-legacy", "ip6tables-legacy"):
            rig.run(rig.switch, program, "-t", table, "-S")
    rig.configure(TCP_VIP, TCP_VIP6)
    before, rules_before = rig.snapshot(), rules()
    for number in (signal.SIGTERM, signal.SIGKILL):
        switch = rig.start("nfqueue", PATH=legacy)
        assert "LB-SWITCH" in rules()
        with rig.listen(SERVERS[0]) as listener, rig.connect(), listener.accept()[0]:
            pass
        switch.stop(number)
    rig.start("nfqueue", PATH=legacy).stop()
    assert rules() == rules_before
    assert rig.snapshot() == before


@both
def test_chains_that_somebody_has_restored_are_taken_back(rig: Rig, capture: str) -> None:
    """They stand in no journal: iptables-restore brought them, while no switch ran."""
    rig.configure(TCP_VIP, TCP_VIP6)
    rig.run(
        rig.switch, "iptables", "-t", "raw", "-A", "PREROUTING", "-s", "192.0.2.1", "-j", "DROP"
    )
    switch = rig.start("nfqueue")
    saved = {
        program: rig.run(rig.switch, f"{program}-save") for program in ("iptables", "ip6tables")
    }
    switch.stop()
    for program, text in saved.items():
        file = rig.directory / program
        file.write_text(text)
        rig.run(rig.switch, "sh", "-c", f"{program}-restore < {file}")
    assert "LB-SWITCH" in rig.run(rig.switch, "iptables-save")
    with rig.listen(SERVERS[0]) as listener:
        switch = rig.start(capture)
        with rig.connect(), listener.accept()[0]:
            pass
        assert "taking back chains" in switch.stderr
        switch.stop()
    assert "LB-SWITCH" not in rig.run(rig.switch, "iptables-save")
    assert "LB-SWITCH" not in rig.run(rig.switch, "ip6tables-save")
    assert "-s 192.0.2.1" in rig.run(rig.switch, "iptables-save"), "others' rules stay"


def test_the_other_capture_takes_it_back_too(rig: Rig) -> None:
    before = rig.snapshot()
    rig.start("nfqueue").stop(signal.SIGKILL)
    rig.start("tun").stop(signal.SIGKILL)
    rig.start("nfqueue").stop()
    assert rig.snapshot() == before


def test_a_half_written_journal_is_taken_back_as_far_as_it_goes(rig: Rig) -> None:
    before = rig.snapshot()
    rig.start("nfqueue").stop(signal.SIGKILL)
    with rig.journal.open("a") as file:
        file.write('[["run", "ip", "li')
    rig.start("nfqueue").stop()
    assert rig.snapshot() == before


def test_the_journal_of_another_namespace_is_not_carried_out(rig: Rig, tmp_path: Path) -> None:
    """Inode numbers of namespaces are used again."""
    rig.run(rig.switch, "ip", "neigh", "add", "proxy", "192.0.2.5", "dev", "cli0")
    stranger = '{"boot": "another", "namespace": "1"}'
    undo = '[["run", "ip", "neigh", "del", "proxy", "192.0.2.5", "dev", "cli0"]]'
    rig.journal.write_text(f"{stranger}\n{undo}\n")
    before = rig.snapshot()
    rig.start("tun").stop()
    assert rig.snapshot() == before


@both
def test_a_second_switch_in_the_namespace_is_refused(rig: Rig, capture: str) -> None:
    first = rig.start(capture)
    running = rig.snapshot()
    rig.control_socket = rig.directory / "second.sock"
    rig.configure()
    complaint = rig.refused("tun")
    assert complaint == (
        f"another lb-switch runs in this network namespace (pid {first.popen.pid}): stop it first"
    )
    assert rig.snapshot() == running
    with rig.listen(SERVERS[0]) as listener, rig.connect(), listener.accept()[0]:
        pass


def test_a_taken_queue_number_is_one_clear_line(rig: Rig) -> None:
    import netfilterqueue

    before = rig.snapshot()
    with inside(rig.switch):
        other = netfilterqueue.NetfilterQueue()
    other.bind(100, lambda packet: packet.accept(), sock_len=100_000)
    rig.configure(settings="queue = 100")
    try:
        assert rig.refused("nfqueue") == (
            "NFQUEUE 100 is taken by another program: choose another number"
        )
        assert rig.snapshot() == before
        rig.configure(settings="queue = 101")
        rig.start("nfqueue").stop()
    finally:
        other.unbind()


def test_a_missing_device_node_is_one_clear_line(rig: Rig) -> None:
    before = rig.snapshot()
    hide = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")
    assert rig.refused("tun", *hide) == (
        "/dev/net/tun is missing: modprobe tun; mkdir -p /dev/net && mknod /dev/net/tun c 10 200"
    )
    assert rig.snapshot() == before


@pytest.mark.parametrize(("capture", "pages"), [("tun", 1), ("nfqueue", 1), ("tun", 2)])
def test_a_full_disk_is_one_clear_line(rig: Rig, capture: str, pages: int) -> None:
    """One page of the disk is in use; with two, it is full in the middle of the changes."""
    rig.configure(*(Group(f"10.0.1.{number}:80", [f"{SERVERS[0]}:80"]) for number in range(20, 90)))
    folder = rig.journal.parent
    seen = rig.directory / "seen"
    page = os.sysconf("SC_PAGE_SIZE")
    full = f"""
        mount -t tmpfs -o size={pages * page} none {folder}
        head -c {page} /dev/zero > {folder}/theirs
        "$@"; code=$?
        ls {folder} > {seen}
        exit $code
    """
    before = rig.snapshot()
    complaint = rig.refused(capture, "unshare", "-m", "sh", "-c", full, "sh")
    assert complaint == f"{rig.journal}: No space left on device"
    assert seen.read_text() == "theirs\n"
    assert rig.snapshot() == before


@both
def test_a_missing_capability_is_one_clear_line(rig: Rig, capture: str) -> None:
    weak = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
    said = rig.refused(capture, *weak)
    assert said == f"CAP_NET_ADMIN missing: sudo run {rig.config} --capture {capture}".replace(
        "sudo", "sudo lb-switch"
    )
    # The capture says so too, to programs that have one of their own.
    module, kind = ("tun", "TunCapture") if capture == "tun" else ("nfqueue", "NfqueueCapture")
    own = f"from lb_switch.capture.{module} import {kind} as Capture; Capture([]).open()"
    needs = f"capture {capture} needs CAP_NET_ADMIN: run it with sudo\n"
    with pytest.raises(AssertionError, match=needs):
        rig.run(rig.switch, *weak, sys.executable, "-c", own)


def test_an_interface_of_the_same_name_is_one_clear_line(rig: Rig) -> None:
    rig.run(rig.switch, "ip", "tuntap", "add", "lbtun", "mode", "tun")
    before = rig.snapshot()
    assert rig.refused("tun") == "interface lbtun exists already: remove it (ip link del lbtun)"
    assert rig.snapshot() == before


@pytest.mark.parametrize(
    ("virtual_server", "complaint", "code"),
    [
        (Group("10.0.1.1:80", ["10.0.2.11:80"]), "10.0.1.1 is an address of this machine", 1),
        (
            Group("10.0.1.100:80", ["10.0.1.100:81"]),
            "is a VIP of this switch: packets would loop",
            2,  # known from the file alone
        ),
        (Group("10.0.1.100:80", ["192.0.2.1:81"]), "there is no route to real server 192.0.2.1", 1),
        (Group("10.0.1.100:80", ["10.0.2.1:81"]), "is this machine itself", 1),
    ],
)
def test_an_impossible_set_up_changes_nothing(
    rig: Rig, virtual_server: Group, complaint: str, code: int
) -> None:
    before = rig.snapshot()
    rig.configure(virtual_server)
    said = rig.refused("tun", code=code)
    assert complaint in said
    assert "\n" not in said
    assert rig.snapshot() == before


def test_a_local_vip_is_served_by_nfqueue_only_if_that_is_meant(rig: Rig) -> None:
    group = Group("10.0.1.1:80", [f"{SERVERS[0]}:8080"])
    rig.configure(group)
    before = rig.snapshot()
    said = rig.refused("nfqueue")
    assert said.startswith("10.0.1.1 is an address of this machine")
    assert said.endswith("or set take_own_addresses = true")
    assert rig.snapshot() == before
    with rig.listen(SERVERS[0]) as listener:
        rig.configure(group, settings="take_own_addresses = true")
        switch = rig.start("nfqueue")
        with rig.connect("10.0.1.1") as client:
            served, peer = listener.accept()
            with served:
                assert peer[0] == CLIENT
                served.sendall(b"answer")
                assert client.recv(10) == b"answer"
        switch.stop()
    assert rig.snapshot() == before


def change(rig: Rig, switch: Process, *groups: Group) -> list[str]:
    rig.configure(*groups)
    return switch.reload()


@both
def test_the_rules_follow_a_live_change(rig: Rig, capture: str) -> None:
    other_vip = "10.0.1.101"
    rig.configure(Group(f"{VIP}:80", [f"{SERVERS[0]}:8080"]))
    before = rig.snapshot()
    with rig.listen(SERVERS[0]) as first, rig.listen(SERVERS[1]) as second:
        switch = rig.start(capture)
        small = rig.snapshot()
        with rig.connect() as living:
            served, _ = first.accept()
            # The real server is replaced and a VIP added: the old connection goes on.
            added = [
                Group(f"{VIP}:80", [f"{SERVERS[1]}:8080"]),
                Group(f"{other_vip}:80", [f"{SERVERS[1]}:8080"]),
            ]
            web, other = f"tcp-{VIP}:80", f"tcp-{other_vip}:80"
            assert change(rig, switch, *added) == [
                f"{web}: real server {SERVERS[0]}:8080 removed",
                f"{web}: real server {SERVERS[1]}:8080 added (weight 1)",
                f"{other}: virtual server tcp {other_vip}:80 added (rr)",
                f"{other}: real server {SERVERS[1]}:8080 added (weight 1)",
            ]
            for vip in (VIP, other_vip):
                with rig.connect(vip), second.accept()[0]:
                    pass
            with served:
                living.sendall(b"question")
                assert served.recv(100) == b"question"
                served.sendall(b"answer")
                assert living.recv(100) == b"answer"
            with pytest.raises(ReloadRefusedError, match=r"^there is no route"):
                change(rig, switch, Group(f"{VIP}:80", ["192.0.2.1:80"]))
            assert change(rig, switch, *added) == ["nothing changed"]
        switch.stop()
    assert rig.snapshot() == before
    assert small != before


@both
def test_a_change_and_back_leaves_the_same_rules(rig: Rig, capture: str) -> None:
    one = Group(f"{VIP}:80", [f"{SERVERS[0]}:8080"])
    two = Group("10.0.1.101:81", [f"{SERVERS[1]}:8080"], "udp")
    rig.configure(one)
    before = rig.snapshot()
    switch = rig.start(capture)
    small = rig.snapshot()
    assert len(change(rig, switch, one, two, TCP_VIP6)) == 5
    large = rig.snapshot()
    assert [line for line in large if "10.0.1.101" in line and line not in small]
    assert len(change(rig, switch, one)) == 2
    # What IPv6 needed of the device is not taken back from it; it ends with the device.
    device = ("conf/lbtun/", "neigh/lbtun/", "lbtun table local", "dev lbtun proto kernel")
    assert [line for line in rig.snapshot() if not any(d in line for d in device)] == [
        line for line in small if not any(d in line for d in device)
    ]
    switch.popen.kill()
    switch.popen.wait(20)
    rig.start(capture).stop()
    assert rig.snapshot() == before


def test_removing_the_device_ends_the_switch_and_restores_the_host(rig: Rig) -> None:
    before = rig.snapshot()
    switch = rig.start("tun")
    rig.run(rig.switch, "ip", "link", "del", "lbtun")
    assert switch.popen.wait(20) == 1
    assert "lbtun is gone" in switch.stderr
    assert rig.snapshot() == before


def test_a_signal_while_starting_leaves_nothing_behind(rig: Rig) -> None:
    before = rig.snapshot()
    for _ in range(3):
        switch = rig.launch("nfqueue")
        # Its state file appears with the first change it makes.
        while not rig.journal.exists():
            assert switch.popen.poll() is None, switch.stderr
            os.sched_yield()
        switch.popen.send_signal(signal.SIGTERM)
        assert switch.popen.wait(20) == 0, switch.stderr
        assert rig.snapshot() == before


@both
def test_the_servers_other_traffic_outlives_a_killed_switch(rig: Rig, capture: str) -> None:
    with rig.listen(SERVERS[0]) as listener:
        switch = rig.start(capture)
        for alive in (True, False):
            if not alive:
                switch.stop(signal.SIGKILL)
            # From the very port that replies are captured from.
            with rig.connect(SERVERS[0], 8080) as client, listener.accept()[0] as served:
                served.sendall(b"answer")
                assert client.recv(10) == b"answer"


def advertise(rig: Rig) -> None:
    """Let the client's machine offer itself as a router, as RFC 4861, section 4.2, has it."""
    address = rig.run(rig.client, "cat", "/sys/class/net/eth0/address").strip()
    rig.run(
        rig.client,
        sys.executable,
        "-c",
        "from scapy.layers.inet6 import *; from scapy.layers.l2 import Ether;"
        "from scapy.sendrecv import sendp;"
        f"sendp(Ether(src='{address}', dst='33:33:00:00:00:01')"
        " / IPv6(dst='ff02::1') / ICMPv6ND_RA(routerlifetime=1800)"
        f" / ICMPv6NDOptSrcLLAddr(lladdr='{address}'), iface='eth0', verbose=False)",
    )


def learnt_routes(rig: Rig) -> list[str]:
    routes = rig.run(rig.switch, "ip", "-6", "route", "show", "default").splitlines()
    return [" ".join(line.split(" expires ")[0].split()) for line in routes]


@both
def test_a_default_route_that_was_learnt_outlives_the_switch(rig: Rig, capture: str) -> None:
    """A host that becomes a router forgets it, unless it is told not to."""
    rig.run(rig.switch, "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding")
    rig.run(rig.switch, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/cli0/accept_ra")
    rig.configure(TCP_VIP6)
    for _ in range(50):
        advertise(rig)
        if before := learnt_routes(rig):
            break
    assert len(before) == 1
    assert "proto ra" in before[0]
    switch = rig.start(capture)
    assert learnt_routes(rig) == before
    switch.stop()
    assert learnt_routes(rig) == before
    assert rig.run(rig.switch, "cat", "/proc/sys/net/ipv6/conf/cli0/accept_ra").strip() == "1"
    assert rig.run(rig.switch, "cat", "/proc/sys/net/ipv6/conf/all/forwarding").strip() == "0"


@both
def test_what_somebody_else_sets_while_it_runs_stays(rig: Rig, capture: str) -> None:
    rig.run(rig.switch, "sh", "-c", "echo 0 >/proc/sys/net/ipv4/neigh/srv0/proxy_delay")
    rig.run(rig.switch, "sh", "-c", "echo 80 >/proc/sys/net/ipv4/neigh/cli0/proxy_delay")
    switch = rig.start(capture)
    rig.run(rig.switch, "sh", "-c", "echo 40 >/proc/sys/net/ipv4/neigh/cli0/proxy_delay")
    switch.stop()
    assert rig.run(rig.switch, "cat", "/proc/sys/net/ipv4/neigh/cli0/proxy_delay").strip() == "40"
    assert "net.ipv4.neigh.cli0.proxy_delay was set to 40 by somebody else" in switch.stderr
