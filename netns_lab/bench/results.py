"""From single runs to medians and ratios, a table and a JSON document.  Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from netns_lab.bench.contestants import CONTESTANTS, REFERENCE
from netns_lab.bench.measures import FIGURES, Figure

NOT_AVAILABLE = "n/a"

Table = Mapping[str, Mapping[str, float]]
"""By contestant, then by figure."""


@dataclass(frozen=True)
class Run:
    """One measure of one contestant in one round.

    figures     by name, in the figures' own units
    troubles    what casts doubt on them
    error       why there are none; empty: it worked
    steal       CPU seconds that the hypervisor took away meanwhile
    """

    round: int
    contestant: str
    measure: str
    figures: dict[str, float] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    error: str = ""
    steal: float = 0.0


def medians(runs: Iterable[Run]) -> dict[str, dict[str, float]]:
    """The median of each figure over the rounds, by contestant in the order they are shown."""
    return {
        contestant: {
            figure: statistics.median(values) for figure, values in by_figure.items() if values
        }
        for contestant, by_figure in _collected(runs).items()
    }


def spreads(runs: Iterable[Run]) -> dict[str, dict[str, tuple[float, float]]]:
    """The least and the greatest value of each figure, by contestant."""
    return {
        contestant: {
            figure: (min(values), max(values)) for figure, values in by_figure.items() if values
        }
        for contestant, by_figure in _collected(runs).items()
    }


def _collected(runs: Iterable[Run]) -> dict[str, dict[str, list[float]]]:
    runs = list(runs)
    present = {run.contestant for run in runs}
    collected: dict[str, dict[str, list[float]]] = {
        name: {figure: [] for figure in FIGURES} for name in CONTESTANTS if name in present
    }
    for run in runs:
        for figure, value in run.figures.items():
            collected[run.contestant][figure].append(value)
    return collected


def ratios(table: Table, reference: str = REFERENCE) -> dict[str, dict[str, float]]:
    """Each median divided by the reference's; nothing where the reference has none."""
    base = table.get(reference, {})
    return {
        contestant: {
            figure: value / base[figure] for figure, value in figures.items() if base.get(figure)
        }
        for contestant, figures in table.items()
    }


def shown(figure: Figure, value: float | None) -> str:
    """The number as text in the figure's digits, without its unit."""
    return NOT_AVAILABLE if value is None else f"{value:.{figure.digits}f}"


def table_text(table: Table) -> str:
    """A Markdown table, aligned for the terminal: medians, each with its ratio in brackets."""
    relative = ratios(table)
    head = ["median (ratio to HAProxy)" if REFERENCE in table else "median", *table]
    rows = [head]
    for figure in FIGURES.values():
        if not any(figure.name in figures for figures in table.values()):
            continue
        row = [f"{figure.title} [{figure.unit}]"]
        for contestant, figures in table.items():
            ratio = relative[contestant].get(figure.name)
            value = shown(figure, figures.get(figure.name))
            row.append(value if ratio is None else f"{value} ({ratio:.2f})")
        rows.append(row)
    return markdown(rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first of them the head, as an aligned Markdown table."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [_row(rows[0], widths)]
    lines.append("|" + "|".join([" " + "-" * widths[0] + " "] + [
        " " + "-" * (width - 1) + ": " for width in widths[1:]
    ]) + "|")  # fmt: skip
    lines += [_row(row, widths) for row in rows[1:]]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cells[0].ljust(widths[0])]
    padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "| " + " | ".join(padded) + " |"


def doubts(runs: Iterable[Run]) -> list[str]:
    """One line for each run that failed or whose figures are in doubt."""
    lines = []
    for run in runs:
        where = f"round {run.round}, {run.contestant}, {run.measure}"
        if run.error:
            lines.append(f"{where}: {run.error}")
        lines += [f"{where}: {trouble}" for trouble in run.troubles]
    return lines


def document(
    runs: Sequence[Run], environment: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything about one tournament, for a JSON file."""
    table = medians(runs)
    return {
        "environment": dict(environment),
        "settings": dict(settings),
        "figures": {name: asdict(figure) for name, figure in FIGURES.items()},
        "reference": REFERENCE,
        "medians": table,
        "ratios": ratios(table),
        "spreads": spreads(runs),
        "runs": [asdict(run) for run in runs],
    }
