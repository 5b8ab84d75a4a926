"""What the double has on offer as a sparse cargo registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime

from doubles.registry import EPOCH, File, content, file_reply, sha256
from doubles.wire import Reply, Seen


def index_path(name: str) -> str:
    """Where a crate's lines are, below the index."""
    name = name.lower()
    folders = {1: "1", 2: "2", 3: f"3/{name[:1]}"}.get(len(name), f"{name[:2]}/{name[2:4]}")
    return f"{folders}/{name}"


@dataclass
class Crate:
    """A crate; its files are below `files_url`. Each change counts up `revision`, which its Last-Modified follows."""

    name: str
    files_url: str
    versions: dict[str, File] = field(default_factory=dict)
    yanked: set[str] = field(default_factory=set)
    revision: int = 0
    gone: int = 0
    dated: bool = True

    def release(self, version: str, archive: bytes | None = None) -> Crate:
        """Add a version with its file (100,000 bytes unless given)."""
        body = archive if archive is not None else content(100_000, seed=len(self.versions) + 300)
        path = f"crates/{self.name}/{version}/download"
        published = EPOCH + timedelta(days=len(self.versions))
        digests = {"sha256": sha256(body)}
        file = File(f"{self.name}-{version}.crate", body, f"/{path}", self.files_url + path, published, digests)
        self.versions = {**self.versions, version: file}
        self.revision += 1
        return self

    def remove(self, version: str) -> None:
        """Take a version down: no line, and its file 404."""
        self.versions = {key: file for key, file in self.versions.items() if key != version}
        self.revision += 1

    def disappear(self, status: int = 404) -> None:
        """The whole crate is gone (404, 410 or 451); 0 brings it back."""
        self.gone = status

    def index(self) -> Reply:
        """One line of JSON for each version, the oldest first."""
        if self.gone:
            return Reply(self.gone, b"gone\n", (("content-type", "text/plain"),))
        body = "".join(f"{self._line(version, file)}\n" for version, file in self.versions.items()).encode()
        modified = format_datetime(EPOCH + timedelta(minutes=self.revision), usegmt=True)
        headers = (("content-type", "text/plain"), ("etag", f'"{sha256(body)[:16]}"'), ("last-modified", modified))
        return Reply(200, body, headers)

    def _line(self, version: str, file: File) -> str:
        line: dict[str, object] = {
            "name": self.name, "vers": version, "deps": [], "cksum": file.digests["sha256"], "features": {},
            "yanked": version in self.yanked,
        }  # fmt: skip
        if self.dated:
            line["pubtime"] = file.published.isoformat().replace("+00:00", "Z")
        return json.dumps(line, separators=(",", ":"))


@dataclass
class CrateRegistry:
    """Every crate."""

    crates: dict[str, Crate] = field(default_factory=dict)

    def answer(self, seen: Seen, files_url: str, api_url: str) -> Reply | None:
        """The reply to a request below `/cargo/`; the two addresses are for its description of itself."""
        path = seen.path.removeprefix("/cargo/")
        if path == "config.json":
            return describe({"dl": f"{files_url}crates", "api": api_url.rstrip("/")})
        crate = next((crate for crate in [*self.crates.values()] if index_path(crate.name) == path), None)
        return crate.index() if crate else None

    def file(self, seen: Seen) -> Reply | None:
        """The reply to a request for a file."""
        files = (file for crate in [*self.crates.values()] for file in crate.versions.values())
        found = next((file for file in files if file.path == seen.path), None)
        return file_reply(found, seen) if found else None


def describe(description: Mapping[str, object]) -> Reply:
    """A registry's config.json."""
    body = json.dumps(description).encode()
    return Reply(200, body, (("content-type", "application/json"), ("etag", f'"{sha256(body)[:16]}"')))
