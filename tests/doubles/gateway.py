"""A gateway under test: `python -m mainstay serve` as a process of its own, looked at from outside only."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from doubles.client import Received, fetch
from doubles.registry import sha256
from doubles.upstream import wait_until
from mainstay.ecosystems import ecosystems

PORTS = range(10_000, 30_000)
NOWHERE = "http://registry.invalid/"
Setting = str | int | float | bool | list[Any]
Tree = Mapping[str, "Setting | Tree"]


class Gateway:
    """One running server on a free port. `prefix` is put before the command (`unshare`, `nsenter`).

    `root` is where the server's own view of the file system is to be looked at from here.
    """

    def __init__(self, folder: Path, settings: Tree, *, workers: int = 1, prefix: tuple[str, ...] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "data"
        self.config = folder / "mainstay.toml"
        self.config.write_text("".join(render_toml(settings)))
        self.log_path = folder / "server.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.workers = workers
        self.expected_errors: set[str] = set()
        self._good: set[tuple[str, int]] = set()
        self._prefix = prefix
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [*self._prefix, *self.command("serve", "--config", str(self.config), "--data", str(self.data))]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", str(self.workers)]
        with self.log_path.open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environ())

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """The command line of the program under test."""
        return [sys.executable, "-m", "mainstay", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command of the program on this server's data folder."""
        environ = clean_environ() | {"MAINSTAY_DATA": str(self.data)}
        command = self.command(*arguments)
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)

    def wait_ready(self, timeout_s: float = 20) -> None:
        """Return when `/readyz` says 200 and every worker listens; fail when the server ends or is not so in time."""

        def ready() -> bool:
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.log}"
            return fetch_or_none(self.url + "/readyz") == 200

        wait_until(ready, f"/readyz\n{self.log}", timeout_s)
        wait_until(
            lambda: self.metric("mainstay_worker_starts_total") >= self.workers, f"{self.workers} workers", timeout_s
        )

    def restart(self) -> None:
        """Start again on the same data folder and port, after the process has ended."""
        assert self.process.poll() is not None, "the server still runs"
        self.process = self._start()
        self.wait_ready()

    def fetch(self, path: str, **options: Any) -> Received:
        """GET (or what `options` say) a path of the server."""
        return fetch(self.url + path, **options)

    def stop(self) -> int:
        """SIGTERM, and the exit code; one that does not end in 15 s is killed and counts as -9."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """SIGKILL to the server and every process below it, as a power cut would."""
        for pid in [*descendants(self.process.pid), self.process.pid]:
            kill(pid)
        self.process.wait(10)

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        return self.log_path.read_text("utf-8", "replace")

    def expect_error(self, *names: str) -> None:
        """Log lines at error level that name one of these are part of the test."""
        self.expected_errors.update(names)

    def unexpected_errors(self) -> list[str]:
        """Log lines that show a traceback or stand at error level and were not announced."""
        loud = re.compile(r"Traceback \(most recent|exception was never|never awaited|\[(error|critical)")
        lines = [line for line in self.log.splitlines() if loud.search(line) or _level(line) in ("error", "critical")]
        return [line for line in lines if not any(name in line for name in self.expected_errors)]

    def access_lines(self) -> list[dict[str, Any]]:
        """The access log."""
        path = self.data / "access.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        total = 0.0
        for line in self.fetch("/metrics").text.splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{key}="{text}"' in sample for key, text in labels.items()):
                total += float(value)
        return total

    def bad_blobs(self, root: Path | None = None) -> list[str]:
        """Stored blobs whose bytes do not have the sha256 that they are named by."""
        blobs = (root or self.data) / "blobs"
        files = [path for path in blobs.rglob("*") if path.is_file()] if blobs.exists() else []
        return [str(path) for path in files if not self._is_good(path)]

    def _is_good(self, path: Path) -> bool:
        """Read it once: stored bytes are never written to again, so what is good stays so until it is changed."""
        try:
            as_read = path.name, path.stat().st_mtime_ns
            if as_read not in self._good and sha256(path.read_bytes()) == path.name:
                self._good.add(as_read)
        except FileNotFoundError:
            return True  # evicted or damaged and dropped since it was listed
        return as_read in self._good

    def filling_pids(self) -> list[int]:
        """The processes that hold the lock of a fill."""
        inodes = {str(path.stat().st_ino) for path in (self.data / "fills").glob("*.lock")}
        pids = []
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if "FLOCK" in fields and fields[-3].rpartition(":")[2] in inodes and "->" not in fields:
                pids.append(int(fields[-4]))
        return pids

    def client_ports(self, pid: int) -> set[int]:
        """The far ports of the connections that a worker process has accepted; 0 stands for the port it listens on."""
        inodes = _targets(Path(f"/proc/{pid}/fd"))
        ports = set()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            own, far = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
            if own == self.port and f"socket:[{fields[9]}]" in inodes:
                ports.add(far)
        return ports

    def worker_pids(self) -> list[int]:
        """The processes below the server that listen on its port."""
        return [pid for pid in descendants(self.process.pid) if 0 in self.client_ports(pid)]

    def rss_bytes(self) -> int:
        """Resident memory of the server and everything below it."""
        pids = [self.process.pid, *descendants(self.process.pid)]
        return sum(_rss_bytes(pid) for pid in pids)


Serve = Callable[..., Gateway]
"""The fixture `serve`: starts a gateway and answers for its end."""


@contextmanager
def serving(folder: Path) -> Iterator[Serve]:
    """The function that starts gateways in `folder`, and what must hold for each of them at the end."""
    running: list[Gateway] = []

    def start(*, workers: int = 1, prefix: tuple[str, ...] = (), **given: Any) -> Gateway:
        named = {key: value for key, value in given.items() if key in ecosystems()}
        tables: Tree = {key: value for key, value in given.items() if key not in named}
        settings: Tree = {**tables, "ecosystems": registries(**named)}
        gateway = Gateway(folder / f"gateway{len(running)}", settings, workers=workers, prefix=prefix)
        running.append(gateway)
        gateway.wait_ready()
        return gateway

    try:
        yield start
    finally:
        codes = [gateway.stop() for gateway in running]
    assert [line for gateway in running for line in gateway.unexpected_errors()] == []
    assert [path for gateway in running for path in gateway.bad_blobs()] == []
    assert codes == [0] * len(running), "a gateway did not end well: " + running[-1].log[-2000:]


def registries(**named: str | list[Any]) -> Tree:
    """The tables [ecosystems.*] with these upstreams. What is not named must not be found on this machine: it leads
    nowhere, so that no test can reach a real registry."""
    unknown = named.keys() - ecosystems().keys()
    assert not unknown, f"no such ecosystem: {unknown}"
    return {name: {"upstream": named.get(name) or NOWHERE} for name in ecosystems()}


def free_port() -> int:
    """A port that nobody listens on just now, and below those that the system itself gives out: one of these may be a
    connection's, of another test, before it is listened on."""
    while True:
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", secrets.choice(PORTS)))
            return int(sock.getsockname()[1])


