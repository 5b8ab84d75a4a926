"""The same question on a Spark of its own: a master and a worker, started by PySpark's own scripts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyspark
import pytest
from pyspark.sql import SparkSession

from doubles.gateway import free_port
from doubles.upstream import wait_until
from mainstay.usage.answers import ask_files
from mainstay.usage.question import Question
from unit.usage.oracle import FIRST_DAY, LAST_DAY, some_events, summarise, write_events

HOME = Path(pyspark.__file__).parent

# PySpark leaves its sockets to the JVM for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")


@pytest.mark.usefixtures("jvm")
def test_a_real_master_and_worker_give_the_same_rows(tmp_path):
    """In a session that the engine starts and stops."""
    found = some_events(9, 2000)
    files = [write_events(tmp_path / f"{at}.parquet", found[at::2]) for at in range(2)]
    question = Question(("consumer", "day"), FIRST_DAY, LAST_DAY)
    with standalone(tmp_path) as address:
        assert ask_files(files, question, address, tmp_path) == summarise(found, question)
        assert SparkSession.getActiveSession() is None
        assert "Launching executor" in (tmp_path / "master.log").read_text()


@contextmanager
def standalone(folder: Path) -> Iterator[str]:
    """Both, until the end of the block."""
    port = free_port()
    address = f"spark://127.0.0.1:{port}"
    environ = os.environ | {
        "SPARK_LOG_DIR": str(folder),
        "SPARK_PID_DIR": str(folder),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_NO_DAEMONIZE": "1",
        "SPARK_HOME": str(HOME),
    }
    node = "org.apache.spark.deploy"
    master = [f"{node}.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]
    worker = [f"{node}.worker.Worker", "--host", "127.0.0.1", "--webui-port", "0", "--cores", "2", "--memory", "1g"]
    commands = {"master": master, "worker": [*worker, "--work-dir", str(folder / "work"), address]}
    running = []
    try:
        for name, command in commands.items():
            log = (folder / f"{name}.log").open("wb")
            running.append(
                subprocess.Popen([HOME / "bin" / "spark-class", *command], env=environ, stdout=log, stderr=log)
            )
            log.close()
        wait_until(lambda: b"Registering worker" in (folder / "master.log").read_bytes(), "the worker", 60)
        yield address
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)
