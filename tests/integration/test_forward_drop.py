"""A firewall that drops what is forwarded is told of, with what helps."""

from __future__ import annotations

import re

import pytest

from netns_lab.lab import Lab
from netns_lab.topologies import DUAL_STACK

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
@pytest.mark.parametrize(
    ("program", "url"),
    [("iptables", "http://10.0.1.100/"), ("ip6tables", "http://[2001:db8:1::100]/")],
)
def test_a_policy_of_drop(capture: str, program: str, url: str) -> None:
    with Lab(DUAL_STACK, capture=capture, switch=False, check_invariants=True) as lab:
        lab.exec("switch", [program, "-P", "FORWARD", "DROP"], check=True)
        lab.start_switch()
        curl = ["curl", "-s", "-o", "/dev/null", "--max-time", "1", url]
        assert lab.exec("c1", curl).returncode != 0
        log = (lab.directory / "switch.log").read_text()
        (note,) = [line for line in log.splitlines() if "firewall" in line]
        assert note.startswith("lb-switch: note: the host's firewall drops what is forwarded from")
        assert f"({program} -P FORWARD DROP): no client gets through: " in note
        doctor = lab.cli("doctor", str(lab.config_path), "--capture", capture).stdout
        (line,) = [each for each in doctor.splitlines() if "firewall" in each]
        fix = note.rpartition(": ")[2]
        assert f"[fix: {fix}]" in line
        if capture == "tun":
            lab.exec("switch", ["sh", "-ec", fix], check=True)
        else:
            for rip in re.findall(r"address = \"(.*)\"", lab.config_path.read_text()):
                for side in "sd":
                    ip = rip.rpartition(":")[0].strip("[]")
                    if (":" in ip) == (program == "ip6tables"):
                        command = [program, "-I", "FORWARD", f"-{side}", ip, "-j", "ACCEPT"]
                        lab.exec("switch", command, check=True)
        assert lab.exec("c1", curl).returncode == 0, "what it says helps"
        assert lab.cli("reload").returncode == 0
        log = (lab.directory / "switch.log").read_text()
        assert log.count("firewall") == 1
        doctor = lab.cli("doctor", str(lab.config_path), "--capture", capture).stdout
        assert "drops what is forwarded" not in doctor
