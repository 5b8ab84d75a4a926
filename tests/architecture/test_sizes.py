"""A module or function that is too long has more than one meaning."""

from __future__ import annotations

import subprocess
import sys

from architecture.sizes import LONGEST_FUNCTION, LONGEST_MODULE, function_lines, module_lines, render_sizes
from architecture.tree import ROOT


def test_no_module_is_longer_than_400_lines():
    """A longer module is split by meaning."""
    assert not {name: size for name, size in module_lines().items() if size > LONGEST_MODULE}


def test_no_function_is_longer_than_60_lines():
    """A longer function is split by meaning."""
    assert not {name: size for name, size in function_lines().items() if size > LONGEST_FUNCTION}


def test_every_test_run_reports_the_sizes():
    """The longest modules and functions stand at the end of what a run of these tests prints."""
    command = [sys.executable, "-m", "pytest", "tests/architecture/test_sizes.py", "-q", "-k", "longer_than"]
    done = subprocess.run([*command, "-p", "no:cacheprovider"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert set(render_sizes(5)) <= set(done.stdout.splitlines())
