"""A package registry on loopback that counts what it is asked and misbehaves on command.

    with Upstream() as upstream:
        upstream.project("demo").release("1.0", files={"demo-1.0.tar.gz": b"..."})
        upstream.on("*/demo-1.0.tar.gz").fault(Reset(after=1000), times=1)
        ...  # a gateway set to upstream.simple_url
        assert [seen.status for seen in upstream.seen("*.tar.gz")] == [200, 200]

It is five registries, each at a port of its own: `simple_url` (PyPI-like), `npm_url`, `go_url`, `cargo_url` and
`maven_url`. Files of the simple index, and crates, have other ports and another host name. It runs in a thread of its
own; every method may be called from the test's thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from types import TracebackType
from typing import Self

from doubles.cargo import Crate, CrateRegistry
from doubles.faults import Fault
from doubles.golang import GoProxy, Module
from doubles.maven import Coordinates, MavenRepository
from doubles.registry import Package, Project, conditional, file_reply
from doubles.wire import Exchange, Reply, Seen, talk


class Script:
    """What is to go wrong for the paths that `pattern` (shell style, matched against the decoded path) fits."""

    def __init__(self, pattern: str, host: str | None, method: str | None) -> None:
        self.pattern, self.host, self.method = pattern, host, method
        self._steps: list[tuple[Fault, int | None]] = []
        self._lock = threading.Lock()

    def fault(self, fault: Fault, times: int | None = None) -> Script:
        """Apply `fault` to the next `times` fitting requests (None: to all), then go on with what was added after."""
        with self._lock:
            self._steps.append((fault, times))
        return self

    def heal(self) -> None:
        """From now on nothing goes wrong here."""
        with self._lock:
            self._steps.clear()

    def take(self, seen: Seen) -> Fault | None:
        """The fault for this request, counted."""
        fits = fnmatchcase(seen.path, self.pattern) and self.host in (None, seen.host)
        if not fits or self.method not in (None, seen.method):
            return None
        with self._lock:
            if not self._steps:
                return None
            fault, left = self._steps[0]
            if left is not None:
                self._steps[0:1] = [(fault, left - 1)] if left > 1 else []
            return fault


class Upstream:
    """The registries. `files_on_index_host` keeps files at the index's own address; `html_only` knows no JSON index."""

    def __init__(
        self, *, files_on_index_host: bool = False, html_only: bool = False, address: str = "127.0.0.1"
    ) -> None:
        self.requests: list[Seen] = []
        self.html_only = html_only
        self._address = address
        self._files_host = "index" if files_on_index_host else "files"
        self._crates_host = "cargo" if files_on_index_host else "crates"
        self._projects: dict[str, Project] = {}
        self._packages: dict[str, Package] = {}
        self._go = GoProxy()
        self._cargo = CrateRegistry()
        self._maven = MavenRepository()
        self._scripts: list[Script] = []
        self._ports = dict.fromkeys(("index", "files", "npm", "go", "cargo", "crates", "maven"), 0)
        self._servers: list[asyncio.Server] = []
        self._talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream double", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def simple_url(self) -> str:
        """The PyPI-like index."""
        return self._origin("index") + "simple/"

    @property
    def npm_url(self) -> str:
        """The npm-like registry."""
        return self._origin("npm") + "npm/"

    @property
    def go_url(self) -> str:
        """The Go module proxy."""
        return self._origin("go") + "go/"

    @property
    def cargo_url(self) -> str:
        """The sparse cargo index."""
        return self._origin("cargo") + "cargo/"

    @property
    def maven_url(self) -> str:
        """The Maven repository."""
        return self._origin("maven") + "maven/"

    @property
    def urls(self) -> dict[str, str]:
        """The address of each registry, by ecosystem."""
        return {
            "pypi": self.simple_url,
            "npm": self.npm_url,
            "golang": self.go_url,
            "cargo": self.cargo_url,
            "maven": self.maven_url,
        }

    @property
    def files_url(self) -> str:
        """Where files of the simple index are."""
        return self._origin(self._files_host)

    @property
    def crates_url(self) -> str:
        """Where crates are."""
        return self._origin(self._crates_host)

    def _origin(self, host: str) -> str:
        elsewhere = host in ("files", "crates") and self._address == "127.0.0.1"
        return f"http://{'localhost' if elsewhere else self._address}:{self._ports[host]}/"

    def project(self, name: str) -> Project:
        """The project of this name in the simple index, made when it is new."""
        return self._projects.setdefault(name, Project(name, self.files_url))

    def package(self, name: str) -> Package:
        """The package of this name in the npm-like registry, made when it is new."""
        return self._packages.setdefault(name, Package(name, self.npm_url))

    def module(self, name: str) -> Module:
        """The module of this path at the Go proxy, made when it is new."""
        return self._go.modules.setdefault(name, Module(name, self.go_url))

    def crate(self, name: str) -> Crate:
        """The crate of this name, made when it is new."""
        return self._cargo.crates.setdefault(name, Crate(name, self.crates_url))

    def coordinates(self, name: str) -> Coordinates:
        """The "group/artifact" of the Maven repository, made when it is new."""
        return self._maven.held.setdefault(name, Coordinates(name, self.maven_url))

    def on(self, pattern: str, *, host: str | None = None, method: str | None = None) -> Script:
        """A new script for the paths that fit; the first script that has a fault for a request decides.

        `host` limits it to one of the addresses: "index", "files", "npm", "go", "cargo", "crates",
        "maven".
        """
        script = Script(pattern, host, method)
        self._scripts.append(script)
        return script

    def seen(self, pattern: str = "*") -> list[Seen]:
        """The requests so far whose path fits `pattern`, in the order in which they came."""
        return [seen for seen in [*self.requests] if fnmatchcase(seen.path, pattern)]

    def wait_seen(self, pattern: str, count: int = 1, timeout_s: float = 10) -> list[Seen]:
        """The fitting requests, as soon as there are `count` of them."""
        wait_until(lambda: len(self.seen(pattern)) >= count, f"{count} requests for {pattern}", timeout_s)
        return self.seen(pattern)

    def down(self) -> None:
        """Refuse connections and cut those that exist."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)

    def up(self) -> None:
        """Listen (again), on the same ports as before."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    async def _listen(self) -> None:
        for host, port in self._ports.items():
            accept = partial(self._accept, host)
            server = await asyncio.start_server(accept, self._address, port, backlog=2048)
            self._ports[host] = server.sockets[0].getsockname()[1]
            self._servers.append(server)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        tasks = dict(self._talks)
        for task, writer in tasks.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks[task] = writer
        try:
            await talk(host, self._respond, reader, writer)
        except asyncio.CancelledError:
            return  # only `down` cancels, and it has already cut the connection
        finally:
            del self._talks[task]

    async def _respond(self, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        self.requests.append(seen)
        full = self._honest(seen)
        exchange = Exchange(seen, full, conditional(full, seen), writer)
        fault = next((fault for script in self._scripts if (fault := script.take(seen)) is not None), None)
        if fault is None:
            await exchange.answer(exchange.reply)
        else:
            await fault.apply(exchange)
        return exchange.keep_open

    def _honest(self, seen: Seen) -> Reply:
        return self._found(seen) or Reply(404, b"not here\n", (("content-type", "text/plain"),))

    def _found(self, seen: Seen) -> Reply | None:
        match seen.path.lstrip("/").partition("/")[0], seen.host:
            case "simple", "index":
                return self._simple(seen)
            case "npm", "npm":
                return self._npm(seen)
            case "go", "go":
                return self._go.answer(seen)
            case "cargo", "cargo":
                return self._cargo.answer(seen, self.crates_url, self.cargo_url)
            case "maven", "maven":
                return self._maven.answer(seen)
            case "crates", self._crates_host:
                return self._cargo.file(seen)
            case _, self._files_host:
                files = (project.file(seen.path) for project in [*self._projects.values()])
                file = next((file for file in files if file is not None), None)
                return file_reply(file, seen) if file else None
        return None

    def _simple(self, seen: Seen) -> Reply | None:
        project = self._projects.get(seen.path.removeprefix("/simple/").rstrip("/"))
        accept = "text/html" if self.html_only else seen.headers.get("accept", "")
        return project.index(accept) if project else None

    def _npm(self, seen: Seen) -> Reply | None:
        name, tarball, _ = seen.path.removeprefix("/npm/").partition("/-/")
        package = self._packages.get(name)
        if package is None:
            return None
        if not tarball:
            return package.packument(seen.headers.get("accept", ""))
        file = next((file for file in package.versions.values() if file.path == seen.path), None)
        return file_reply(file, seen) if file else None


def wait_until(true: Callable[[], object], what: str, timeout_s: float = 10) -> None:
    """Return as soon as `true()` holds; fail with `what` when it does not in time."""
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s, f"waited {timeout_s} s for {what}"
        time.sleep(0.01)
