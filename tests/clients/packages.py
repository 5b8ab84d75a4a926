"""Small packages of our own, whole and installable, and a forge that keeps one in git."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self
from urllib.parse import unquote

EPOCH_ZIP = (2025, 1, 1, 0, 0, 0)


def make_wheel(name: str, version: str) -> dict[str, bytes]:
    """A wheel of one module, by its file name."""
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    files = {
        f"{module}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, EPOCH_ZIP), text)
    return {f"{module}-{version}-py3-none-any.whl": out.getvalue()}


def make_tarball(name: str, version: str) -> bytes:
    """An npm tarball of one module."""
    files = {"package.json": f'{{"name": "{name}", "version": "{version}"}}\n', "index.js": "module.exports = 1\n"}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


class Forge:
    """`git http-backend` on loopback, with one repository `sample.git` that is both a Python and an npm package."""

    FILES: Mapping[str, str] = {
        "pyproject.toml": '[project]\nname = "forged"\nversion = "1.0"\n[tool.setuptools]\npy-modules = ["forged"]\n',
        "forged.py": "VERSION = '1.0'\n",
        "package.json": '{"name": "forged", "version": "1.0.0", "main": "index.js"}\n',
        "index.js": "module.exports = 1\n",
    }

    def __init__(self, folder: Path, git: Path) -> None:
        self._folder, self._git = folder, git
        self.requests: list[str] = []
        self._fill()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = self._server.server_port

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _fill(self) -> None:
        work = self._folder / "work"
        work.mkdir(parents=True)
        for name, text in self.FILES.items():
            (work / name).write_text(text)
        who = ["-c", "user.name=Sample", "-c", "user.email=sample@forge.example"]
        self._run("init", "--quiet", "--initial-branch=main", str(work))
        self._run("-C", str(work), "add", ".")
        self._run("-C", str(work), *who, "commit", "--quiet", "--message=first")
        self._run("clone", "--quiet", "--bare", str(work), str(self._folder / "sample.git"))

    def _run(self, *arguments: str) -> None:
        environ = {"PATH": os.environ["PATH"], "HOME": str(self._folder), "GIT_CONFIG_NOSYSTEM": "1"}
        subprocess.run([self._git, *arguments], check=True, env=environ, capture_output=True, timeout=30)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        forge = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                forge.answer(self)

            def do_POST(self) -> None:
                forge.answer(self)

            def log_message(self, text: str, *args: object) -> None:  # the base names it `format`
                forge.requests.append(text % args)

        return Handler

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Hand one request to git's CGI program (RFC 3875) and pass its reply on."""
        path, _, query = request.path.partition("?")
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self._folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": unquote(path),
            "QUERY_STRING": query,
            "REQUEST_METHOD": request.command,
            "CONTENT_TYPE": request.headers.get("content-type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
        }
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        backend = [str(self._git), "http-backend"]
        done = subprocess.run(backend, input=body, env=environ, capture_output=True, timeout=30, check=True)
        head, _, reply = done.stdout.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = next((value for name, value in fields if name.lower() == "status"), "200 OK")
        request.send_response(int(status.split(" ")[0]))
        for name, value in fields:
            if name.lower() != "status":
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(reply)))
        request.end_headers()
        request.wfile.write(reply)
