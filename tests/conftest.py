"""What every test has at hand."""

pytest_plugins = ["netns_lab.pytest_plugin", "tests.support.browser"]
