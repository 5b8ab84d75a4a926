"""The runs of one session: each client directly, under `run`, under `run --sealed` and against `serve`, each once.

A direct run is the oracle for the others. Every run that needs the registries is made once and kept, so that the
whole lane asks them for no more than a person does who installs a few packages.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from clients.proxy import PROXY_VARIABLES
from clients.recipes import BY_NAME, CLIENTS, Client
from clients.stage import MAINSTAY, Failed, Outcome, Stage, difference
from clients.tools import Tools
from doubles.gateway import Gateway, free_port

Mode = Literal["run", "sealed", "address"]
MODES: tuple[Mode, ...] = ("run", "sealed", "address")
PREFIXES = {"run": (*MAINSTAY, "run", "--"), "sealed": (*MAINSTAY, "run", "--sealed", "--")}


class Lane:
    """Runs, remembered by client and mode."""

    def __init__(self, root: Path, tools: Tools) -> None:
        self.root, self.tools = root, tools
        self.stage = Stage(root / "stage", tools)
        self._server: Server | None = None
        self._direct: dict[str, Outcome] = {}
        self._through: dict[tuple[str, Mode], Outcome] = {}

    @property
    def server(self) -> Server:
        """The one shared server, started when it is first asked for."""
        if self._server is None:
            self._server = Server(self.root / "server", self.stage)
        return self._server

    def end(self) -> None:
        """Stop what was started."""
        if self._server is not None:
            self._server.end()

    def direct(self, client: Client) -> Outcome:
        """The client on its own, as if there were no Mainstay."""
        if client.name not in self._direct:
            self._direct[client.name] = self.perform(client)
        return self._direct[client.name]

    def through(self, client: Client, mode: Mode) -> Outcome:
        """The client through Mainstay, with upstreams in reach."""
        if (client.name, mode) not in self._through:
            self._through[client.name, mode] = self._go(client, mode, cut=False)
        return self._through[client.name, mode]

    def cut(self, client: Client, mode: Mode) -> Outcome:
        """The same again, with an empty client cache and every upstream out of reach."""
        self.through(client, mode)
        if mode == "address":
            self._fill_server()
        return self._go(client, mode, cut=True)

    def _fill_server(self) -> None:
        """Every client's first run by address, so that the server is cut off once and not for each test."""
        for client in CLIENTS:
            # A client that fails here fails in its own test.
            with suppress(Failed):
                self.through(client, "address")

    def _go(self, client: Client, mode: Mode, *, cut: bool) -> Outcome:
        if mode == "address":
            self.server.ensure(cut=cut)
            url = self.server.url
            return self.perform(client, home=client.home_by_address(url), **client.by_address(url))
        more = {"MAINSTAY_DATA": str(self.root / "data" / client.name), **(dead_proxy() if cut else {})}
        return self.perform(client, PREFIXES[mode], **more)

    def perform(
        self,
        client: Client,
        prefix: tuple[str, ...] = (),
        files: Mapping[str, bytes] | None = None,
        home: Mapping[str, str] | None = None,
        **environ: str,
    ) -> Outcome:
        """One run in an emptied stage; `files` are added to the project, `home` to the home folder."""
        seed = self.direct(BY_NAME[client.after]).locks if client.after else {}
        self.stage.reset(client.project, {**seed, **(files or {})})
        for name, text in (home or {}).items():
            path = self.stage.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self.stage.perform(
            [[*prefix, *command] for command in client.commands(self.tools)],
            self.stage.environ(client.program(self.tools), **environ),
            tree=client.tree or "site",
            locks=client.locks,
        )


def assert_same(expected: Outcome, found: Outcome, client: Client, *, by_address: bool = False) -> None:
    """The same installed files and, unless locks name the address that the client was given, the same locks."""
    assert expected.tree or expected.locks, f"{client} left nothing to compare"
    excluded = [*client.excluded, *(client.excluded_by_address if by_address else ())]
    shown = client.shown if by_address else str
    trees = [{shown(name): what for name, what in outcome.tree.items()} for outcome in (expected, found)]
    assert difference(*trees, excluded) == []
    if client.same_locks or not by_address:
        assert {name: text.decode() for name, text in found.locks.items()} == {
            name: text.decode() for name, text in expected.locks.items()
        }


def dead_proxy() -> dict[str, str]:
    """Proxy variables that lead nowhere: every upstream is out of reach for who obeys them."""
    url = f"http://127.0.0.1:{free_port()}"
    return dict.fromkeys(PROXY_VARIABLES, url)


class Server(Gateway):
    """`mainstay serve` in the stage's environment, with upstreams in reach or not, on the same data and port."""

    def __init__(self, folder: Path, stage: Stage) -> None:
        self._stage, self._home, self._cut = stage, folder / "home", False
        self._home.mkdir(parents=True)
        super().__init__(folder, {}, workers=2)
        self.wait_ready()

    def _start(self) -> subprocess.Popen[bytes]:
        environ = self._stage.environ(
            HOME=str(self._home), TMPDIR=str(self._home), **(dead_proxy() if self._cut else {})
        )
        command = [*MAINSTAY, "serve", "--host", "127.0.0.1", "--port", str(self.port), "--workers", str(self.workers)]
        command += ["--data", str(self.data)]
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                command, cwd=self._home, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def ensure(self, *, cut: bool) -> None:
        """Have upstreams in reach, or cut off, as asked."""
        if self._cut != cut:
            assert self.stop() == 0, self.log[-4000:]
            self._cut = cut
            self.restart()

    def end(self) -> None:
        """Stop, having written no error and holding no wrong byte."""
        code = self.stop()
        assert self.unexpected_errors() == []
        assert self.bad_blobs() == []
        assert code == 0, self.log[-4000:]


def read_receipt(stderr: str) -> dict[str, list[str]]:
    """The rows of the receipt at the end of `stderr`, by their label."""
    _, title, text = stderr.rpartition("mainstay: receipt\n")
    assert title, f"no receipt in:\n{stderr}"
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("  "):
            rows.setdefault(line[2:20].strip(), []).append(line[20:].strip())
    return rows
