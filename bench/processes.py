"""Starting, watching and ending the processes of a run; each in a process group of its own."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
PORTS = (12_000, 32_000)
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    """A loopback port that nothing listens on, from below the range that the kernel gives to others meanwhile."""
    while True:
        with socket.socket() as probe:
            port = random.randrange(*PORTS)
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def start(
    command: Sequence[str | Path], port: int, log: Path, env: Mapping[str, str] | None = None, nice: int = 0
) -> subprocess.Popen[bytes]:
    """Start `command` and wait until it listens. Raises SystemExit with the end of its log if it does not."""
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=_clean_environment() | dict(env or {}),
            start_new_session=True,
        )
    if nice:
        os.setpriority(os.PRIO_PROCESS, process.pid, nice)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    stop(process)
    raise SystemExit(f"{command[0]} did not start listening on {port}:\n{log.read_text(errors='replace')[-3000:]}")


def _clean_environment() -> dict[str, str]:
    """The environment without proxies and settings that would change what is measured."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("MAINSTAY_")
    }


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that `start` made, with its children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:  # the whole group has ended, which is what is wanted
            break
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def descendants(pid: int) -> dict[int, int]:
    """Every process below `pid` and itself: process id to the direct child of `pid` that it belongs to."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):  # it ended while the folder was read
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    owner = {pid: pid}
    for child in parents:
        chain = [child]
        while chain[-1] not in (pid, 0) and chain[-1] in parents:
            chain.append(parents[chain[-1]])
        if chain[-1] == pid and len(chain) > 1:
            owner[child] = chain[-2]
    return owner


def rss_bytes(pid: int) -> int:
    """Resident memory of one process; 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):
        return 0


@dataclass
class MemoryWatch:
    """Samples resident memory of a process tree; use as a context manager, then read the peaks (bytes).

    `peak_total` is of the whole tree, `peak_worker` of the largest direct child with what is below it.
    """

    pid: int
    interval_s: float = 0.05
    start_total: int = 0
    start_worker: int = 0
    peak_total: int = 0
    peak_worker: int = 0
    _done: Event = field(default_factory=Event)

    def __enter__(self) -> MemoryWatch:
        self.start_total, self.start_worker = self._sample()
        self._thread = Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self.interval_s):
            self._sample()

    def _sample(self) -> tuple[int, int]:
        groups: dict[int, int] = {}
        for pid, owner in descendants(self.pid).items():
            groups[owner] = groups.get(owner, 0) + rss_bytes(pid)
        total = sum(groups.values())
        worker = max((size for owner, size in groups.items() if owner != self.pid), default=total)
        self.peak_total, self.peak_worker = max(self.peak_total, total), max(self.peak_worker, worker)
        return total, worker
