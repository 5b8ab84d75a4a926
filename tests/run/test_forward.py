"""`run --gateway URL`: a shared gateway answers, at its own paths."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from clients.proxy import Authority
from doubles.gateway import Gateway
from run.conftest import serving

CURL = ("curl", "--silent", "--show-error", "--suppress-connect-headers", "--max-time", "20")
INDEX = "https://registry.example/simple/left/"
FILE = "https://files.example/packages/aa/left-1.0.whl"


# It sends half of an upload and is gone; a whole request afterwards shows that the run has seen the end of it.
BREAKS_OFF = """
import os, ssl, socket, sys, urllib.request
host, port = os.environ["HTTPS_PROXY"].removeprefix("http://").split(":")
raw = socket.create_connection((host, int(port)))
raw.sendall(b"CONNECT registry.example:443 HTTP/1.1\\r\\n\\r\\n")
raw.recv(1000)
secured = ssl.create_default_context().wrap_socket(raw, server_hostname="registry.example")
secured.sendall(b"PUT /simple/upload HTTP/1.1\\r\\nHost: registry.example\\r\\nContent-Length: 100\\r\\n\\r\\nhalf")
secured.unwrap()
raw.close()
print(urllib.request.urlopen(sys.argv[1]).read().decode())
"""


class SharedGateway(BaseHTTPRequestHandler):
    """A gateway with one registry, whose file host it names only when it is asked for an index (or told to learn)."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer as a gateway does."""
        self.server.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        path, _, query = self.path.partition("?")
        if self.server.token not in ("", self.headers.get("Mainstay-Token")):
            self._send(401, b"who is it?", "text/plain")
        elif path == "/api/v1/upstreams" and query == "learn=1" and self.server.failures:
            self.server.failures -= 1
            self._send(502, b"not now", "text/plain")
        elif path == "/api/v1/upstreams":
            bases = [{"url": "https://registry.example/simple/", "path": "/one/simple/"}]
            if self.server.extra_base:
                bases.append({"url": self.server.extra_base, "path": "/one/simple/"})
            if query == "learn=1" and self.server.can_learn:
                bases.append({"url": "https://files.example/", "path": "/one/files/"})
            entry = {"ecosystem": "one", "upstream": "x", "bases": bases, "learns": "/one/files/"}
            self._send(200, json.dumps({"schema": 1, "upstreams": [entry]}).encode(), "application/json")
        elif path == "/one/simple/left/":
            self._send(
                200,
                b"<index>",
                "text/html",
                ("Mainstay-Origin", "https://files.example/, https://mirror.example/pub/"),
                ("Cache-Status", "mainstay; fwd=miss; stored"),
            )
        elif path == "/one/simple/bad/":
            self._send(403, b'{"error": "left 6.6.6 is malware"}', "application/json")
        elif path == "/one/simple/broken/":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")
            self.close_connection = True
        elif path.startswith("/one/files/"):
            self._send(200, b"w" * 500_000, "application/octet-stream", ("Cache-Status", "mainstay; hit"))
        else:
            self._send(404, b"no such path", "text/plain")

    def do_PUT(self) -> None:
        """The same for a publish."""
        self.do_POST()

    def do_POST(self) -> None:
        """Say what came."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self._send(200, b"got " + body, "text/plain")

    def _send(self, status: int, body: bytes, media_type: str, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", media_type), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        """The same without the body."""
        self.do_GET()

    def log_message(self, *args) -> None:
        """Keep quiet."""


@pytest.fixture
def shared() -> Iterator[ThreadingHTTPServer]:
    """A shared gateway on loopback. `seen` lists (path, headers)."""
    with serving("127.0.0.1", SharedGateway) as server:
        server.can_learn = True
        server.failures = 0
        server.token = ""
        server.extra_base = ""
        yield server


@pytest.fixture
def through(session, shared):
    """Run a command in a session that uses the shared gateway."""

    def start(*command, **options):
        return session(*command, gateway=f"http://127.0.0.1:{shared.server_port}", **options)

    return start


def test_an_index_comes_from_the_gateways_own_path(through, shared):
    """With links left as upstream has them, and the client's own authorisation beside the run's token."""
    done = through(
        *CURL, "--header", "Authorization: Basic dXNlcjpwYXNz", INDEX + "?x=1", extra={"MAINSTAY_TOKEN": "tok"}
    )
    assert done.stdout == b"<index>", done.stderr
    path, headers = shared.seen[-1]
    assert path == "/one/simple/left/?x=1"
    assert headers["mainstay-links"] == "upstream"
    assert headers["mainstay-token"] == "tok"
    assert headers["authorization"] == "Basic dXNlcjpwYXNz"


def test_a_client_cannot_speak_for_the_run(through, shared):
    """Header fields that belong to the talk between run and gateway are not taken from the command."""
    through(*CURL, "--header", "Mainstay-Token: stolen", "--header", "Mainstay-Links: own", INDEX)
    _, headers = shared.seen[-1]
    assert "mainstay-token" not in headers
    assert headers["mainstay-links"] == "upstream"


def test_file_hosts_are_learned_from_an_index(through, shared):
    """Each base that the reply names leads to the gateway's files."""
    shared.can_learn = False
    done = through(*CURL, INDEX, FILE, "https://mirror.example/pub/b/left-1.0.whl")
    assert done.stdout == b"<index>" + b"w" * 1_000_000, done.stderr
    assert [path for path, _ in shared.seen][-2:] == [
        "/one/files/packages/aa/left-1.0.whl",
        "/one/files/b/left-1.0.whl",
    ]


