"""What the double has on offer: projects of a PyPI-like index and packages of an npm-like registry."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache

from doubles.wire import Reply, Seen

JSON_INDEX = "application/vnd.pypi.simple.v1+json"
EPOCH = datetime(2025, 1, 1, tzinfo=UTC)


@cache
def content(size: int, seed: int = 1) -> bytes:
    """`size` bytes that do not compress, the same in every run."""
    return random.Random(seed).randbytes(size)


def sha256(data: bytes) -> str:
    """Lower-case hex."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class File:
    """One file on offer, at `path` of the host that `url` names."""

    filename: str
    body: bytes
    path: str
    url: str
    published: datetime
    digests: dict[str, str]


@dataclass
class Project:
    """A project of the simple index. Each change counts up `revision`, which its Last-Modified follows."""

    name: str
    files_url: str
    releases: dict[str, list[File]] = field(default_factory=dict)
    revision: int = 0
    gone: int = 0
    digests: bool = True

    def release(self, version: str, files: dict[str, bytes] | None = None) -> Project:
        """Add a release; without `files` it is one source archive of 100,000 bytes."""
        files = files or {f"{self.name}-{version}.tar.gz": content(100_000, seed=len(self.releases) + 2)}
        listed = []
        for number, (filename, body) in enumerate(files.items()):
            digest = sha256(body)
            path = f"packages/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{filename}"
            published = EPOCH + timedelta(days=len(self.releases), hours=number)
            listed.append(File(filename, body, f"/{path}", self.files_url + path, published, {"sha256": digest}))
        self.releases = {**self.releases, version: listed}
        self.revision += 1
        return self

    def remove(self, version: str) -> None:
        """Take a release down: gone from the index, its files 404."""
        self.releases = {key: files for key, files in self.releases.items() if key != version}
        self.revision += 1

    def disappear(self, status: int = 404) -> None:
        """The whole project is gone (404 or 410); 0 brings it back."""
        self.gone = status

    def file(self, path: str) -> File | None:
        """The file that is kept at `path`."""
        return next((file for files in self.releases.values() for file in files if file.path == path), None)

    def index(self, accept: str) -> Reply:
        """The project's page, JSON (PEP 691) where `accept` asks for it, else HTML (PEP 503)."""
        if self.gone:
            return Reply(self.gone, b"gone\n", (("content-type", "text/plain"),))
        modified = format_datetime(EPOCH + timedelta(minutes=self.revision), usegmt=True)
        as_json = JSON_INDEX in accept
        body = self._json() if as_json else self._html()
        media_type = JSON_INDEX if as_json else "text/html"
        headers = (("content-type", media_type), ("etag", f'"{sha256(body)[:16]}"'), ("last-modified", modified))
        return Reply(200, body, headers)

    def _json(self) -> bytes:
        files = [
            {
                "filename": file.filename,
                "url": file.url,
                "hashes": file.digests if self.digests else {},
                "size": len(file.body),
                "upload-time": file.published.isoformat().replace("+00:00", "Z"),
            }
            for files in self.releases.values()
            for file in files
        ]
        meta = {"api-version": "1.1"}
        return json.dumps({"meta": meta, "name": self.name, "versions": [*self.releases], "files": files}).encode()

    def _html(self) -> bytes:
        links = ""
        for file in (file for files in self.releases.values() for file in files):
            fragment = f"#sha256={file.digests['sha256']}" if self.digests else ""
            links += f'<a href="{html.escape(file.url + fragment)}">{html.escape(file.filename)}</a><br>\n'
        return f"<!DOCTYPE html><html><body><h1>Links</h1>\n{links}</body></html>\n".encode()


@dataclass
class Package:
    """A package of the npm-like registry below `base_url`."""

    name: str
    base_url: str
    versions: dict[str, File] = field(default_factory=dict)
    revision: int = 0
    gone: int = 0

    def release(self, version: str, tarball: bytes | None = None) -> Package:
        """Add a version with its tarball (100,000 bytes unless given) and make it `latest`."""
        body = tarball if tarball is not None else content(100_000, seed=len(self.versions) + 100)
        filename = f"{self.name.rpartition('/')[2]}-{version}.tgz"
        path = f"{self.name}/-/{filename}"
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(body).digest()).decode()
        digests = {"integrity": integrity, "shasum": hashlib.sha1(body, usedforsecurity=False).hexdigest()}
        published = EPOCH + timedelta(days=len(self.versions))
        file = File(filename, body, f"/npm/{path}", f"{self.base_url}{path}", published, digests)
        self.versions = {**self.versions, version: file}
        self.revision += 1
        return self

    def remove(self, version: str) -> None:
        """Take a version down."""
        self.versions = {key: file for key, file in self.versions.items() if key != version}
        self.revision += 1

    def disappear(self, status: int = 404) -> None:
        """The whole package is gone (404 or 410); 0 brings it back."""
        self.gone = status

    def packument(self, accept: str) -> Reply:
        """The full packument, or the abbreviated one where `accept` asks for it."""
        if self.gone:
            return Reply(self.gone, b'{"error":"not found"}', (("content-type", "application/json"),))
        short = "application/vnd.npm.install-v1+json" in accept
        versions = {
            version: {
                "name": self.name,
                "version": version,
                "dist": {"tarball": file.url, **file.digests},
            }
            for version, file in self.versions.items()
        }
        document: dict[str, object] = {
            "name": self.name,
            "dist-tags": {"latest": [*self.versions][-1]} if self.versions else {},
            "versions": versions,
        }
        if not short:
            times = {version: file.published.isoformat() for version, file in self.versions.items()}
            document |= {"_id": self.name, "time": times}
        body = json.dumps(document).encode()
        media_type = "application/vnd.npm.install-v1+json" if short else "application/json"
        return Reply(200, body, (("content-type", media_type), ("etag", f'"{sha256(body)[:16]}"')))


def file_reply(file: File, seen: Seen) -> Reply:
    """A file, or the part of it that Range asks for where If-Range still holds (RFC 9110, 13.1.5 and 14.2)."""
    etag = f'"{sha256(file.body)[:16]}"'
    headers = (("content-type", "application/octet-stream"), ("etag", etag), ("accept-ranges", "bytes"))
    asked = seen.headers.get("range", "")
    if not asked.startswith("bytes=") or seen.headers.get("if-range", etag) != etag:
        return Reply(200, file.body, headers)
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start = int(first) if first else len(file.body) - int(last)
    stop = min(int(last) + 1, len(file.body)) if first and last else len(file.body)
    if start >= len(file.body):
        return Reply(416, b"", (("content-range", f"bytes */{len(file.body)}"),))
    part = (("content-range", f"bytes {start}-{stop - 1}/{len(file.body)}"),)
    return Reply(206, file.body[start:stop], headers + part)


def conditional(reply: Reply, seen: Seen) -> Reply:
    """304 where the client holds the same representation already (RFC 9110, 13.2.2)."""
    headers = dict(reply.headers)
    tags, since = seen.headers.get("if-none-match"), seen.headers.get("if-modified-since")
    if tags is not None:
        same = "etag" in headers and headers["etag"] in tags
    else:
        same = since is not None and since == headers.get("last-modified")
    return Reply(304, b"", reply.headers) if same and reply.status == 200 else reply