def clean_environ() -> dict[str, str]:
    """This environment without settings of Mainstay and without proxies."""
    hidden = ("MAINSTAY_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(hidden)}


def fetch_or_none(url: str) -> int | None:
    """The status of a GET, None where nobody answers in time."""
    try:
        return fetch(url, timeout_s=2).status
    except TimeoutError:
        return None


def kill(pid: int) -> None:
    """SIGKILL; a process that has ended already is as wanted."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def descendants(pid: int) -> list[int]:
    """Every process below `pid`."""
    found: list[int] = []
    for task in _links(Path(f"/proc/{pid}/task")):
        try:
            children = [int(text) for text in (task / "children").read_text().split()]
        except FileNotFoundError:
            continue  # the thread has ended since it was listed
        for child in children:
            found += [child, *descendants(child)]
    return found


def render_toml(tree: Tree, prefix: str = "") -> Iterator[str]:
    """TOML text of nested mappings. Lists of mappings are written as inline tables."""
    tables = {key: value for key, value in tree.items() if isinstance(value, Mapping)}
    for key, value in tree.items():
        if not isinstance(value, Mapping):
            yield f"{key} = {_inline(value)}\n"
    for key, value in tables.items():
        yield f"[{prefix}{key}]\n"
        yield from render_toml(value, f"{prefix}{key}.")


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return json.dumps(value)


def _level(line: str) -> str:
    match = re.search(r'"level": ?"(\w+)"', line)
    return match[1] if match else ""


def _links(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.exists() or path.is_symlink()]
    except FileNotFoundError:
        return []


def _targets(folder: Path) -> set[str]:
    """What the links in a folder of descriptors point to; one that is closed meanwhile is left out."""
    found = set()
    for link in _links(folder):
        with suppress(FileNotFoundError):
            found.add(os.readlink(link))
    return found


def _rss_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    match = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(match[1]) * 1024 if match else 0