def test_a_lock_file_that_names_only_files_works(through, shared):
    """No index is asked for: the run lets the gateway look for its file hosts at the first unknown host."""
    done = through(*CURL, FILE)
    assert done.stdout == b"w" * 500_000, done.stderr


def test_a_gateway_that_fails_once_is_asked_again(through, shared, receipt):
    """One bad moment does not close every other host to the rest of the run; until then nothing goes past unasked."""
    shared.failures = 1
    done = through("sh", "-c", f"{' '.join(CURL)} {FILE}; {' '.join(CURL)} {FILE}")
    assert done.stdout == b"w" * 500_000
    assert "not reached: files.example:443: The gateway answers 502" in "\n".join(receipt(done))


def test_a_company_ca_that_only_one_client_knows_is_trusted_for_the_gateway(session, shared, tmp_path):
    """As for the registries of a run of one's own."""
    authority = Authority(tmp_path / "corp")
    shared.socket = authority.context("127.0.0.1").wrap_socket(
        shared.socket, server_side=True, do_handshake_on_connect=False
    )
    url = f"https://127.0.0.1:{shared.server_port}"
    done = session(*CURL, INDEX, gateway=url, extra={"NODE_EXTRA_CA_CERTS": str(authority.path)})
    assert done.stdout == b"<index>", done.stderr
    assert session("true", gateway=url).returncode == 3


def test_half_an_upload_is_not_sent_on(through, shared):
    """A client that dies in the middle of a publish must not leave a cut document at the registry."""
    done = through(sys.executable, "-c", BREAKS_OFF, INDEX, extra={"PYTHONUNBUFFERED": "1"})
    assert done.stdout.split() == [b"<index>"], done.stderr
    assert "/one/simple/upload" not in [path for path, _ in shared.seen]


def test_the_receipt_counts_by_the_gateways_cache_status(through, receipt):
    """Hits are saved upstream requests; a refusal stands there with its reason."""
    rows = receipt(through(*CURL, INDEX, FILE, FILE, "https://registry.example/simple/bad/"))
    assert "served: 2 files, 1.0 MB in 4 requests" in rows
    assert "from upstream: 7 B in 1 request" in rows
    assert "upstream saved: 2 requests, 1.0 MB" in rows
    assert "refused: left 6.6.6 is malware" in rows


