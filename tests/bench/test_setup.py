"""What `scripts/setup bench` installs, with stand-ins for the programs of the machine."""

import subprocess
from pathlib import Path

import pytest

from tests.lab.test_scripts import A_PYTHON, Machine

APT = """#!/bin/sh
echo "$*; policy: $(cat "$POLICY_RC_D" 2>/dev/null | tail -n 1)" >>apt.log
"""
PROGRAMS = ["haproxy", "nginx", "iperf3", "wrk"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.install("python3.12", A_PYTHON)
    machine.install("apt-get", APT)
    machine.install("update-rc.d", '#!/bin/sh\necho "$*" >>rc.log\n')
    machine.install("systemctl", '#!/bin/sh\necho "$*" >>systemctl.log\n')
    return machine


def setup(machine: Machine, policy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["scripts/setup", *arguments],
        cwd=machine.checkout,
        env={"PATH": str(machine.programs), "POLICY_RC_D": str(policy)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def installations(machine: Machine) -> list[str]:
    return [line for line in machine.log("apt") if " haproxy" in line]


def test_no_service_starts_while_installing_nor_at_boot(machine: Machine, tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    result = setup(machine, policy, "bench")
    assert (result.returncode, result.stderr) == (0, "")
    (line,) = installations(machine)
    assert all(f" {name}" in line for name in PROGRAMS)
    assert line.endswith("policy: exit 101")
    assert not policy.exists()
    assert machine.log("rc") == ["haproxy disable", "nginx disable"]
    assert machine.log("systemctl") == ["disable haproxy.service", "disable nginx.service"]


def test_the_administrators_own_policy_is_left_alone(machine: Machine, tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 104\n")
    setup(machine, policy, "bench")
    (line,) = installations(machine)
    assert line.endswith("policy: exit 104")
    assert policy.read_text() == "#!/bin/sh\nexit 104\n"


def test_services_that_were_there_before_are_not_touched(machine: Machine, tmp_path: Path) -> None:
    for name in PROGRAMS:
        machine.install(name, "#!/bin/sh\n")
    assert setup(machine, tmp_path / "policy-rc.d", "bench").returncode == 0
    assert installations(machine) == []
    assert (machine.log("rc"), machine.log("systemctl")) == ([], [])


def test_other_set_ups_do_not_install_them(machine: Machine, tmp_path: Path) -> None:
    for extra in ((), ("test",)):
        assert setup(machine, tmp_path / "policy-rc.d", *extra).returncode == 0
    assert installations(machine) == []


def test_the_benchmarks_environment_serves_the_switch_as_well(
    machine: Machine, tmp_path: Path
) -> None:
    for arguments in (("bench",), (), ("bench",)):
        assert setup(machine, tmp_path / "policy-rc.d", *arguments).returncode == 0
    assert len(machine.log("pip")) == 1
