"""What computes the answers: DuckDB in this process, or Spark. Both are given the same expression.

`mainstay serve` and `run` do not import this module.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainstay.errors import ConfigError, EngineFailed, EngineMissing
from mainstay.usage.event import COLUMNS, Event
from mainstay.usage.queries import ROLLED_COLUMNS

if TYPE_CHECKING:
    import ibis.expr.types as ir  # type: ignore[import-untyped]  # the library has no types here
    from pyspark.sql import DataFrame, SparkSession

DEFAULT_ENGINE = "duckdb"
MEMORY = "50%"
"""Of the machine's: DuckDB puts into the scratch folder what does not fit."""
_SPARK = re.compile(r"spark|local(\[(\d+|\*)\])?|spark://\S+")
_SPARK_PORT = 7077
_VIEW = "mainstay_usage"
_PATTERN = re.compile(r"([\[\]{}*?\\])")
_REACH_S = 5.0
_DEFAULTS: dict[str, Any] = {name: getattr(Event(0), name) for name in COLUMNS} | {"client": "", "class": ""}
_KINDS = {int: "int64", str: "string", bool: "boolean"}
_TYPES = {name: _KINDS[kind] for name, kind in COLUMNS.items()}
_INSTALL = (
    "Install it with: python -m pip install 'pyspark>=3.5,<4.1'; it needs Java 17 (Debian: openjdk-17-jre-headless)."
)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Engine:
    """Where questions are asked."""

    name: str
    table: ir.Table
    """What is in the files: the ledger's columns, or those of a rollup, in order, none of them null."""
    execute: Callable[[str], list[Row]]
    """Gives the rows of a query in the words of `dialect`; may raise `failures`."""
    dialect: str
    failures: tuple[type[Exception], ...]

    def run(self, expression: ir.Table) -> list[Row]:
        """The rows of an expression over `table`, in any order.

        Raises:
            EngineFailed: with what the engine said.
        """
        import ibis

        try:
            return self.execute(ibis.to_sql(expression, dialect=self.dialect))
        except self.failures as error:
            raise _failed(self.name, error) from error

    def save(self, expression: ir.Table, path: Path) -> None:
        """Write the rows into a new Parquet file. Of DuckDB only.

        Raises:
            EngineFailed: with what the engine said.
        """
        import ibis

        place = str(path).replace("'", "''")
        try:
            query = ibis.to_sql(expression, dialect=self.dialect)
            self.execute(f"COPY ({query}) TO '{place}' (FORMAT parquet, COMPRESSION zstd)")
        except self.failures as error:
            raise _failed(self.name, error) from error


def check_engine(name: str) -> None:
    """Raise ConfigError where no engine has that name."""
    if name != DEFAULT_ENGINE and not _SPARK.fullmatch(name):
        raise ConfigError(f"--engine {name} is not an engine.", hint="Allowed: duckdb, spark, spark://HOST:PORT.")


@contextmanager
def open_engine(
    name: str,
    files: Sequence[Path],
    scratch: Path,
    *,
    rolled: bool = False,
    memory: str = MEMORY,
    session: SparkSession | None = None,
) -> Iterator[Engine]:
    """`duckdb`, `spark` (on this machine, also as `local[2]`) or `spark://host:7077` over Parquet files, at least one.

    The files have the ledger's columns; those of an older version may lack the newest. With `rolled` they are rollups.
    A Spark elsewhere must see them at the same paths. `scratch` is a folder for what does not fit into memory. A
    `session` that runs already, given or found, is left as it was: settings are made in one beside it, and it is not
    stopped.

    Raises:
        ConfigError: no such engine.
        EngineMissing: it is not installed, or does not answer.
        EngineFailed: it does not start, or cannot read the files.
    """
    check_engine(name)
    duck, types = name == DEFAULT_ENGINE, ROLLED_COLUMNS if rolled else _TYPES
    opened = _open_duckdb(files, types, scratch, memory) if duck else _open_spark(name, files, types, scratch, session)
    with opened as engine:
        yield engine


@contextmanager
def _open_duckdb(files: Sequence[Path], types: dict[str, str], scratch: Path, memory: str) -> Iterator[Engine]:
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {
        "temp_directory": str(scratch),
        "memory_limit": memory,
        # Parquet and all else that a question needs is built in: nothing is to be had from the network.
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    with duckdb.connect(":memory:", config=settings) as connection:

        def execute(query: str) -> list[Row]:
            found = connection.execute(query)
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row)) for row in found.fetchall()]

        try:
            # Days are whole numbers and no question rests on it; the machine's own zone is kept out all the same.
            connection.execute("SET TimeZone = 'UTC'")
            # The folders are named `day=...`, which would be read as one more column. A path is a pattern here.
            names = [escape(str(path)) for path in files]
            rows = connection.read_parquet(names, union_by_name=True, hive_partitioning=False)
            rows.create_view(_VIEW)
            yield Engine(DEFAULT_ENGINE, _table(rows.columns, types), execute, "duckdb", (duckdb.Error,))
        except duckdb.Error as error:
            raise _failed(DEFAULT_ENGINE, error) from error


