"""Fixtures that put tests behind the real balancer.

    @pytest.mark.lab(capture="nfqueue", scheduler="wlc")
    def test_my_client(lab):
        result = lab.exec("c1", ["my-client", "http://10.0.1.100/"])

`lab`         one lab per test, as the marker `lab` says (arguments of netns_lab.lab.Lab; a topology
              may be given by name)
`module_lab`  one lab for a whole module, as the module's `pytestmark` says
`make_lab`    a function that makes one, with the same arguments; for tests that need two

The switch checks its invariants all the while; a switch that has failed fails the test.

A test that uses one of them is marked `netns`.  What such a test needs and the machine lacks skips
it, with the reason; with CI=true in the environment it fails instead.  Loaded by
`-p netns_lab.pytest_plugin`, or as an entry point of group `pytest11`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from netns_lab import capability
from netns_lab.lab import Lab
from netns_lab.topologies import TOPOLOGIES, Topology

FIXTURES = frozenset({"lab", "module_lab", "make_lab"})


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known (`--strict-markers`)."""
    config.addinivalue_line("markers", "netns: needs root and network namespaces")
    config.addinivalue_line("markers", "lab(**arguments): which lab the fixture `lab` builds")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever uses a lab needs namespaces."""
    for item in items:
        if FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.netns)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail under CI, what this machine cannot run."""
    if item.get_closest_marker("netns") is None or (why := capability.missing()) is None:
        return
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(f"CI must be able to run this: {why}", pytrace=False)
    pytest.skip(why)


@pytest.fixture
def make_lab() -> Iterator[Callable[..., Lab]]:
    """A function that builds a lab; all of them are removed after the test."""
    with contextlib.ExitStack() as labs:
        yield lambda **arguments: labs.enter_context(_lab(arguments))


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab for this test, as its marker `lab` says."""
    with _lab(_marked(request.node)) as built:
        yield built


@pytest.fixture(scope="module")
def module_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab for all tests of this module, as its `pytestmark` says."""
    with _lab(_marked(request.node)) as built:
        yield built


def _marked(node: pytest.Item | pytest.Collector) -> dict[str, Any]:
    marker = node.get_closest_marker("lab")
    return {} if marker is None else dict(marker.kwargs)


def _lab(arguments: dict[str, Any]) -> Lab:
    topology = arguments.pop("topology", "textbook")
    if not isinstance(topology, Topology):
        topology = TOPOLOGIES[topology]
    return Lab(topology, **{"check_invariants": True, **arguments})