def test_a_refusal_reaches_the_client_as_the_gateway_words_it(through):
    """Status and body."""
    done = through(*CURL, "--include", "https://registry.example/simple/bad/")
    assert done.stdout.startswith(b"HTTP/1.1 403")
    assert b"left 6.6.6 is malware" in done.stdout


def test_a_reply_that_breaks_off_breaks_off_for_the_client_too(through):
    """Never a short body that looks whole."""
    done = through(*CURL, "https://registry.example/simple/broken/")
    assert done.returncode == 18, done.stderr


def test_a_body_that_is_posted_arrives(through):
    """An audit call."""
    done = through(*CURL, "--data", "names", "https://registry.example/simple/audit")
    assert done.stdout == b"got names"


def test_head_has_no_body(through):
    """But the length of the document."""
    done = through(*CURL, "--head", INDEX)
    assert done.stdout.startswith(b"HTTP/1.1 200"), done.stdout
    assert b"content-length: 7\r\n" in done.stdout.lower()


def test_a_path_that_the_gateway_does_not_have_goes_to_the_host_itself(through, shared, forge, receipt):
    """Uploads and account pages: passed on without the run's token, and on the record as past the gateway."""
    shared.extra_base = f"http://127.0.0.2:{forge.server_port}/simple/"
    host = f"127.0.0.2:{forge.server_port}"
    done = through(*CURL, f"http://{host}/simple/left/", f"http://{host}/account", extra={"MAINSTAY_TOKEN": "tok"})
    assert done.stdout == b"<index>the forge answers /account", done.stderr
    assert forge.seen[-1].get("mainstay-token") is None
    assert f"past the gateway: {host}: 1 connection, 0 B up, 26 B down" in receipt(done)


def test_a_strict_run_does_not_go_to_the_host_itself(through, receipt):
    """What the gateway has nothing for is refused, in words."""
    done = through(*CURL, "https://registry.example/account", strict=True)
    assert b"strict" in done.stdout
    assert any("nothing at https://registry.example/account" in row for row in receipt(done))


def test_a_gateway_that_is_not_there_is_told_before_anything_runs(session):
    """Exit 3, in words."""
    done = session("echo", "ran", gateway="http://127.0.0.1:1")
    assert done.returncode == 3
    assert done.stdout == b""
    assert b"127.0.0.1:1" in done.stderr


def test_a_token_that_the_gateway_does_not_take_is_told_before_anything_runs(session, shared):
    """With the two places to look at, and without the token."""
    shared.token = "right"
    done = session("echo", "ran", gateway=f"http://127.0.0.1:{shared.server_port}", extra={"MAINSTAY_TOKEN": "wr0ng"})
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"401" in done.stderr and b"MAINSTAY_TOKEN" in done.stderr and b"wr0ng" not in done.stderr


@pytest.mark.parametrize(("token", "code"), [("right", 0), ("wrong", 3)])
def test_the_program_takes_address_and_token_from_the_environment(environ, shared, tmp_path, token, code):
    """MAINSTAY_URL and MAINSTAY_TOKEN, as a CI job sets them once."""
    shared.token = "right"
    named = {"MAINSTAY_URL": f"http://127.0.0.1:{shared.server_port}", "MAINSTAY_TOKEN": token}
    command = Gateway.command("run", "--", *CURL, INDEX)
    done = subprocess.run(command, capture_output=True, env=environ | named, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stdout) == (code, b"" if code else b"<index>"), done.stderr


def test_an_address_that_is_no_gateway_is_told_before_anything_runs(session, hidden_forge):
    """A page instead of a route table."""
    done = session("echo", "ran", gateway=f"http://127.0.0.1:{hidden_forge.server_port}")
    assert done.returncode == 3
    assert b"Is this the address of a Mainstay gateway?" in done.stderr


def test_a_gateway_address_that_is_none_is_a_usage_error(session):
    """Exit 2 with the value."""
    done = session("echo", "ran", gateway="gateway.example")
    assert done.returncode == 2
    assert b"'gateway.example' is not an http:// or https:// address" in done.stderr
