"""One tournament from beginning to end: run it, keep its files, say how it went."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from netns_lab.bench import chart, results, tournament
from netns_lab.bench.results import Run
from netns_lab.bench.tournament import Plan, Say

JSON = "bench.json"
TABLE = "bench.md"
SVG = "bench.svg"


def run(todo: Plan, directory: Path, say: Say) -> list[Run]:
    """Run it and write the files into `directory`, anew after each round.

    So what was finished is there whatever happens later.  Raises LabError, OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    environment = tournament.environment()
    settings = {
        "rounds": todo.rounds,
        "seconds": todo.seconds,
        "contestants": {each.name: each.title for each in todo.contestants},
        "measures": [each.name for each in todo.measures],
    }
    runs: list[Run] = []
    for runs in tournament.run(todo, say):
        document = results.document(runs, environment, settings)
        table = document["medians"]
        done = max(each.round for each in runs)
        subtitle = (
            f"{done} round{'s' if done > 1 else ''} of {todo.seconds} s a measure,"
            f" fresh network namespaces for each; {environment['processors']} processors"
            f" ({environment['machine']}), Linux {environment['kernel']},"
            f" Python {environment['python']}"
        )
        (directory / JSON).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        (directory / TABLE).write_text(results.table_text(table), encoding="utf-8")
        (directory / SVG).write_text(chart.svg(table, subtitle), encoding="utf-8")
    return runs


def text(runs: Sequence[Run]) -> str:
    """The table, then what is in doubt."""
    lines = [results.table_text(results.medians(runs))]
    lines += [f"in doubt: {line}\n" for line in results.doubts(runs)]
    return "".join(lines)
