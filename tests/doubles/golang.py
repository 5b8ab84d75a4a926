"""What the double has on offer as a Go module proxy, with a checksum database beside it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import timedelta

from doubles.registry import EPOCH, File, content, file_reply, sha256
from doubles.wire import Reply, Seen

TEXT = (("content-type", "text/plain; charset=utf-8"),)
SUMS = "sumdb/sum.example/"


def escape(name: str) -> str:
    """A module path or version as it is written in an address: `!` and the small letter for each capital one."""
    return re.sub("[A-Z]", lambda match: "!" + match[0].lower(), name)


@dataclass
class Module:
    """A module of the proxy below `base_url`. No list of versions names its files, and nothing gives their digests."""

    name: str
    base_url: str
    versions: dict[str, dict[str, File]] = field(default_factory=dict)
    gone: int = 0

    def release(self, version: str, archive: bytes | None = None) -> Module:
        """Add a version with its zip (100,000 bytes unless given), go.mod and date."""
        published = EPOCH + timedelta(days=len(self.versions))
        told = {"Version": version, "Time": published.isoformat().replace("+00:00", "Z")}
        bodies = {
            ".info": json.dumps(told).encode(),
            ".mod": f"module {self.name}\n".encode(),
            ".zip": archive if archive is not None else content(100_000, seed=len(self.versions) + 200),
        }
        files = {}
        for suffix, body in bodies.items():
            path = f"{escape(self.name)}/@v/{escape(version)}{suffix}"
            files[suffix] = File(version + suffix, body, f"/go/{path}", self.base_url + path, published, {})
        self.versions = {**self.versions, version: files}
        return self

    def remove(self, version: str) -> None:
        """Take a version down: gone from the list, its files 404."""
        self.versions = {key: files for key, files in self.versions.items() if key != version}

    def disappear(self, status: int = 404) -> None:
        """The whole module is gone (404 or 410); 0 brings it back."""
        self.gone = status

    def listing(self) -> Reply:
        """One version on each line."""
        return Reply(200, "".join(f"{version}\n" for version in self.versions).encode(), TEXT)

    def answer(self, rest: str, seen: Seen) -> Reply | None:
        """What is at `rest`, the part of the path behind the module's name."""
        if self.gone:
            return Reply(self.gone, b"not found: gone\n", TEXT)
        if rest == "@v/list":
            return self.listing()
        if rest == "@latest" and self.versions:
            return file_reply([*self.versions.values()][-1][".info"], seen)
        found = (file for files in self.versions.values() for file in files.values())
        file = next((file for file in found if file.path == seen.path), None)
        return file_reply(file, seen) if file else None


@dataclass
class GoProxy:
    """Every module, and the checksum database `sum.example`, which grows with each question for its newest tree."""

    modules: dict[str, Module] = field(default_factory=dict)
    tree_size: int = 0

    def answer(self, seen: Seen) -> Reply | None:
        """The reply to a request below `/go/`."""
        path = seen.path.removeprefix("/go/")
        if path.startswith(SUMS):
            return self._sums(path.removeprefix(SUMS))
        name, _, rest = path.partition("/@")
        module = next((module for module in [*self.modules.values()] if escape(module.name) == name), None)
        return module.answer(f"@{rest}", seen) if module else None

    def _sums(self, rest: str) -> Reply | None:
        """Texts in the shape of the database's, unsigned: whoever passes them on must not look into them."""
        if rest == "supported":
            return Reply(200, b"", TEXT)
        if rest == "latest":
            self.tree_size += 1
            return Reply(200, f"go.sum database tree\n{self.tree_size}\nroot\n\n- sum.example key\n".encode(), TEXT)
        if rest.startswith("lookup/"):
            name, _, version = rest.removeprefix("lookup/").partition("@")
            module = next((module for module in [*self.modules.values()] if escape(module.name) == name), None)
            files = module.versions.get(version) if module else None
            line = f"{module.name} {version} h1:{sha256(files['.zip'].body)}\n" if module and files else ""
            return Reply(200, f"7\n{line}\n".encode(), TEXT) if files else None
        return Reply(200, content(256, seed=len(rest)), (("content-type", "application/octet-stream"),))
