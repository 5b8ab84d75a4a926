"""How the doctor reads the database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mainstay.db.blobs import save_blob
from mainstay.db.engine import FILENAME, Database
from mainstay.db.schema_version import known_revisions
from mainstay.doctor.database import Stored, check_schema, load_stored

HEAD = known_revisions()[-1]
DIGESTS = [f"sha256:{number:064x}" for number in range(2)]


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file's bytes and when it was last changed."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def look(folder: Path) -> str:
    """What a process of its own reads, as the doctor is one."""
    script = "import sys, pathlib, mainstay.doctor.database as d; print(d.load_stored(pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-c", script, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_what_is_stored_is_counted_while_a_gateway_has_the_database_open(tmp_path: Path) -> None:
    """Also what is in its log alone; nothing is changed by looking."""
    database = Database.open(tmp_path)
    for digest in DIGESTS:
        database.run_sync(save_blob, digest, 1000, 0.0)
    before = files(tmp_path)
    assert f"{FILENAME}-wal" in before
    assert look(tmp_path) == str(Stored(HEAD, 2000))
    assert files(tmp_path) == before
    database.close()


def test_what_is_stored_is_counted_where_none_has_it_open(tmp_path: Path) -> None:
    """And no file is made beside it."""
    database = Database.open(tmp_path)
    database.run_sync(save_blob, DIGESTS[0], 1000, 0.0)
    database.close()
    before = files(tmp_path)
    assert f"{FILENAME}-wal" not in before
    assert load_stored(tmp_path) == Stored(HEAD, 1000)
    assert files(tmp_path) == before


def test_a_folder_without_a_database_has_nothing_stored(tmp_path: Path) -> None:
    """No folder, none in it, or one in which nothing was written yet."""
    assert load_stored(tmp_path / "none") == load_stored(tmp_path) == Stored()
    (tmp_path / FILENAME).touch()
    finding, stored = check_schema(tmp_path)
    assert finding.result == "ok" and stored == Stored() and HEAD in finding.text
