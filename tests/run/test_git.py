"""git over https to a forge: through the proxy, untouched."""

from __future__ import annotations

import os
import subprocess
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from clients.proxy import Authority, Proxy
from run.conftest import serving


class _GitBackend(BaseHTTPRequestHandler):
    """`git http-backend` as a CGI program (RFC 3875)."""

    root: Path
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        """The list of references, or a dumb file."""
        self._serve(b"")

    def do_POST(self) -> None:
        """A fetch."""
        self._serve(self.rfile.read(int(self.headers["Content-Length"])))

    def _serve(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        variables = {
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HOME": str(self.root),
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env=variables, timeout=30)
        self.wfile.write(b"HTTP/1.0 200 OK\r\n" + done.stdout)

    def log_message(self, *args) -> None:
        """Keep quiet."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A bare repository with one commit that holds a file of five megabytes."""
    work = tmp_path / "work"
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    (work / "blob").write_bytes(os.urandom(5_000_000))
    subprocess.run(["git", "-C", str(work), "add", "."], check=True)
    subprocess.run(["git", "-C", str(work), *identity, "commit", "-q", "-m", "first"], check=True)
    bare = tmp_path / "served" / "project.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
    return bare


@pytest.mark.parametrize("sealed", [False, True])
def test_git_clones_from_a_forge_through_the_tunnel(session, repository, tmp_path, receipt, sealed):
    """By https, behind a company proxy whose CA only the user's own git settings name."""
    handler = type("Backend", (_GitBackend,), {"root": repository.parent})
    authority = Authority(tmp_path / "corp")
    (tmp_path / "home/.gitconfig").write_text(f"[http]\n\tsslCAInfo = {authority.path}\n")
    with (
        serving("127.0.0.1", handler) as backend,
        Proxy(authority=authority, routes={"forge.example": backend.server_port}, credentials="ada:pass") as corp,
    ):
        url = "https://forge.example/project.git"
        listed = session("git", "ls-remote", url, extra=corp.variables, sealed=sealed)
        assert b"refs/heads/main" in listed.stdout, listed.stderr
        cloned = session("git", "clone", "-q", url, "copy", extra=corp.variables, sealed=sealed)
    assert cloned.returncode == 0, cloned.stderr
    assert (tmp_path / "copy/blob").read_bytes() == (tmp_path / "work/blob").read_bytes()
    row = next(row for row in receipt(cloned) if row.startswith("past the gateway: forge.example:443"))
    assert "5.0 MB down" in row
