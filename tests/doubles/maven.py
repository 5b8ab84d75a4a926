"""What the double has on offer as a Maven repository: metadata, artifacts, and checksums beside each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime

from doubles.registry import EPOCH, File, content, file_reply
from doubles.wire import Reply, Seen

SUMS = {".md5": "md5", ".sha1": "sha1"}


@dataclass
class Coordinates:
    """A group and artifact below `base_url`. `summed` says whether checksums are beside its files."""

    name: str
    base_url: str
    versions: dict[str, dict[str, File]] = field(default_factory=dict)
    revision: int = 0
    gone: int = 0
    summed: bool = True

    @property
    def artifact(self) -> str:
        """The name without the group."""
        return self.name.partition("/")[2]

    @property
    def folder(self) -> str:
        """The path of its folder, below the repository."""
        return f"{self.name.partition('/')[0].replace('.', '/')}/{self.artifact}"

    def release(self, version: str, jar: bytes | None = None) -> Coordinates:
        """Add a version with its pom and jar (100,000 bytes unless given)."""
        pom = f"<project><artifactId>{self.artifact}</artifactId><version>{version}</version></project>\n"
        bodies = {
            ".pom": pom.encode(),
            ".jar": jar if jar is not None else content(100_000, seed=len(self.versions) + 400),
        }
        published = EPOCH + timedelta(days=len(self.versions))
        files = {}
        for suffix, body in bodies.items():
            filename = f"{self.artifact}-{version}{suffix}"
            path = f"{self.folder}/{version}/{filename}"
            files[suffix] = File(filename, body, f"/maven/{path}", self.base_url + path, published, {})
        self.versions = {**self.versions, version: files}
        self.revision += 1
        return self

    def remove(self, version: str) -> None:
        """Take a version down: gone from the metadata, its files 404."""
        self.versions = {key: files for key, files in self.versions.items() if key != version}
        self.revision += 1

    def disappear(self, status: int = 404) -> None:
        """All of it is gone (404 or 410); 0 brings it back."""
        self.gone = status

    def metadata(self) -> Reply:
        """The list of versions, which says when it last changed."""
        modified = format_datetime(EPOCH + timedelta(minutes=self.revision), usegmt=True)
        return Reply(200, self._metadata(), (("content-type", "text/xml"), ("last-modified", modified)))

    def answer(self, path: str, seen: Seen) -> Reply | None:
        """What is at `path`, below the repository."""
        if self.gone:
            return Reply(self.gone, b"gone\n", (("content-type", "text/plain"),))
        for suffix, algorithm in SUMS.items():
            if path.endswith(suffix):
                body = self._body(path.removesuffix(suffix)) if self.summed else None
                return None if body is None else Reply(200, _hex(algorithm, body), (("content-type", "text/plain"),))
        if path == f"{self.folder}/maven-metadata.xml":
            return self.metadata()
        file = self._file(path)
        return file_reply(file, seen) if file else None

    def _metadata(self) -> bytes:
        listed = "".join(f"      <version>{version}</version>\n" for version in self.versions)
        newest = [*self.versions][-1] if self.versions else ""
        changed = EPOCH + timedelta(minutes=self.revision)
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<metadata>\n'
            f"  <groupId>{self.name.partition('/')[0]}</groupId>\n  <artifactId>{self.artifact}</artifactId>\n"
            f"  <versioning>\n    <latest>{newest}</latest>\n    <release>{newest}</release>\n"
            f"    <versions>\n{listed}    </versions>\n"
            f"    <lastUpdated>{changed:%Y%m%d%H%M%S}</lastUpdated>\n  </versioning>\n</metadata>\n"
        ).encode()

    def _file(self, path: str) -> File | None:
        found = (file for files in self.versions.values() for file in files.values())
        return next((file for file in found if file.path == f"/maven/{path}"), None)

    def _body(self, path: str) -> bytes | None:
        if path == f"{self.folder}/maven-metadata.xml":
            return self._metadata()
        file = self._file(path)
        return file.body if file else None


@dataclass
class MavenRepository:
    """Every artifact of the repository."""

    held: dict[str, Coordinates] = field(default_factory=dict)

    def answer(self, seen: Seen) -> Reply | None:
        """The reply to a request below `/maven/`."""
        path = seen.path.removeprefix("/maven/")
        found = next((one for one in [*self.held.values()] if path.startswith(f"{one.folder}/")), None)
        return found.answer(path, seen) if found else None


def _hex(algorithm: str, body: bytes) -> bytes:
    return hashlib.new(algorithm, body, usedforsecurity=False).hexdigest().encode()
