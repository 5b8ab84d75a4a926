"""The program as a service: its start, its signals, its workers, its certificate, and what it never says."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme
from blockbuster import BlockBuster

from doubles.claims import assert_right
from doubles.client import open_reply
from doubles.faults import Gate, Status, Unauthorized
from doubles.gateway import Gateway, Serve, clean_environ, fetch_or_none, free_port, kill
from doubles.registry import content
from doubles.upstream import Upstream, wait_until
from mainstay.app import Gateway as WorkerGateway
from mainstay.app import listen_url, load_secret, worker_count
from mainstay.config import Config, EcosystemSetting, Log, Server
from mainstay.ecosystems import ecosystems
from mainstay.errors import DataFolderError
from mainstay.serving import render_table
from mainstay.upstream.discover import discover, own_addresses

FILE = "/pypi/files/demo/demo-1.0.tar.gz"
RIGHT = content(3_000_000)


def workers(gateway: Gateway) -> set[int]:
    """The server's worker processes."""
    return set(gateway.worker_pids())


def test_sigterm_lets_a_transfer_end(upstream: Upstream, serve: Serve) -> None:
    """What is being sent is sent whole; nobody new is let in; the exit code is 0."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
    gate = Gate(after=1_000_000)
    upstream.on("*.tar.gz").fault(gate)
    gateway = serve(pypi=upstream.simple_url)
    with open_reply(gateway.url + FILE) as response:
        begun = response.read(500_000)
        gateway.process.send_signal(signal.SIGTERM)
        wait_until(lambda: fetch_or_none(gateway.url + "/healthz") != 200, "the server to stop listening")
        assert gateway.process.poll() is None, "it did not wait for the transfer"
        gate.open()
        assert begun + response.read() == RIGHT
    assert gateway.process.wait(10) == 0


def test_sighup_reads_the_settings_again_and_drops_no_request(upstream: Upstream, serve: Serve) -> None:
    """Another upstream is in force afterwards; clients meanwhile see no failure."""
    upstream.project("demo").release("1.0")
    gateway = serve(pypi=upstream.npm_url, workers=2)
    assert gateway.fetch("/pypi/simple/demo/").status == 404
    before = workers(gateway)
    gateway.config.write_text(gateway.config.read_text().replace(upstream.npm_url, upstream.simple_url))
    statuses: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        gateway.process.send_signal(signal.SIGHUP)

        def changed() -> bool:
            statuses.append(pool.submit(gateway.fetch, "/healthz").result().status)
            return not before & workers(gateway) and len(workers(gateway)) >= 2

        wait_until(changed, "both workers to be replaced", 20)
        wait_until(lambda: gateway.fetch("/pypi/simple/demo/").status == 200, "the new setting")
    assert set(statuses) == {200}


def test_a_worker_that_is_killed_is_replaced(upstream: Upstream, serve: Serve) -> None:
    """And what was stored is still served, with upstream gone."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
    gateway = serve(pypi=upstream.simple_url, workers=1)
    assert_right(gateway.fetch(FILE), RIGHT)
    wait_until(lambda: not [*(gateway.data / "fills").glob("*.head")], "the file to be published")
    upstream.down()
    before = workers(gateway)
    for pid in before:
        kill(pid)
    wait_until(lambda: fetch_or_none(gateway.url + "/readyz") == 200, "a new worker", 20)
    assert not before & workers(gateway)
    assert_right(gateway.fetch(FILE), RIGHT)


def test_workers_end_with_the_main_process_and_leave_the_port(upstream: Upstream, serve: Serve) -> None:
    """Nobody sweeps up after kill -9 of the main process alone: the same command starts again at once."""
    gateway = serve(pypi=upstream.simple_url, workers=2)
    left = workers(gateway)
    kill(gateway.process.pid)
    gateway.process.wait(10)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), "the workers to end")
    gateway.restart()


WITHOUT_PIDFD = """
import multiprocessing, os
from mainstay import serving

def refuse(pid, flags=0):
    raise PermissionError(1, "Operation not permitted")

os.pidfd_open = refuse
worker = multiprocessing.get_context("fork").Process(target=serving._end_with_parent)
worker.start()
print(worker.pid, flush=True)
os._exit(0)
"""