@contextmanager
def _open_spark(
    name: str, files: Sequence[Path], types: dict[str, str], scratch: Path, session: SparkSession | None
) -> Iterator[Engine]:
    _check_spark(name)
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # the library has no types here
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    failures = (PySparkException, Py4JError)
    found = session or SparkSession.getActiveSession()
    try:
        started = found or _start_spark(name, scratch)
    except failures as error:
        raise _failed(name, error) from error
    own = started.newSession()

    def execute(query: str) -> list[Row]:
        return [row.asDict() for row in own.sql(query).collect()]

    try:
        own.conf.set("spark.sql.session.timeZone", "UTC")
        _read_with_spark(own, files, types).createOrReplaceTempView(_VIEW)
        yield Engine(name, _table(list(types), types), execute, "pyspark", failures)
    except failures as error:
        raise _failed(name, error) from error
    finally:
        if found is None:
            started.stop()


def _check_spark(name: str) -> None:
    if find_spec("pyspark") is None:
        raise EngineMissing(f"--engine {name}: Spark is not installed here.", hint=_INSTALL)
    home = os.environ.get("JAVA_HOME", "")
    if not (shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")):
        where = f"in JAVA_HOME ({home})" if home else "on PATH"
        raise EngineMissing(f"--engine {name}: there is no java {where}.", hint=_INSTALL)
    if name.startswith("spark://") and not any(map(_answers, name.removeprefix("spark://").split(","))):
        raise EngineMissing(f"--engine {name}: nothing answers there.", hint="Start the master, or name another.")


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":") if ":" in address else (address, "", "")
    if not (port or "0").isdigit():
        raise ConfigError(f"--engine spark://{address} has no port.", hint="Write spark://HOST:7077.")
    try:
        socket.create_connection((host.strip("[]"), int(port or _SPARK_PORT)), _REACH_S).close()
    except OSError:
        return False
    return True


def _start_spark(name: str, scratch: Path) -> SparkSession:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("mainstay usage").master("local[*]" if name == "spark" else name)
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.log.level": "ERROR",
    }
    if not name.startswith("spark://"):
        # Driver and executors are one process: no host name has to be found, nobody else can connect.
        settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        settings["spark.local.dir"] = str(scratch)
        # As much as DuckDB may have; Spark's own gigabyte is not enough for a hundred million events.
        settings["spark.driver.memory"] = f"{_half_of_memory_bytes() // 2**20}m"
    for key, value in settings.items():
        builder = builder.config(key, value)
    session: SparkSession = builder.getOrCreate()
    return session


def _half_of_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _read_with_spark(session: SparkSession, files: Sequence[Path], types: dict[str, str]) -> DataFrame:
    from pyspark.sql.types import BooleanType, LongType, StringType, StructType

    kinds = {"int64": LongType(), "string": StringType(), "boolean": BooleanType()}
    schema = StructType()
    for column, kind in types.items():
        schema.add(column, kinds[kind])
    # A path is a pattern to Spark too, and without a scheme it may be meant for another file system.
    paths = ["file://" + _PATTERN.sub(r"\\\1", str(path.absolute())) for path in files]
    return session.read.schema(schema).parquet(*paths)


def _table(columns: Sequence[str], types: dict[str, str]) -> ir.Table:
    """The view with all its columns: the event's default stands where a file is older than a column."""
    import ibis

    table = ibis.table({column: types[column] for column in columns}, name=_VIEW)
    full = {}
    for column, kind in types.items():
        default = ibis.literal(_DEFAULTS.get(column, 0), kind)
        full[column] = table[column].coalesce(default) if column in columns else default
    return table.select(**full)


def _failed(name: str, error: Exception) -> EngineFailed:
    lines = [line.strip(": ") for line in str(error).splitlines() if line.strip(": ")]
    # Before what a JVM says stands which call of ours it was.
    said = next(
        (line for line in lines if not line.startswith("An error occurred while calling")), type(error).__name__
    )
    return EngineFailed(f"--engine {name} failed: {said[:500].rstrip('.')}.")
