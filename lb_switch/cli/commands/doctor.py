"""`lb-switch doctor`: what this machine can do, what is missing, and how to fix it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from lb_switch.cli import control_socket, render
from lb_switch.cli.configuration import load_config
from lb_switch.harmless import harmless


@click.command("doctor")
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.option("--capture", type=click.Choice(["tun", "nfqueue"]), help="For this capture.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def command(config: Path | None, capture: str | None, as_json: bool) -> None:
    """Say what this machine can do, what is missing, and how to fix each.

    With CONFIG, also whether that configuration makes sense here.  Exit code 0: all that
    `lb-switch run` needs is there.  Nothing is changed: trials happen in a network namespace that
    is thrown away.

    \b
    Examples:
      sudo lb-switch doctor
      sudo lb-switch doctor lb.toml
    """  # noqa: D301
    loaded = None if config is None else load_config(config)
    from lb_switch.cli.examinations import configuration, examine, running

    versions = (
        (4, 6)
        if loaded is None
        else sorted({each.address.ip.version for each in loaded.virtual_server})
    )
    name = capture or (loaded.switch.capture if loaded else "tun")
    findings = []
    parts = [examine(name, versions)]
    if loaded is not None:
        parts += [configuration(loaded, name), running(control_socket.of(loaded))]
    for part in parts:
        for finding in part:
            findings.append(asdict(finding))
            if not as_json:
                click.echo(harmless(render.finding(findings[-1])))
    lacking = sum(not finding["ok"] and finding["needed"] for finding in findings)
    if as_json:
        sys.stdout.writelines(f"{line}\n" for line in render.json_array(findings))
    else:
        click.echo(render.diagnosis(lacking, name))
    click.get_current_context().exit(1 if lacking else 0)
