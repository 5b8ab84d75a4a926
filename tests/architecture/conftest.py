"""Reports the sizes of the program's modules and functions at the end of a run."""

from __future__ import annotations

from architecture.sizes import render_sizes


def pytest_terminal_summary(terminalreporter):
    """Print the longest modules and functions."""
    terminalreporter.section("sizes")
    for line in render_sizes(5):
        terminalreporter.line(line)
