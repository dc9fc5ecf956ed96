"""The contestants' plans: what they are given is the same where it must be."""

import re
from pathlib import Path

import pytest

from netns_lab.bench import contestants
from netns_lab.bench.contestants import CONTESTANTS, command_line, filled_in, kernel_settings
from netns_lab.bench.topology import BENCH, VIP, rips
from netns_lab.config import switch_config

DIRECTORY = Path("/run/lb-switch/lab-x")
CONFIGURED = [each for each in CONTESTANTS.values() if each.template]


def configuration(name: str) -> str:
    """What the contestant reads, ours included."""
    contestant = CONTESTANTS[name]
    if contestant.kind == "ours":
        return switch_config(
            BENCH, capture=name, scheduler="rr", control_socket=DIRECTORY / "control.sock"
        )
    return filled_in(contestant.template, DIRECTORY)


def uncommented(text: str) -> str:
    return re.sub(r"(?m)#.*$", "", text)


BALANCERS = [name for name, each in CONTESTANTS.items() if each.kind != "none"]


@pytest.mark.parametrize("name", BALANCERS)
def test_every_balancer_serves_the_same_vip_with_the_same_servers(name: str) -> None:
    text = uncommented(configuration(name))
    assert VIP in text
    for address in rips():
        assert f"{address}:80" in text
    assert f"{rips()[0]}:5201" in text
    assert not any(f"{address}:5201" in text for address in rips()[1:])
    assert f"{rips()[2]}:7" in text or not CONTESTANTS[name].udp
    assert set(re.findall(r"([\d.]+):\d+", text)) <= {VIP, *rips()}


def test_who_is_not_a_balancer_is_not_at_the_vip() -> None:
    assert CONTESTANTS["direct"].target == rips()[0]
    assert all(CONTESTANTS[name].target == VIP for name in BALANCERS)


def test_every_proxy_has_one_thread_or_worker() -> None:
    assert "nbthread 1\n" in configuration("haproxy")
    assert "mode tcp\n" in configuration("haproxy")
    assert "worker_processes 1;" in configuration("nginx-stream")


@pytest.mark.parametrize("contestant", CONFIGURED, ids=lambda each: each.name)
def test_the_command_line_names_the_filled_in_file(
    contestant: contestants.Contestant,
) -> None:
    command = command_line(contestant, DIRECTORY / contestant.template)
    assert command[-1] == str(DIRECTORY / contestant.template)
    assert command[0] in contestant.needs
    assert not any("$" in word for word in command)


def test_no_daemon_hides_from_its_starter() -> None:
    assert "daemon off;" in configuration("nginx-stream")
    assert "daemon off;" in filled_in("server.conf", DIRECTORY, name="s1")
    assert "-db" in CONTESTANTS["haproxy"].program


def test_files_of_a_run_stay_in_the_labs_directory() -> None:
    for text in (configuration("nginx-stream"), filled_in("server.conf", DIRECTORY, name="s1")):
        for path in re.findall(r"(?m)^(?:pid|error_log) (\S+?)[ ;]", text):
            assert Path(path).parent == DIRECTORY


def test_a_wrong_name_in_a_template_is_an_error() -> None:
    with pytest.raises(KeyError):
        filled_in("server.conf", DIRECTORY)


def test_kernel_settings_are_names_and_values() -> None:
    settings = kernel_settings()
    assert "net.ipv4.ip_local_port_range=1024 65535" in settings
    assert all(re.fullmatch(r"[a-z0-9._]+=\d+( \d+)?", each) for each in settings)
