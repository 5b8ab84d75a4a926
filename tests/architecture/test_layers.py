"""Who imports whom."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from architecture.tree import ROOT, imports, modules, page, third_party

# Each of these reaches the outside, so one place must answer for how it does: prefix below src/mainstay, and whether
# one file or a whole package may import it.
ONE_FILE = ("aiohttp", "prometheus_client", "structlog")
ONE_PACKAGE = {"sqlalchemy": "db/", "alembic": "db/", "cryptography": "intercept/"}
OUTSIDE = frozenset(
    "asyncio concurrent ftplib http io mmap multiprocessing os pathlib select selectors shutil signal smtplib socket "
    "socketserver sqlite3 ssl subprocess tempfile threading time".split()
)


def importers(package: str) -> set[str]:
    """The modules of the program that import `package`."""
    return {module.name for module in modules() if package in third_party(module.tree)}


def test_each_part_imports_only_what_stands_below_it():
    """The import contracts in pyproject.toml hold. In a process of its own: the linter silences every other logger."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_library_that_reaches_outside_has_one_importing_file():
    """aiohttp and its like are imported by at most one file each."""
    spread = {package: sorted(found) for package in ONE_FILE if len(found := importers(package)) > 1}
    assert not spread


def test_a_library_that_one_package_needs_stays_in_it():
    """SQLAlchemy and Alembic are imported below db/ only, cryptography below intercept/ only."""
    strays = {
        package: sorted(name for name in importers(package) if not name.startswith(home))
        for package, home in ONE_PACKAGE.items()
    }
    assert not any(strays.values()), strays


def test_an_adapter_touches_nothing_outside():
    """No ecosystem imports a module of Python that reaches files, sockets, processes or clocks."""
    touching = {
        module.name: sorted(found)
        for module in modules()
        if module.name.startswith("ecosystems/")
        and (found := {name.partition(".")[0] for name in imports(module.tree)} & OUTSIDE - allowed(module.name))
    }
    assert not touching


def allowed(name: str) -> set[str]:
    """`io.BytesIO` is memory, and the interface names a seekable file without opening one."""
    return {"io"} if name.startswith("ecosystems/") else set()


def test_the_layers_in_the_architecture_page_are_the_ones_checked():
    """ARCHITECTURE.md draws the same order as the contract in pyproject.toml."""
    contract = re.search(r"\nlayers = \[\n(.*?)\]", page("pyproject.toml"), re.DOTALL)
    assert contract
    checked = [set(re.findall(r"\w+", line)) for line in contract[1].splitlines()]
    drawing = re.search(r"<!-- layers -->\n```text\n(.*?)```", page("ARCHITECTURE.md"), re.DOTALL)
    assert drawing
    drawn = [set(re.findall(r"\w+", line)) for line in drawing[1].splitlines()]
    assert drawn == checked
