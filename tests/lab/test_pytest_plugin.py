"""The plugin as a stranger's test suite sees it."""

import pytest

pytest_plugins = ["pytester"]

A_TEST = """
    def test_it(make_lab):
        pass
"""


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that this machine cannot build a lab."""
    monkeypatch.setattr("netns_lab.capability.missing", lambda: "a moon is missing: fetch it")


def run(pytester: pytest.Pytester) -> pytest.RunResult:
    return pytester.runpytest_inprocess(
        "-p", "netns_lab.pytest_plugin", "--strict-markers", "-ra", "-p", "no:cacheprovider"
    )


@pytest.mark.usefixtures("lacking")
def test_a_missing_capability_skips_and_is_named(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    pytester.makepyfile(A_TEST)
    result = run(pytester)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*a moon is missing: fetch it*"])


@pytest.mark.usefixtures("lacking")
def test_under_ci_it_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    pytester.makepyfile(A_TEST)
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*CI must be able to run this: a moon is missing: fetch it*"])


@pytest.mark.usefixtures("lacking")
def test_tests_without_a_lab_run_anywhere(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    run(pytester).assert_outcomes(passed=1)


@pytest.mark.netns
def test_the_marker_chooses_the_lab(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.lab(topology="echo", switch=False)

        def test_function(lab):
            assert lab.topology.name == "echo"
            assert lab.exec("c1", ["ping", "-c1", "10.0.2.13"]).returncode == 0

        @pytest.mark.lab(topology="dual-stack", switch=False)
        def test_nearest_marker(lab):
            assert lab.topology.name == "dual-stack"

        def test_module(module_lab):
            assert module_lab.topology.name == "echo"

        def test_two(make_lab):
            assert make_lab(switch=False).prefix != make_lab(switch=False).prefix
        """
    )
    run(pytester).assert_outcomes(passed=4)