def test_a_worker_ends_with_the_main_process_where_a_sandbox_forbids_to_watch_it() -> None:
    """Older containers refuse the system call."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_PIDFD], capture_output=True, text=True, timeout=30, check=True)
    wait_until(lambda: not Path(f"/proc/{int(done.stdout)}").exists(), "the worker to end")
    assert "Traceback" not in done.stderr


def test_a_replaced_worker_is_said(upstream: Upstream, serve: Serve) -> None:
    """A warning with both process ids: an operator has to see what the kernel killed."""
    gateway = serve(pypi=upstream.simple_url, workers=1)
    (old,) = workers(gateway)
    kill(old)
    wait_until(lambda: f'"ended": {old}' in gateway.log, "the line")


def test_a_worker_that_dies_in_the_middle_of_an_edit_is_replaced_after_it(upstream: Upstream, serve: Serve) -> None:
    """Settings that make no sense just then are told in words, and tried again until they do."""
    gateway = serve(pypi=upstream.simple_url, workers=1)
    gateway.expect_error("a worker cannot start")
    whole = gateway.config.read_text()
    gateway.config.write_text(whole + "\n[cache\n")
    (old,) = workers(gateway)
    kill(old)
    wait_until(lambda: "a worker cannot start" in gateway.log, "the line")
    gateway.config.write_text(whole)
    wait_until(lambda: fetch_or_none(gateway.url + "/readyz") == 200, f"a new worker\n{gateway.log}", 60)
    assert "Traceback" not in gateway.log


def test_a_port_that_is_taken_is_said_in_words(tmp_path: Path) -> None:
    """Exit code 2, the address, what to do; no traceback."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        command = Gateway.command("serve", "--port", port, "--data", str(tmp_path), "--workers", "1")
        done = subprocess.run(command, env=clean_environ(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr and "--port" in done.stderr and "Traceback" not in done.stderr


def test_a_data_folder_of_a_newer_version_is_left_alone(tmp_path: Path, upstream: Upstream, serve: Serve) -> None:
    """Exit code 3, with words; the database is not touched."""
    gateway = serve(pypi=upstream.simple_url)
    assert gateway.stop() == 0
    path = gateway.data / "mainstay.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    done = gateway.run("serve", "--port", str(free_port()), "--workers", "1")
    assert done.returncode == 3 and "newer version" in done.stderr and "Traceback" not in done.stderr
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_a_folder_that_is_not_there_has_nothing_to_unblock(tmp_path: Path) -> None:
    """A slip in --data is told, and makes no folder."""
    folder = tmp_path / "typo"
    command = Gateway.command("unblock", "pkg:pypi/demo@1.0", "--data", str(folder))
    done = subprocess.run(command, env=clean_environ(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and str(folder) in done.stderr and not folder.exists()


def test_a_server_whose_workers_cannot_start_says_so_and_ends(tmp_path: Path) -> None:
    """Exit code 3, for a service manager to see, and the reason in the log."""
    (tmp_path / "sitecustomize.py").write_text(
        "import mainstay.app\nasync def fail(self):\n    raise OSError('no such luck')\n"
        "mainstay.app.Gateway.start = fail\n"
    )
    command = Gateway.command("serve", "--port", str(free_port()), "--data", str(tmp_path / "data"), "--workers", "1")
    environ = clean_environ() | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert "no such luck" in done.stderr and "a worker could not start" in done.stderr


def test_a_secret_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    """An empty key after a power cut would tell nobody apart."""
    path = tmp_path / "secret"
    assert load_secret(path) == load_secret(path) != b"" and path.stat().st_mode & 0o077 == 0
    path.write_bytes(b"")
    with pytest.raises(DataFolderError, match="damaged"):
        load_secret(path)


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """Exit code 3 and the way out."""
    (tmp_path / "data").write_text("")
    command = Gateway.command("serve", "--port", str(free_port()), "--data", str(tmp_path / "data"))
    done = subprocess.run(command, env=clean_environ(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 3 and "--data" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    """A certificate for loopback, its key, and the authority that vouches for it."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    paths = {name: str(tmp_path / f"{name}.pem") for name in ("cert", "key", "ca")}
    for blob in issued.cert_chain_pems:
        blob.write_to_path(paths["cert"], append=True)
    issued.private_key_pem.write_to_path(paths["key"])
    authority.cert_pem.write_to_path(paths["ca"])
    return paths


def test_it_serves_https_with_the_certificate_that_is_set(
    upstream: Upstream, certificate: dict[str, str], tmp_path: Path
) -> None:
    """Links and the start-up table say https."""
    upstream.package("demo").release("1.0.0")
    server = {"tls_cert": certificate["cert"], "tls_key": certificate["key"]}
    gateway = Gateway(tmp_path / "tls", {"server": server, "ecosystems": {"npm": {"upstream": upstream.npm_url}}})
    context = ssl.create_default_context(cafile=certificate["ca"])
    url = f"https://127.0.0.1:{gateway.port}"
    try:
        wait_until(lambda: "stop with Ctrl-C" in gateway.log, "the table", 20)
        wait_until(lambda: read(f"{url}/readyz", context), "HTTPS", 20)
        assert f"{url}/npm/-/demo-1.0.0.tgz".replace("/npm/-", "/npm/demo/-") in read(f"{url}/npm/demo", context)
        assert f"at {url}," in gateway.log
    finally:
        assert gateway.stop() == 0


def read(url: str, context: ssl.SSLContext) -> str:
    """The body, empty while nobody answers."""
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return str(response.read().decode())
    except OSError:
        return ""


@pytest.mark.parametrize("missing", ["cert", "key"])
def test_a_certificate_that_is_not_there_is_said_in_words(missing: str, certificate: dict[str, str]) -> None:
    """The key of the setting and the path; exit code 2."""
    os.unlink(certificate[missing])
    environ = clean_environ() | {
        "MAINSTAY_SERVER__TLS_CERT": certificate["cert"],
        "MAINSTAY_SERVER__TLS_KEY": certificate["key"],
    }
    command = Gateway.command("serve", "--port", str(free_port()), "--data", os.path.dirname(certificate["ca"]))
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and f"server.tls_{missing}" in done.stderr and "Traceback" not in done.stderr


def configured(**changes: Any) -> Config:
    """Settings with one upstream for each ecosystem."""
    settings = {name: EcosystemSetting(upstream=f"https://{name}.registry.example/") for name in ecosystems()}
    return Config(**{"data": "/data", "ecosystems": settings, **changes})


def table(config: Config) -> str:
    """What is shown at the start."""
    return render_table(config, discover(config, ecosystems(), own=frozenset(), extras=False))


def test_the_table_at_the_start_says_where_everything_is() -> None:
    """Address, data, each ecosystem with its upstream and why, and commands to copy."""
    shown = table(configured(server=Server(port=4499, workers=2)))
    assert "at http://127.0.0.1:4499, 2 workers, data in /data" in shown
    for ecosystem in ecosystems().values():
        assert f"http://127.0.0.1:4499/{ecosystem.mount}/" in shown
        assert f"https://{ecosystem.id}.registry.example/" in shown and "(mainstay.toml" in shown
        assert all(usage.partition("{url}")[0] in shown for usage in ecosystem.usage)
    assert "{url}" not in shown and "open to other machines" not in shown


def test_the_table_warns_when_others_can_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """More so where they use the gateway's own credentials; a public address is the one shown."""
    shown = table(configured(server=Server(host="0.0.0.0"), public_url="https://packages.example/"))
    assert "open to other machines" in shown and "own credentials" not in shown
    assert "at https://packages.example," in shown and "127.0.0.1" not in shown
    settings = {name: EcosystemSetting(upstream="https://user:hunter2@registry.example/") for name in ecosystems()}
    shown = table(configured(server=Server(host="0.0.0.0"), ecosystems=settings))
    assert "own credentials" in shown and "hunter2" not in shown


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:4480"), ("0.0.0.0", "http://127.0.0.1:4480"), ("::", "http://[::1]:4480"),
     ("::1", "http://[::1]:4480"), ("gateway.example", "http://gateway.example:4480")],
)  # fmt: skip
def test_the_own_address_is_one_that_can_be_typed(host: str, url: str) -> None:
    """Also where it listens on all of them."""
    assert listen_url(Config(server=Server(host=host))) == url


def test_the_own_addresses_hold_every_way_to_itself() -> None:
    """Loopback in each spelling, the listening address and the public one."""
    own = own_addresses(Config(server=Server(host="10.0.0.1", port=4480), public_url="https://packages.example"))
    assert {("10.0.0.1", 4480), ("localhost", 4480), ("127.0.0.1", 4480), ("packages.example", 443)} <= own


def test_workers_are_as_many_as_asked_for_or_one_per_core() -> None:
    """At least one."""
    assert worker_count(Config(server=Server(workers=3))) == 3
    assert worker_count(Config()) >= 1


SECRETS = {"TOKEN": "hunter2-token-canary", "PASSWORD": "hunter2-password-canary"}


@pytest.fixture
def guarded(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """A gateway at log level debug whose upstreams' credentials come from a variable, a file and an address."""
    upstream.project("demo").release("1.0")
    upstream.package("demo").release("1.0.0")
    upstream.on("/simple/*").fault(Unauthorized(f"Bearer {SECRETS['TOKEN']}"))
    monkeypatch.setenv("TOY_TOKEN", SECRETS["TOKEN"])
    (tmp_path / "password").write_text(SECRETS["PASSWORD"] + "\n")
    npm = {"url": upstream.npm_url.replace("//", "//user:hunter2-url-canary@")}
    broken = {"url": "http://127.0.0.1:1/", "username": "user", "password_file": str(tmp_path / "password")}
    settings = {
        "log": {"level": "debug"},
        "fetch": {"attempts": 1},
        "ecosystems": {
            "pypi": {"upstream": [{"url": upstream.simple_url, "token_env": "TOY_TOKEN"}]},
            "npm": {"upstream": [{**broken, "namespaces": ["@acme/*"]}, npm]},
        },
    }
    gateway = Gateway(tmp_path / "guarded", settings)
    gateway.wait_ready()
    yield gateway
    gateway.stop()


def test_a_credential_is_used_and_never_shown(guarded: Gateway, upstream: Upstream) -> None:
    """After a run with successes and failures no secret, in plain or as base64, is in any reply, log, page or file."""
    own = {"authorization": "Bearer hunter2-caller-canary"}
    assert guarded.fetch("/pypi/simple/demo/").status == 200
    assert guarded.fetch("/npm/demo").status == 200
    upstream.on("/npm/broken").fault(Status(500))
    replies = [guarded.fetch(path) for path in ("/api/v1/upstreams", "/metrics", "/readyz", "/pypi/simple/absent/")]
    replies += [
        guarded.fetch(path) for path in ("/npm/broken", "/npm/@acme%2fcore", "/npm/demo?token=hunter2-query-canary")
    ]
    replies += [guarded.fetch(path, headers=own) for path in ("/pypi/simple/demo/", "/npm/demo", "/npm/broken")]
    sent = [seen.headers.get("authorization", "") for seen in upstream.requests]
    assert f"Bearer {SECRETS['TOKEN']}" in sent and any(text.startswith("Basic ") for text in sent)
    assert guarded.stop() == 0
    texts = {f"reply {number}": str(reply).encode() for number, reply in enumerate(replies)}
    texts["log"] = guarded.log.encode()
    texts |= {str(path): path.read_bytes() for path in guarded.data.rglob("*") if path.is_file()}
    for where, text in texts.items():
        for secret in (b"canary", b"aHVudGVyMi", b"h1bnRlcjIt", b"odW50ZXIyL"):
            assert secret not in text, f"a secret in {where}"
    assert len(guarded.log) > 500, "the log was really at its most talkative"


async def test_the_event_loop_waits_for_no_socket_and_does_not_sleep(upstream: Upstream, tmp_path: Path) -> None:
    """Cold and warm, index and file: sleeping, sockets and SQLite are never waited for in the loop itself."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": RIGHT})
    settings = {"pypi": EcosystemSetting(upstream=upstream.simple_url)}
    config = Config(data=str(tmp_path), ecosystems=settings, log=Log(access=False))
    registry = discover(config, ecosystems(), own=frozenset(), extras=False)
    gateway = WorkerGateway(config, registry, 1)
    await gateway.start()
    watch = BlockBuster(scanned_modules="mainstay")
    watched = [name for name in watch.functions if name.startswith(("time.", "socket.", "ssl.", "sqlite3."))]
    assert {"time.sleep", "socket.socket.connect"} <= set(watched)
    for name in watched:
        watch.functions[name].activate()
    try:
        for path in ("/pypi/simple/demo/", FILE, "/pypi/simple/demo/", FILE, "/pypi/simple/absent/"):
            status, body = await ask(gateway.app, path)
            assert status == (404 if "absent" in path else 200), (path, body[:200])
    finally:
        for name in watched:
            watch.functions[name].deactivate()
        await gateway.stop()


async def ask(app: Any, path: str) -> tuple[int, bytes]:
    """One GET, in this process."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
    }
    sent: list[Any] = []

    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    await app({**scope, "scheme": "http", "client": ("127.0.0.1", 1)}, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])
