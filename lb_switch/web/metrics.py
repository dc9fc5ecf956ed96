"""What Prometheus reads: the switch's own counts, asked for at each scrape.

Names and units follow Prometheus' conventions (base units, `_total` for what only grows).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from lb_switch.web.feed import Connect

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_OF_SERVER = ["virtual_server", "real_server"]


def text(connect: Connect) -> bytes:
    """Return all metrics of the switch that answers.  Raises ControlError."""
    with connect() as client:
        stats = client.ask("show", what="stats")
        groups = list(client.rows("show", what="virtual_servers"))
        health = list(client.rows("show", what="health"))
    registry = CollectorRegistry()
    registry.register(_Collector(stats, groups, health))
    return generate_latest(registry)


class _Collector:
    def __init__(
        self, stats: dict[str, Any], groups: list[dict[str, Any]], health: list[dict[str, Any]]
    ) -> None:
        self._stats = stats
        self._groups = groups
        self._health = health

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        stats = self._stats
        yield GaugeMetricFamily(
            "lb_switch_connections", "Connections in the table.", value=stats["connections"]
        )
        yield GaugeMetricFamily(
            "lb_switch_max_connections",
            "Connections that the table may hold.",
            value=stats["max_connections"],
        )
        packets = CounterMetricFamily(
            "lb_switch_packets", "Packets handled, by the reason of the verdict.", labels=["reason"]
        )
        for reason, count in stats["packets"].items():
            packets.add_metric([reason], count)
        yield packets
        losses = CounterMetricFamily(
            "lb_switch_capture_losses", "What the capture has lost, by kind.", labels=["kind"]
        )
        for kind, count in stats["capture"].items():
            losses.add_metric([kind], count)
        yield losses
        yield from self._of_servers()
        yield from self._of_health()

    def _of_servers(self) -> Iterator[Metric]:
        weight = GaugeMetricFamily(
            "lb_switch_real_server_weight", "Weight of the real server.", labels=_OF_SERVER
        )
        ready = GaugeMetricFamily(
            "lb_switch_real_server_ready",
            "1: the operator wants it to get new connections; 0: it is drained or in maintenance.",
            labels=_OF_SERVER,
        )
        open_now = GaugeMetricFamily(
            "lb_switch_real_server_connections",
            "Connections in the table: active ones are before their first FIN or RST.",
            labels=[*_OF_SERVER, "state"],
        )
        given = CounterMetricFamily(
            "lb_switch_real_server_given_connections",
            "Connections that it was given.",
            labels=_OF_SERVER,
        )
        packets = CounterMetricFamily(
            "lb_switch_real_server_packets", "IP packets.", labels=[*_OF_SERVER, "direction"]
        )
        volume = CounterMetricFamily(
            "lb_switch_real_server_bytes",
            "Bytes of IP packets, headers included.",
            labels=[*_OF_SERVER, "direction"],
        )
        for group in self._groups:
            for server in group["real_servers"]:
                place = [group["name"], server["address"]]
                weight.add_metric(place, server["weight"])
                ready.add_metric(place, server["state"] == "ready")
                given.add_metric(place, server["connections"])
                for state in ("active", "inactive"):
                    open_now.add_metric([*place, state], server[state])
                for direction in ("to_server", "to_client"):
                    packets.add_metric([*place, direction], server[direction]["packets"])
                    volume.add_metric([*place, direction], server[direction]["bytes"])
        yield from (weight, ready, open_now, given, packets, volume)

    def _of_health(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "lb_switch_real_server_up",
            "1: healthy, or not checked; 0: down.",
            labels=_OF_SERVER,
        )
        took = GaugeMetricFamily(
            "lb_switch_probe_duration_seconds",
            "How long the last probe of the real server took.",
            labels=[*_OF_SERVER, "check"],
        )
        for row in self._health:
            place = [row["virtual_server"], row["address"]]
            up.add_metric(place, row["state"] != "down")
            last = row.get("last")
            if last is not None:
                took.add_metric([*place, row["check"]], last["seconds"])
        yield from (up, took)
