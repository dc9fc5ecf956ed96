"""`lb-switch doctor`: findings and exit code.  The trials are canned."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from pathlib import Path

import pytest

from lb_switch.cli import examinations, privileges
from tests.cli.conftest import Run


@pytest.fixture
def complaints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Trials whose command contains a key fail with its value; the rest of the host is complete."""
    complaints: dict[str, str] = {}

    def try_apart(command: str) -> str:
        return next((why for part, why in complaints.items() if part in command), "")

    status = tmp_path / "status"
    status.write_text("Name:\tpython\nCapEff:\t000001ffffffffff\n")
    monkeypatch.setattr(privileges, "STATUS", status)
    monkeypatch.setattr(examinations, "_try_apart", try_apart)
    monkeypatch.setattr(shutil, "which", lambda program: f"/sbin/{program}")
    monkeypatch.setattr(fcntl, "ioctl", lambda *_: b"\x00\x40\x00\x00")
    monkeypatch.setattr(examinations, "NODE", Path(os.devnull))
    return complaints


def test_all_is_here(run: Run, complaints: dict[str, str]) -> None:
    result = run("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert all(line.startswith("ok ") for line in lines[:-1])
    assert lines[-1] == "all that `lb-switch run` needs with capture tun is here"
    assert "ok       CAP_NET_ADMIN" in lines
    assert "ok       tun with vnet_hdr" in lines


def test_what_only_the_other_capture_needs_is_not_missing(
    run: Run, complaints: dict[str, str]
) -> None:
    complaints["NFQUEUE"] = "No chain/target/match by that name."
    assert run("doctor").exit_code == 0
    result = run("doctor", "--capture", "nfqueue")
    assert result.exit_code == 1
    assert (
        "MISSING  NFQUEUE in iptables's raw: No chain/target/match by that name."
        " [fix: modprobe xt_NFQUEUE nfnetlink_queue (the kernel may lack them), or use capture tun]"
    ) in result.stdout.splitlines()
    assert result.stdout.splitlines()[-1] == (
        "4 things missing for `lb-switch run` with capture nfqueue"
    )


def test_a_version_that_is_not_served_needs_nothing(
    run: Run, complaints: dict[str, str], config: Path
) -> None:
    complaints["ip6tables"] = "Address family not supported by protocol"
    result = run("doctor", config, "--capture", "nfqueue")
    assert "ip6tables's" not in result.stdout
    assert "NFQUEUE in iptables's raw" in result.stdout
    assert run("doctor", "--capture", "nfqueue").exit_code == 1


def test_nfqueue_needs_to_tell_first_fragments(run: Run, complaints: dict[str, str]) -> None:
    complaints["-m u32"] = "Extension u32 revision 0 not supported, missing kernel module?"
    assert run("doctor").exit_code == 0
    result = run("doctor", "--capture", "nfqueue")
    assert result.exit_code == 1
    assert (
        "MISSING  the u32 match of iptables: Extension u32 revision 0 not supported, missing kernel"
        " module? [fix: modprobe xt_u32 (the kernel may lack them), or use capture tun]"
    ) in result.stdout.splitlines()


def test_without_capabilities(run: Run, complaints: dict[str, str]) -> None:
    privileges.STATUS.write_text("CapEff:\t0000000000000000\n")
    result = run("doctor", "--json")
    assert result.exit_code == 1
    findings = {finding["what"]: finding for finding in json.loads(result.stdout)}
    assert findings["CAP_NET_ADMIN"] == {
        "what": "CAP_NET_ADMIN",
        "ok": False,
        "detail": "",
        "fix": "run it with sudo",
        "needed": True,
    }
    assert findings["CAP_SYS_ADMIN"]["needed"] is False


def test_what_only_root_may_try(
    run: Run, complaints: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    complaints["NFQUEUE"] = "unshare: unshare failed: Operation not permitted"
    lines = run("doctor").stdout.splitlines()
    for what in ("MISSING  /dev/null: Permission", "without  NFQUEUE in iptables's raw: unshare"):
        (line,) = (line for line in lines if line.startswith(what))
        assert "[fix: run doctor with sudo" in line


def test_without_a_tool(
    run: Run, complaints: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _program: None)
    lines = run("doctor").stdout.splitlines()
    assert "MISSING  ip [fix: apt-get install iproute2]" in lines
    assert "without  curl [fix: apt-get install curl]" in lines


def test_without_tun(
    run: Run, complaints: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(examinations, "NODE", tmp_path / "tun")
    result = run("doctor")
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("MISSING")]
    assert line.startswith(f"MISSING  {tmp_path}/tun: No such file or directory [fix: modprobe tun")


@pytest.mark.usefixtures("complaints")
def test_a_bad_configuration_is_bad_usage(run: Run, config: Path) -> None:
    config.write_text("[switch]\nqueue = -1\n")
    result = run("doctor", config)
    assert (result.exit_code, result.stderr) == (2, "switch.queue: -1 must be at least 0\n")


@pytest.mark.usefixtures("complaints")
def test_the_certificates_that_https_checks_trust(run: Run, config: Path, tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    for path, why in ((missing, "No such file or directory"), (empty, "no certificate in it")):
        config.write_text(
            '[[virtual_server]]\nname = "web"\naddress = "127.0.0.1:80"\n'
            f'health_check = {{ kind = "https", ca_file = "{path}" }}\n'
        )
        lines = run("doctor", config).stdout.splitlines()
        fix = "name a PEM file, or without ca_file trust the machine's own store"
        assert f"MISSING  ca_file {path}: {why} [fix: {fix}]" in lines
        config.write_text(config.read_text().replace("}", ", verify = false }"))
        assert "ca_file" not in run("doctor", config).stdout


needs_namespaces = [
    pytest.mark.netns,
    pytest.mark.skipif(
        "CAP_SYS_ADMIN" not in privileges.effective() and os.environ.get("CI") != "true",
        reason="needs root",
    ),
]


class TestTrials:
    pytestmark = needs_namespaces

    def test_success_says_nothing(self) -> None:
        assert examinations._try_apart("echo out; echo err >&2") == ""

    def test_the_last_line_of_a_failure(self) -> None:
        assert examinations._try_apart("echo first >&2; echo last >&2; exit 3") == "last"
        assert examinations._try_apart("exit 3") == "exit code 3"

    def test_it_is_apart(self) -> None:
        assert examinations._try_apart("test $(ip -o link | wc -l) = 1") == ""

    def test_what_hangs_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(examinations, "PATIENCE", 0.2)
        assert examinations._try_apart("exec sleep 60") == "no answer within 0.2 s"
