"""A switch leaves the host as it found it, and never runs twice."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.capture.lab import (
    CLIENT,
    SERVERS,
    TCP_VIP,
    TCP_VIP6,
    UDP_VIP,
    VIP,
    Lab,
    Process,
    built,
)

pytestmark = pytest.mark.netns
both = pytest.mark.parametrize("capture", ["tun", "nfqueue"])


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with built(tmp_path) as made:
        yield made


def host_settings(lab: Lab) -> None:
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
    lab.run(lab.switch, "sh", "-ec", script)


@both
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGQUIT, signal.SIGRTMIN]
)
def test_an_orderly_stop_restores_the_host(lab: Lab, capture: str, number: int) -> None:
    lab.configure(TCP_VIP, UDP_VIP, TCP_VIP6)
    before = lab.snapshot()
    switch = lab.start(capture)
    assert lab.snapshot() != before
    switch.stop(number)
    assert switch.stderr == ""
    assert lab.snapshot() == before
    assert not lab.state.exists()


@both
def test_settings_of_the_hosts_own_come_back(lab: Lab, capture: str) -> None:
    host_settings(lab)
    before = lab.snapshot()
    with lab.listen(SERVERS[0]) as listener:
        switch = lab.start(capture)
        with lab.connect(), listener.accept()[0]:
            pass
        switch.stop()
    assert lab.snapshot() == before


@both
def test_the_next_start_takes_back_what_a_killed_switch_left(lab: Lab, capture: str) -> None:
    host_settings(lab)
    lab.configure(TCP_VIP, UDP_VIP, TCP_VIP6)
    before = lab.snapshot()
    lab.start(capture).stop(signal.SIGKILL)
    assert lab.snapshot() != before
    lab.configure(UDP_VIP)
    switch = lab.start(capture)
    assert "taking back" in switch.stderr
    switch.stop()
    assert lab.snapshot() == before


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


def test_iptables_legacy_serves_and_restores_as_well(lab: Lab, legacy: str) -> None:
    def rules() -> str:
        script = "iptables-legacy-save; ip6tables-legacy-save"
        lines = lab.run(lab.switch, "sh", "-c", script).splitlines()
        return "\n".join(line.partition(" [")[0] for line in lines if not line.startswith("#"))

    # A legacy table lives as long as its namespace, once it was looked at.
    for table in ("raw", "mangle"):
        for program in ("iptables-legacy", "ip6tables-legacy"):
            lab.run(lab.switch, program, "-t", table, "-S")
    lab.configure(TCP_VIP, TCP_VIP6)
    before, rules_before = lab.snapshot(), rules()
    for number in (signal.SIGTERM, signal.SIGKILL):
        switch = lab.start("nfqueue", PATH=legacy)
        assert "LB-SWITCH" in rules()
        with lab.listen(SERVERS[0]) as listener, lab.connect(), listener.accept()[0]:
            pass
        switch.stop(number)
    lab.start("nfqueue", PATH=legacy).stop()
    assert rules() == rules_before
    assert lab.snapshot() == before


def test_the_other_capture_takes_it_back_too(lab: Lab) -> None:
    before = lab.snapshot()
    lab.start("nfqueue").stop(signal.SIGKILL)
    lab.start("tun").stop(signal.SIGKILL)
    lab.start("nfqueue").stop()
    assert lab.snapshot() == before


def test_a_half_written_journal_is_taken_back_as_far_as_it_goes(lab: Lab) -> None:
    before = lab.snapshot()
    lab.start("nfqueue").stop(signal.SIGKILL)
    (journal,) = lab.state.glob("*.state")
    with journal.open("a") as file:
        file.write('[["run", "ip", "li')
    lab.start("nfqueue").stop()
    assert lab.snapshot() == before


def test_the_journal_of_another_namespace_is_not_carried_out(lab: Lab, tmp_path: Path) -> None:
    """Inode numbers of namespaces are used again."""
    lab.run(lab.switch, "ip", "neigh", "add", "proxy", "192.0.2.5", "dev", "cli0")
    inode = lab.run(lab.switch, "stat", "-L", "-c", "%i", "/proc/self/ns/net").strip()
    lab.state.mkdir()
    stranger = '{"boot": "another", "namespace": "1"}'
    undo = '[["run", "ip", "neigh", "del", "proxy", "192.0.2.5", "dev", "cli0"]]'
    (lab.state / f"{inode}.state").write_text(f"{stranger}\n{undo}\n")
    before = lab.snapshot()
    lab.start("tun").stop()
    assert lab.snapshot() == before


@both
def test_a_second_switch_in_the_namespace_is_refused(lab: Lab, capture: str) -> None:
    first = lab.start(capture)
    running = lab.snapshot()
    complaint = lab.refused("tun")
    assert complaint == (
        f"another lb-switch runs in this network namespace (pid {first.popen.pid}): stop it first"
    )
    assert lab.snapshot() == running
    with lab.listen(SERVERS[0]) as listener, lab.connect(), listener.accept()[0]:
        pass


def test_a_taken_queue_number_is_one_clear_line(lab: Lab) -> None:
    import netfilterqueue

    from tests.capture.lab import inside

    before = lab.snapshot()
    with inside(lab.switch):
        other = netfilterqueue.NetfilterQueue()
    other.bind(100, lambda packet: packet.accept(), sock_len=100_000)
    try:
        assert lab.refused("nfqueue") == (
            "NFQUEUE 100 is taken by another program: choose another number"
        )
        assert lab.snapshot() == before
        lab.start("nfqueue", QUEUE="101").stop()
    finally:
        other.unbind()


def test_a_missing_device_node_is_one_clear_line(lab: Lab) -> None:
    before = lab.snapshot()
    hide = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")
    assert lab.refused("tun", *hide) == (
        "/dev/net/tun is missing: modprobe tun; mkdir -p /dev/net && mknod /dev/net/tun c 10 200"
    )
    assert lab.snapshot() == before


@pytest.mark.parametrize(("capture", "pages"), [("tun", 1), ("nfqueue", 1), ("tun", 2)])
def test_a_full_disk_is_one_clear_line(lab: Lab, capture: str, pages: int) -> None:
    """One page of the disk is in use; with two, it is full in the middle of the changes."""
    lab.configure(*([f"10.0.1.{number}:80", 6, [SERVERS[0] + ":80"]] for number in range(20, 90)))
    lab.state.mkdir()
    inode = lab.run(lab.switch, "stat", "-L", "-c", "%i", "/proc/self/ns/net").strip()
    seen = lab.directory / "seen"
    page = os.sysconf("SC_PAGE_SIZE")
    full = f"""
        mount -t tmpfs -o size={pages * page} none {lab.state}
        head -c {page} /dev/zero > {lab.state}/theirs
        "$@"; code=$?
        ls {lab.state} > {seen}
        exit $code
    """
    before = lab.snapshot()
    complaint = lab.refused(capture, "unshare", "-m", "sh", "-c", full, "sh")
    assert complaint == f"{lab.state}/{inode}.state: No space left on device"
    assert seen.read_text() == "theirs\n"
    assert lab.snapshot() == before


@both
def test_a_missing_capability_is_one_clear_line(lab: Lab, capture: str) -> None:
    weak = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
    assert lab.refused(capture, *weak) == f"capture {capture} needs CAP_NET_ADMIN: run it with sudo"


def test_an_interface_of_the_same_name_is_one_clear_line(lab: Lab) -> None:
    lab.run(lab.switch, "ip", "tuntap", "add", "lbtun", "mode", "tun")
    before = lab.snapshot()
    assert lab.refused("tun") == "interface lbtun exists already: remove it (ip link del lbtun)"
    assert lab.snapshot() == before


@pytest.mark.parametrize(
    ("virtual_server", "complaint"),
    [
        (["10.0.1.1:80", 6, ["10.0.2.11:80"]], "10.0.1.1 is an address of this machine"),
        (["10.0.1.100:80", 6, ["10.0.1.100:81"]], "is a VIP of this switch: a loop"),
        (["10.0.1.100:80", 6, ["192.0.2.1:81"]], "there is no route to real server 192.0.2.1"),
        (["10.0.1.100:80", 6, ["10.0.2.1:81"]], "is this machine itself"),
    ],
)
def test_an_impossible_set_up_changes_nothing(
    lab: Lab, virtual_server: list[object], complaint: str
) -> None:
    before = lab.snapshot()
    lab.configure(virtual_server)
    said = lab.refused("tun")
    assert complaint in said
    assert "\n" not in said
    assert lab.snapshot() == before


def test_a_local_vip_is_served_by_nfqueue_only_if_that_is_meant(lab: Lab) -> None:
    lab.configure(["10.0.1.1:80", 6, [f"{SERVERS[0]}:8080"]])
    before = lab.snapshot()
    said = lab.refused("nfqueue")
    assert said.startswith("10.0.1.1 is an address of this machine")
    assert said.endswith("or set take_own_addresses = true")
    assert lab.snapshot() == before
    with lab.listen(SERVERS[0]) as listener:
        switch = lab.start("nfqueue", OWN_ADDRESSES="yes")
        with lab.connect("10.0.1.1") as client:
            served, peer = listener.accept()
            with served:
                assert peer[0] == CLIENT
                served.sendall(b"answer")
                assert client.recv(10) == b"answer"
        switch.stop()
    assert lab.snapshot() == before


def change(lab: Lab, switch: Process, *virtual_servers: list[object]) -> str:
    lab.configure(*virtual_servers)
    switch.popen.send_signal(signal.SIGHUP)
    return switch.line()


@both
def test_the_rules_follow_a_live_change(lab: Lab, capture: str) -> None:
    other_vip = "10.0.1.101"
    lab.configure([f"{VIP}:80", 6, [f"{SERVERS[0]}:8080"]])
    before = lab.snapshot()
    with lab.listen(SERVERS[0]) as first, lab.listen(SERVERS[1]) as second:
        switch = lab.start(capture)
        small = lab.snapshot()
        with lab.connect() as living:
            served, _ = first.accept()
            # The real server is replaced and a VIP added: the old connection goes on.
            added: list[list[object]] = [
                [f"{VIP}:80", 6, [f"{SERVERS[1]}:8080"]],
                [f"{other_vip}:80", 6, [f"{SERVERS[1]}:8080"]],
            ]
            assert change(lab, switch, *added) == "updated"
            for vip in (VIP, other_vip):
                with lab.connect(vip), second.accept()[0]:
                    pass
            with served:
                living.sendall(b"question")
                assert served.recv(100) == b"question"
                served.sendall(b"answer")
                assert living.recv(100) == b"answer"
            impossible: list[object] = [f"{VIP}:80", 6, ["192.0.2.1:80"]]
            assert change(lab, switch, impossible).startswith("refused: there is no route")
            assert change(lab, switch, *added) == "updated"
        switch.stop()
    assert lab.snapshot() == before
    assert small != before


@both
def test_a_change_and_back_leaves_the_same_rules(lab: Lab, capture: str) -> None:
    one: list[object] = [f"{VIP}:80", 6, [f"{SERVERS[0]}:8080"]]
    two: list[object] = ["10.0.1.101:81", 17, [f"{SERVERS[1]}:8080"]]
    lab.configure(one)
    before = lab.snapshot()
    switch = lab.start(capture)
    small = lab.snapshot()
    assert change(lab, switch, one, two, TCP_VIP6) == "updated"
    large = lab.snapshot()
    assert [line for line in large if "10.0.1.101" in line and line not in small]
    assert change(lab, switch, one) == "updated"
    # What IPv6 needed of the device is not taken back from it; it ends with the device.
    device = ("conf/lbtun/", "neigh/lbtun/", "lbtun table local", "dev lbtun proto kernel")
    assert [line for line in lab.snapshot() if not any(d in line for d in device)] == [
        line for line in small if not any(d in line for d in device)
    ]
    switch.popen.kill()
    switch.popen.wait(20)
    lab.start(capture).stop()
    assert lab.snapshot() == before


def test_removing_the_device_ends_the_switch_and_restores_the_host(lab: Lab) -> None:
    before = lab.snapshot()
    switch = lab.start("tun")
    lab.run(lab.switch, "ip", "link", "del", "lbtun")
    assert switch.popen.wait(20) == 1
    assert "lbtun is gone" in switch.stderr
    assert lab.snapshot() == before


def test_a_signal_while_starting_leaves_nothing_behind(lab: Lab) -> None:
    before = lab.snapshot()
    for _ in range(3):
        switch = lab.launch("nfqueue")
        # Its state file appears with the first change it makes.
        while not (lab.state.exists() and any(lab.state.iterdir())):
            assert switch.popen.poll() is None, switch.stderr
            os.sched_yield()
        switch.popen.send_signal(signal.SIGTERM)
        assert switch.popen.wait(20) == 0, switch.stderr
        assert lab.snapshot() == before


@both
def test_the_servers_other_traffic_outlives_a_killed_switch(lab: Lab, capture: str) -> None:
    with lab.listen(SERVERS[0]) as listener:
        switch = lab.start(capture)
        for alive in (True, False):
            if not alive:
                switch.stop(signal.SIGKILL)
            # From the very port that replies are captured from.
            with lab.connect(SERVERS[0], 8080) as client, listener.accept()[0] as served:
                served.sendall(b"answer")
                assert client.recv(10) == b"answer"


def advertise(lab: Lab) -> None:
    """Let the client's machine offer itself as a router, as RFC 4861, section 4.2, has it."""
    address = lab.run(lab.client, "cat", "/sys/class/net/eth0/address").strip()
    lab.run(
        lab.client,
        sys.executable,
        "-c",
        "from scapy.layers.inet6 import *; from scapy.layers.l2 import Ether;"
        "from scapy.sendrecv import sendp;"
        f"sendp(Ether(src='{address}', dst='33:33:00:00:00:01')"
        " / IPv6(dst='ff02::1') / ICMPv6ND_RA(routerlifetime=1800)"
        f" / ICMPv6NDOptSrcLLAddr(lladdr='{address}'), iface='eth0', verbose=False)",
    )


