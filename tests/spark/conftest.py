"""One JVM for all: a real PySpark session, in a time zone that is not UTC."""

from __future__ import annotations

import gc
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

ZONE = "America/New_York"


@pytest.fixture(scope="session")
def jvm() -> Iterator[None]:
    """Whatever starts a Spark here does so in one JVM, which ends with the tests."""
    assert shutil.which("java"), "these tests need a Java runtime (Debian: openjdk-17-jre-headless)"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", ZONE)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        yield
    _end_jvm()


@pytest.fixture(scope="module")
def local(jvm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Somebody's session."""
    builder = SparkSession.builder.master("local[2]").appName("somebody's own")
    for key, value in settings(tmp_path_factory.mktemp("spark")).items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


def settings(scratch: Path) -> dict[str, str]:
    """Small and quiet."""
    return {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "512m",
        "spark.executor.memory": "512m",
        "spark.sql.shuffle.partitions": "2",
        # Compiling each query takes longer than these few rows; the session of the cluster does it.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.session.timeZone": ZONE,
        "spark.local.dir": str(scratch),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
    }


def _end_jvm() -> None:
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    if gateway is not None:
        gateway.shutdown()
        gateway.proc.stdin.close()
        gateway.proc.wait(30)
        SparkContext._gateway = SparkContext._jvm = None
    del gateway
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
