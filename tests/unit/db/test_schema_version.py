from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from mainstay.db import schema_version
from mainstay.db.blobs import load_total, save_blob
from mainstay.db.consumers import Consumer, Token, load_identities
from mainstay.db.engine import Database
from mainstay.db.schema import metadata
from mainstay.errors import DataFolderError
from unit.children import child, names, waits_for_lock

OPEN = """
import sys
from pathlib import Path
from mainstay.db.engine import Database
from mainstay.db.blobs import load_total
print("ready", flush=True)
sys.stdin.readline()
database = Database.open(Path(sys.argv[1]))
print(database.read_sync(load_total) == 0, flush=True)
database.close()
"""
HEAD = schema_version.known_revisions()[-1]
FOLLOWING = f"{int(HEAD) + 1:04}"


def set_revision(path: Path, revision: str) -> None:
    """Write another schema revision into the file."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def test_the_tables_are_those_that_the_queries_use(database: Database) -> None:
    """Migrations and `schema.py` say the same."""
    assert database.read_sync(lambda c: compare_metadata(MigrationContext.configure(c), metadata)) == []


def test_the_known_revisions_are_one_line_that_alembic_knows() -> None:
    """File names, numbers and Alembic's own chain agree."""
    config = Config()
    config.set_main_option("script_location", str(schema_version.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    chain = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(chain)) == schema_version.known_revisions()


def test_several_processes_open_a_fresh_folder_at_once(tmp_path: Path) -> None:
    """One makes the schema, the others wait for it."""
    folder = tmp_path / "data"
    with child(OPEN, folder) as one, child(OPEN, folder) as two, child(OPEN, folder) as three:
        processes = (one, two, three)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "True\n"
            assert process.wait(20) == 0


def test_the_schema_is_made_by_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the lock the file is not even begun."""
    path = tmp_path / "mainstay.db"
    waits_for_lock(Path(f"{path}.lock"), monkeypatch, lambda: Database.open(tmp_path).close(), path.exists)


def test_a_folder_of_a_newer_version_is_refused_with_words(database: Database, tmp_path: Path) -> None:
    """The message names the folder and both schemas, the hint what to do; the file is not touched."""
    database.close()
    path = tmp_path / "mainstay.db"
    set_revision(path, "0999")
    before = path.read_bytes()
    with pytest.raises(
        DataFolderError, match=r"newer version of Mainstay \(schema 0999; this version knows up to"
    ) as it:
        Database.open(tmp_path)
    assert str(tmp_path) in it.value.message
    assert "--data" in it.value.hint
    assert it.value.exit_code == 3
    assert path.read_bytes() == before


NEXT = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "{revision}", "{head}"
def upgrade():
    op.add_column("blob", sa.Column("note", sa.Text, nullable=False, server_default="added"))
    {more}
"""


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes this version one that knows one revision more; `more` is a statement of its migration."""
    folder = tmp_path / "migrations"
    shutil.copytree(schema_version.MIGRATIONS, folder)

    def know(more: str = "") -> None:
        text = NEXT.format(revision=FOLLOWING, head=HEAD, more=more)
        (folder / "versions" / f"{FOLLOWING}_next.py").write_text(text)
        monkeypatch.setattr(schema_version, "MIGRATIONS", folder)
        schema_version.known_revisions.cache_clear()

    yield know
    schema_version.known_revisions.cache_clear()


def test_a_folder_of_an_older_version_is_migrated_with_what_it_holds(
    tmp_path: Path, newer: Callable[..., None]
) -> None:
    """Rows written by the older version are there afterwards, in the newer schema, and the next start finds it done."""
    older = Database.open(tmp_path / "data")
    older.run_sync(save_blob, "sha256:x", 7, 1.0)
    older.close()
    newer()
    for _ in range(2):
        database = Database.open(tmp_path / "data")
        row = database.read_sync(lambda c: c.exec_driver_sql("SELECT size, note FROM blob").one())
        assert tuple(row) == (7, "added")
        database.close()
    assert schema_version.load_revision(tmp_path / "data" / "mainstay.db") == FOLLOWING


def test_consumers_of_before_the_marks_have_none(tmp_path: Path) -> None:
    """Nobody becomes an administrator, and no token an agent's, by an update."""
    path, marks = tmp_path / "mainstay.db", next((schema_version.MIGRATIONS / "versions").glob("0004_*"))
    Database.open(tmp_path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE consumer DROP COLUMN is_admin")
        connection.execute("ALTER TABLE token DROP COLUMN agent")
        connection.execute("DROP TABLE ended_session")
        connection.execute("INSERT INTO consumer VALUES ('one', 'free', '10.0.0.0/8', 1.0)")
        connection.execute("INSERT INTO token VALUES ('aa', 'one', 'mst_AAAA', 1.0, NULL)")
    set_revision(path, f"{int(marks.name[:4]) - 1:04}")
    database = Database.open(tmp_path)
    assert database.read_sync(load_identities) == (
        [Consumer("one", "free", ("10.0.0.0/8",), 1.0, is_admin=False)],
        [Token("aa", "one", "mst_AAAA", 1.0, None, "")],
    )
    database.close()


def test_a_migration_that_fails_leaves_the_older_folder_as_it_was(tmp_path: Path, newer: Callable[..., None]) -> None:
    """The words name the file and both ends; the older version still opens it."""
    older = Database.open(tmp_path / "data")
    older.run_sync(save_blob, "sha256:x", 7, 1.0)
    older.close()
    newer('op.drop_column("blob", "no_such_column")')
    with pytest.raises(DataFolderError, match=rf"mainstay\.db cannot be brought to schema {FOLLOWING}"):
        Database.open(tmp_path / "data")
    path = tmp_path / "data" / "mainstay.db"
    assert schema_version.load_revision(path) == HEAD
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM blob").fetchall() == [("sha256:x", 7, 1.0, 0)]


def test_the_database_is_for_its_own_user_only(database: Database, tmp_path: Path) -> None:
    """It names private projects; its companion files too, whatever the folder allows."""
    database.run_sync(save_blob, "sha256:x", 7, 1.0)
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()}
    assert set(modes) >= {"mainstay.db", "mainstay.db-wal"}
    assert not any(modes.values()), modes


def test_a_damaged_database_is_refused_with_words(tmp_path: Path) -> None:
    """A file that is no database says so, with the way out."""
    (tmp_path / "mainstay.db").write_bytes(b"not a database at all" * 500)
    with pytest.raises(DataFolderError, match="not a database") as caught:
        Database.open(tmp_path)
    assert "Move mainstay.db" in caught.value.hint


def test_a_database_with_a_damaged_table_is_refused_at_the_start(database: Database, tmp_path: Path) -> None:
    """A table that cannot be read is found when the server starts, not with the first request."""
    database.close()
    path = tmp_path / "mainstay.db"
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'blob'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    content[(page - 1) * size : page * size] = b"\xff" * size
    path.write_bytes(content)
    with pytest.raises(DataFolderError, match="damaged"):
        Database.open(tmp_path)


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """No table is added to somebody else's file."""
    path = tmp_path / "mainstay.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    with pytest.raises(DataFolderError, match="not a database of Mainstay"):
        Database.open(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """The message names the folder."""
    (tmp_path / "file").touch()
    with pytest.raises(DataFolderError, match="file/data cannot be made"):
        Database.open(tmp_path / "file" / "data")


def test_an_interrupted_migration_leaves_nothing_and_is_done_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables and revision come together or not at all."""
    from alembic.ddl.impl import DefaultImpl

    real = DefaultImpl.create_table

    def stop_at_blob(self: DefaultImpl, table: object, **options: object) -> None:
        if getattr(table, "name", "") == "blob":
            raise KeyboardInterrupt
        real(self, table, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(DefaultImpl, "create_table", stop_at_blob)
        with pytest.raises(KeyboardInterrupt):
            Database.open(tmp_path)
    assert schema_version.load_revision(tmp_path / "mainstay.db") is None
    database = Database.open(tmp_path)
    assert database.read_sync(load_total) == 0
    database.close()


@pytest.mark.parametrize("name", ["a b", "50%", "what?", "ünï", "a#b"])
def test_the_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Blanks, per cent signs and characters that mean something in a URL are only characters."""
    folder = tmp_path / name
    database = Database.open(folder)
    assert database.read_sync(load_total) == 0
    database.close()
    assert names(folder) == ["mainstay.db", "mainstay.db.lock"]