def learnt_routes(lab: Lab) -> list[str]:
    routes = lab.run(lab.switch, "ip", "-6", "route", "show", "default").splitlines()
    return [" ".join(line.split(" expires ")[0].split()) for line in routes]


@both
def test_a_default_route_that_was_learnt_outlives_the_switch(lab: Lab, capture: str) -> None:
    """A host that becomes a router forgets it, unless it is told not to."""
    lab.run(lab.switch, "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding")
    lab.configure(TCP_VIP6)
    for _ in range(50):
        advertise(lab)
        if before := learnt_routes(lab):
            break
    assert len(before) == 1
    assert "proto ra" in before[0]
    switch = lab.start(capture)
    assert learnt_routes(lab) == before
    switch.stop()
    assert learnt_routes(lab) == before
    assert lab.run(lab.switch, "cat", "/proc/sys/net/ipv6/conf/cli0/accept_ra").strip() == "1"
    assert lab.run(lab.switch, "cat", "/proc/sys/net/ipv6/conf/all/forwarding").strip() == "0"


@both
def test_what_somebody_else_sets_while_it_runs_stays(lab: Lab, capture: str) -> None:
    lab.run(lab.switch, "sh", "-c", "echo 0 >/proc/sys/net/ipv4/neigh/srv0/proxy_delay")
    lab.run(lab.switch, "sh", "-c", "echo 80 >/proc/sys/net/ipv4/neigh/cli0/proxy_delay")
    switch = lab.start(capture)
    lab.run(lab.switch, "sh", "-c", "echo 40 >/proc/sys/net/ipv4/neigh/cli0/proxy_delay")
    switch.stop()
    assert lab.run(lab.switch, "cat", "/proc/sys/net/ipv4/neigh/cli0/proxy_delay").strip() == "40"
    assert "net.ipv4.neigh.cli0.proxy_delay was set to 40 by somebody else" in switch.stderr
