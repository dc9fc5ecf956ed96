"""`lb-switch check`: validate a configuration file."""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from lb_switch.cli import render
from lb_switch.cli.configuration import load_config
from lb_switch.daemon.advice import public_hash_key


@click.command("check")
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the file, for editors.")
def command(config: Path | None, schema: bool) -> None:
    """Validate the configuration file CONFIG.

    All errors are reported at once, each with the key it is about; the exit code is then 2.
    Nothing is changed, and root is not needed.

    \b
    Examples:
      lb-switch check lb.toml
      lb-switch check --schema > lb-switch.schema.json
    """  # noqa: D301
    if schema:
        from lb_switch.config.schema import json_schema

        click.echo(render.as_json(json_schema(), indent=2))
        return
    if config is None:
        raise click.UsageError("Missing argument 'CONFIG'.", click.get_current_context())
    loaded = load_config(config)
    click.echo(f"{config}: valid: {render.extent(loaded)}")
    for line in public_hash_key(loaded):
        click.echo(f"lb-switch: note: {line}", err=True)
        click.echo(f'[switch]\nhash_key = "{secrets.token_urlsafe(24)}"', err=True)
