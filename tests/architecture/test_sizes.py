"""A module or function that is too long has more than one meaning."""

from __future__ import annotations

from architecture.sizes import LONGEST_FUNCTION, LONGEST_MODULE, function_lines, module_lines


def test_no_module_is_longer_than_400_lines():
    """A longer module is split by meaning."""
    assert not {name: size for name, size in module_lines().items() if size > LONGEST_MODULE}


def test_no_function_is_longer_than_60_lines():
    """A longer function is split by meaning."""
    assert not {name: size for name, size in function_lines().items() if size > LONGEST_FUNCTION}
