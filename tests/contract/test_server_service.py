"""What `mainstay serve` does as a service where nothing, or something wrong, is set, and when it is reloaded."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path

import pytest
import trustme

from doubles.gateway import Gateway, Serve, clean_environ, fetch_or_none, free_port
from doubles.upstream import Upstream, wait_until

LOOPBACK = "0100007F"
LISTENING = "0A"


class PlainGateway(Gateway):
    """Started with nothing but a port and a data folder."""

    def _start(self) -> subprocess.Popen[bytes]:
        command = self.command(
            "serve", "--port", str(self.port), "--data", str(self.data), "--config", str(self.config)
        )
        with self.log_path.open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environ())


def listening_addresses(port: int) -> set[str]:
    """The local addresses, as the kernel writes them, of the sockets that listen on this port."""
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    own = [fields[1].split(":") for fields in lines if fields[3] == LISTENING]
    return {address for address, number in own if int(number, 16) == port}


def test_it_listens_on_loopback_only_with_a_worker_for_each_core(upstream: Upstream, tmp_path: Path) -> None:
    """Unless told otherwise, nobody else can reach it, and every core that it may use is used."""
    ecosystems = {"pypi": {"upstream": upstream.simple_url}, "npm": {"upstream": upstream.npm_url}}
    gateway = PlainGateway(tmp_path, {"ecosystems": ecosystems}, workers=len(os.sched_getaffinity(0)))
    try:
        gateway.wait_ready()
        assert len(gateway.worker_pids()) == gateway.workers
        assert listening_addresses(gateway.port) == {LOOPBACK}
    finally:
        assert gateway.stop() == 0


def test_it_can_be_told_to_listen_by_a_name(upstream: Upstream, tmp_path: Path) -> None:
    """A name stands for its address: `localhost` is loopback, and the table repeats the name."""
    settings = {
        "server": {"host": "localhost", "workers": 1},
        "ecosystems": {"pypi": {"upstream": upstream.simple_url}},
    }
    gateway = PlainGateway(tmp_path, settings)
    try:
        gateway.wait_ready()
        assert listening_addresses(gateway.port) == {LOOPBACK}
        assert f"at http://localhost:{gateway.port}," in gateway.log and "open to other machines" not in gateway.log
    finally:
        assert gateway.stop() == 0


def reload(gateway: Gateway) -> None:
    """SIGHUP, and wait until every worker is another one."""
    before = set(gateway.worker_pids())
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: before.isdisjoint(gateway.worker_pids()), f"new workers\n{gateway.log}", 30)
    wait_until(lambda: len(gateway.worker_pids()) == gateway.workers, f"all workers\n{gateway.log}", 30)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_leaves_no_moment_without_a_worker(workers: int, upstream: Upstream, serve: Serve) -> None:
    """A client that asks all the time is never turned away, also where there is one worker."""
    gateway = serve(pypi=upstream.simple_url, workers=workers)
    found: list[int | None] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            found.append(fetch_or_none(f"{gateway.url}/healthz"))

    client = threading.Thread(target=ask)
    client.start()
    try:
        reload(gateway)
    finally:
        done.set()
        client.join()
    assert found and set(found) == {200}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense = 1", "unknown setting nonsense"),
        ("server = 5", "not valid TOML"),
        ("fetch = {ca_file = '/absent.pem'}", "fetch.ca_file"),
        ("server = {tls_cert = '/absent.pem', tls_key = '/absent.pem'}", "server.tls_cert"),
    ],
)
def test_a_reload_with_wrong_settings_changes_nothing(line: str, words: str, upstream: Upstream, serve: Serve) -> None:
    """A slip in the file is told in the log, and the workers go on as they are; the next reload works."""
    gateway = serve(pypi=upstream.simple_url, workers=2, log={"level": "info"})
    gateway.expect_error("not reloaded")
    # A worker that is still starting would read the slip itself.
    wait_until(lambda: gateway.metric("mainstay_worker_starts_total") >= gateway.workers, "both workers", 20)
    before, right = set(gateway.worker_pids()), gateway.config.read_text()
    gateway.config.write_text(f"{line}\n{'[' if 'TOML' in words else ''}{right}")
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "not reloaded" in gateway.log, "the word in the log")
    assert words in gateway.log and "Traceback" not in gateway.log
    gateway.config.write_text(right)
    assert set(gateway.worker_pids()) == before and gateway.fetch("/readyz").status == 200
    reload(gateway)


class Certificate:
    """A certificate for loopback, its key and its authority, as files in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        self.cert, self.key, self.ca = (folder / f"{name}.pem" for name in ("cert", "key", "ca"))
        self.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.key)
        authority.cert_pem.write_to_path(self.ca)

    def is_shown_by(self, port: int) -> bool:
        """Whether the server on this port has a certificate of this authority."""
        context = ssl.create_default_context(cafile=self.ca)
        connection = HTTPSConnection("127.0.0.1", port, context=context, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def tls(folder: Path) -> dict[str, str]:
    """The settings for a certificate of that folder."""
    return {"tls_cert": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem")}


@pytest.fixture
def https(upstream: Upstream, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway whose certificate is that of `old`, through the link `live`, as renewing programs lay it out."""
    Certificate(tmp_path / "old")
    (tmp_path / "live").symlink_to("old")
    settings = {"server": tls(tmp_path / "live"), "ecosystems": {"pypi": {"upstream": upstream.simple_url}}}
    gateway = Gateway(tmp_path / "gateway", settings)
    yield gateway
    assert gateway.stop() == 0


def test_a_reload_shows_the_renewed_certificate(https: Gateway, tmp_path: Path) -> None:
    """Also where the path that is set leads to other files than before."""
    new = Certificate(tmp_path / "new")
    wait_until(https.worker_pids, "the server", 20)
    assert not new.is_shown_by(https.port)
    (tmp_path / "live").unlink()
    (tmp_path / "live").symlink_to("new")
    reload(https)
    wait_until(lambda: new.is_shown_by(https.port), "the new certificate", 20)


def refused(settings: dict[str, str], tmp_path: Path) -> str:
    """The words with which `mainstay serve` refuses to start with these settings: exit code 2, nothing made."""
    preset = {"data": str(tmp_path / "data"), "server__port": str(free_port())} | settings
    environ = clean_environ() | {f"MAINSTAY_{name.upper()}": value for name, value in preset.items()}
    done = subprocess.run(Gateway.command("serve"), env=environ, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()
    return done.stderr


@pytest.mark.parametrize("wrong", ["no PEM", "another key", "a key with a password"])
def test_a_certificate_that_cannot_be_used_is_said_in_words(wrong: str, tmp_path: Path) -> None:
    """Both settings and both paths; no question at the terminal."""
    own, other = Certificate(tmp_path / "own"), Certificate(tmp_path / "other")
    match wrong:
        case "no PEM":
            own.cert.write_text("nothing of the kind")
        case "another key":
            own.key.write_bytes(other.key.read_bytes())
        case _:
            command = ["openssl", "pkey", "-in", own.key, "-aes256", "-passout", "pass:secret", "-out", other.key]
            subprocess.run(command, check=True)
            own.key.write_bytes(other.key.read_bytes())
    told = refused({f"server__{name}": path for name, path in tls(tmp_path / "own").items()}, tmp_path)
    assert all(word in told for word in ("server.tls_cert", "server.tls_key", str(own.cert), str(own.key)))
    assert "pass phrase" not in told


@pytest.mark.parametrize(
    ("name", "value"),
    [("server__host", ""), ("server__host", "a..b"), ("server__host", "192.0.2.1"), ("fetch__ca_file", "/absent.pem"),
     ("data", "~no-such-user/data")],
)  # fmt: skip
def test_what_cannot_be_used_is_said_before_anything_starts(name: str, value: str, tmp_path: Path) -> None:
    """The words name it. An empty host does not mean every address."""
    assert (value or "server.host") in refused({name: value}, tmp_path)
