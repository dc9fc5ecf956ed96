"""`lb-switch explain page`: a recording as one HTML file."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Run
from tests.web.test_single_file import Parts


def test_the_command(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "story.html"
    result = run("explain", "page", "--example", "--connection", "2", "-o", target)
    assert (result.exit_code, result.output) == (0, "")
    kept = json.loads(Parts(target.read_text()).of("script")[0][1])
    assert list(kept["connections"]) == ["2"]
    result = run("explain", "page", "--example", "-o", tmp_path / "no" / "x.html")
    assert (result.exit_code, result.stderr) == (
        1,
        f"lb-switch: {tmp_path}/no/x.html: No such file or directory\n",
    )
