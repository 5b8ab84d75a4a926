"""One project of its own at an upstream and a gateway that many tests share, in the words of every protocol."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, Self

import pytest

from doubles.cargo import Crate, index_path
from doubles.client import Received
from doubles.gateway import Gateway
from doubles.golang import Module, escape
from doubles.maven import Coordinates
from doubles.registry import File, Package, Project
from doubles.upstream import Script, Upstream, wait_until
from doubles.wire import Reply, Seen

_numbers = itertools.count(1)


class Offer(Protocol):
    """A project as the double has it on offer."""

    def remove(self, version: str) -> None:
        """Take a release down."""

    def disappear(self, status: int = 404) -> None:
        """The whole project is gone; 0 brings it back."""


class Stand(ABC):
    """A fresh name, where it is at the gateway (`index`, and `file` of 1.0), what upstream has of it, and its faults.

    Versions are told as two numbers ("1.0") and spelled as the protocol wants them. `word` is in every path of the
    project, here and upstream, and in no other project's.
    """

    ecosystem: ClassVar[str]
    vouched: ClassVar[str]
    """What a whole file was checked against where upstream is honest: `mainstay-verified`."""
    listed: ClassVar[bool]
    """Whether the index names the files, with their digests."""
    url_of: ClassVar[str]
    """The attribute of the double with the registry's address."""

    def __init__(self, upstream: Upstream, gateway: Gateway, word: str = "") -> None:
        self.upstream, self.gateway = upstream, gateway
        self.word = word or f"demo{next(_numbers)}x"
        self.name = self.named(self.word)
        self.file = self.file_of("1.0")
        self._scripts: list[Script] = []

    @staticmethod
    def named(word: str) -> str:
        """The project's name for a word; also a pattern of names for a word that ends in `*`."""
        return word

    @staticmethod
    def spell(version: str) -> str:
        """A version as the protocol spells it."""
        return f"{version}.0"

    @property
    @abstractmethod
    def index(self) -> str:
        """The gateway's path of the project's index."""

    @abstractmethod
    def file_of(self, version: str) -> str:
        """The gateway's path of a release's file."""

    @property
    @abstractmethod
    def offer(self) -> Offer:
        """The project at upstream."""

    @abstractmethod
    def release(self, version: str = "1.0", body: bytes | None = None) -> Self:
        """Upstream adds a release of one file."""

    @abstractmethod
    def held(self, version: str = "1.0") -> File:
        """A release's file at upstream."""

    @abstractmethod
    def honest(self) -> Reply:
        """The index as upstream has it."""

    @property
    @abstractmethod
    def index_at(self) -> str:
        """The index's path at upstream."""

    @abstractmethod
    def mark(self, version: str) -> str:
        """What an index that lists the release holds."""

    def file_at(self, version: str = "1.0") -> str:
        """A pattern for the path of a release's file at upstream."""
        return f"*/{self.word}-{self.spell(version)}.*"

    def purl(self, version: str = "1.0") -> str:
        """The release as a package URL."""
        return f"pkg:{self.ecosystem}/{self.name}@{self.spell(version)}"

    def remove(self, version: str) -> Self:
        """Upstream takes a release down."""
        self.offer.remove(self.spell(version))
        return self

    def disappear(self, status: int = 404) -> None:
        """Upstream has none of it any more; 0 brings it back."""
        self.offer.disappear(status)

    def lists(self, got: Received, version: str = "1.0") -> bool:
        """Whether a reply is an index that lists the release."""
        return got.status == 200 and self.mark(version) in got.text

    def listed_here(self, version: str = "1.0") -> bool:
        """Whether the gateway's index lists the release."""
        return self.lists(self.fetch(self.index), version)

    def on_index(self) -> Script:
        """What is to go wrong with the project's index."""
        return self.on(self.index_at)

    def on_file(self, version: str = "1.0") -> Script:
        """What is to go wrong with a release's file."""
        return self.on(self.file_at(version))

    def on(self, pattern: str, *, method: str | None = None) -> Script:
        """What is to go wrong at some other path of upstream's."""
        self._scripts.append(self.upstream.on(pattern, method=method))
        return self._scripts[-1]

    def seen_index(self) -> list[Seen]:
        """What upstream was asked of the index."""
        return self.upstream.seen(self.index_at)

    def seen_file(self, version: str = "1.0") -> list[Seen]:
        """What upstream was asked of a release's file."""
        return self.upstream.seen(self.file_at(version))

    def seen(self) -> list[Seen]:
        """Everything that upstream was asked of the project."""
        return self.upstream.seen(f"*{self.word}*")

    def fetch(self, path: str, **options: Any) -> Received:
        """Ask the gateway."""
        return self.gateway.fetch(path, **options)

    def wait_for(self, path: str, true: Callable[[Received], object], what: str, timeout_s: float = 10) -> None:
        """Ask the gateway for a path until the reply is as it is to be."""
        wait_until(lambda: true(self.fetch(path)), f"{self.name}: {what}", timeout_s)

    def beside(self, ecosystem: str) -> Stand:
        """The same name at another registry."""
        return STANDS[ecosystem](self.upstream, self.gateway, self.word)

    def failures(self, kind: str) -> float:
        """How many requests of this kind `/metrics` counts as failed or refused so far."""
        labels = {"ecosystem": self.ecosystem, "kind": kind}
        failed = sum(
            self.gateway.metric("mainstay_requests_total", outcome=word, **labels) for word in ("error", "refused")
        )
        return failed + self.gateway.metric("mainstay_refused_total", **labels)

    def heal(self) -> None:
        """Nothing goes wrong here any more."""
        for script in self._scripts:
            script.heal()


class PypiStand(Stand):
    """A project of the simple index with a source archive in each release."""

    ecosystem, vouched, listed, url_of = "pypi", "sha256", True, "simple_url"

    @staticmethod
    def spell(version: str) -> str:
        """As it is."""
        return version

    @property
    def index(self) -> str:
        """The project's page."""
        return f"/pypi/simple/{self.name}/"

    def file_of(self, version: str) -> str:
        """The source archive."""
        return f"/pypi/files/{self.name}/{self.name}-{version}.tar.gz"

    @property
    def offer(self) -> Project:
        """The project of the simple index."""
        return self.upstream.project(self.name)

    def release(self, version: str = "1.0", body: bytes | None = None) -> Self:
        """Add a release of one source archive."""
        self.offer.release(version, {f"{self.name}-{version}.tar.gz": body} if body is not None else None)
        return self

    def held(self, version: str = "1.0") -> File:
        """The source archive."""
        return self.offer.releases[version][0]

    def honest(self) -> Reply:
        """The page as HTML."""
        return self.offer.index("text/html")

    @property
    def index_at(self) -> str:
        """The project's page."""
        return f"/simple/{self.name}/"

    def mark(self, version: str) -> str:
        """The archive's name."""
        return f"{self.name}-{version}.tar.gz"

    def file_at(self, version: str = "1.0") -> str:
        """The archive, without its sidecars."""
        return f"*/{self.name}-{version}.tar.gz"


class NpmStand(Stand):
    """A package of the npm-like registry."""

    ecosystem, vouched, listed, url_of = "npm", "sha512", True, "npm_url"

    @property
    def index(self) -> str:
        """The packument."""
        return f"/npm/{self.name}"

    def file_of(self, version: str) -> str:
        """The tarball."""
        return f"/npm/{self.name}/-/{self.name}-{self.spell(version)}.tgz"

    @property
    def offer(self) -> Package:
        """The package."""
        return self.upstream.package(self.name)

    def release(self, version: str = "1.0", body: bytes | None = None) -> Self:
        """Add a version with its tarball."""
        self.offer.release(self.spell(version), body)
        return self

    def held(self, version: str = "1.0") -> File:
        """The tarball."""
        return self.offer.versions[self.spell(version)]

    def honest(self) -> Reply:
        """The full packument."""
        return self.offer.packument("application/json")

    @property
    def index_at(self) -> str:
        """The packument."""
        return f"/npm/{self.name}"

    def mark(self, version: str) -> str:
        """The tarball's name."""
        return f"{self.name}-{self.spell(version)}.tgz"


class GoStand(Stand):
    """A module with a capital letter in its path, which addresses escape. Nothing but the client's go.sum vouches for
    its files, and no index names them: a file is asked for at its own address alone."""

    ecosystem, vouched, listed, url_of = "golang", "first-seen", False, "go_url"

    @staticmethod
    def named(word: str) -> str:
        """Below a host, as module paths are."""
        return f"registry.example/{word.capitalize()}"

    @staticmethod
    def spell(version: str) -> str:
        """Semantic, with a v."""
        return f"v{version}.0"

    @property
    def index(self) -> str:
        """The list of versions."""
        return f"/go/{escape(self.name)}/@v/list"

    def file_of(self, version: str) -> str:
        """The zip."""
        return f"/go/{escape(self.name)}/@v/{self.spell(version)}.zip"

    @property
    def offer(self) -> Module:
        """The module."""
        return self.upstream.module(self.name)

    def release(self, version: str = "1.0", body: bytes | None = None) -> Self:
        """Add a version with its zip."""
        self.offer.release(self.spell(version), body)
        return self

    def held(self, version: str = "1.0") -> File:
        """The zip."""
        return self.offer.versions[self.spell(version)][".zip"]

    def honest(self) -> Reply:
        """The list of versions."""
        return self.offer.listing()

    @property
    def index_at(self) -> str:
        """The list of versions."""
        return f"/go/{escape(self.name)}/@v/list"

    def mark(self, version: str) -> str:
        """A line."""
        return f"{self.spell(version)}\n"

    def file_at(self, version: str = "1.0") -> str:
        """The zip."""
        return f"/go/{escape(self.name)}/@v/{self.spell(version)}.zip"


class CargoStand(Stand):
    """A crate of the sparse registry. The registry's config.json is asked for before anything else."""

    ecosystem, vouched, listed, url_of = "cargo", "sha256", True, "cargo_url"

    @property
    def index(self) -> str:
        """The crate's lines."""
        return f"/cargo/{index_path(self.name)}"

    def file_of(self, version: str) -> str:
        """The crate's file."""
        return f"/cargo/crates/{self.name}/{self.spell(version)}/download"

    @property
    def offer(self) -> Crate:
        """The crate."""
        return self.upstream.crate(self.name)

    def release(self, version: str = "1.0", body: bytes | None = None) -> Self:
        """Add a version with its file."""
        self.offer.release(self.spell(version), body)
        return self

    def held(self, version: str = "1.0") -> File:
        """The crate's file."""
        return self.offer.versions[self.spell(version)]

    def honest(self) -> Reply:
        """The crate's lines."""
        return self.offer.index()

    @property
    def index_at(self) -> str:
        """The crate's lines."""
        return f"/cargo/{index_path(self.name)}"

    def mark(self, version: str) -> str:
        """The version in its line."""
        return f'"vers":"{self.spell(version)}"'

    def file_at(self, version: str = "1.0") -> str:
        """The crate's file."""
        return f"/crates/{self.name}/{self.spell(version)}/download"


class MavenStand(Stand):
    """A group and artifact with a jar in each version. No index names the jar; the .sha1 beside it vouches for it, and
    is asked for with it."""

    ecosystem, vouched, listed, url_of = "maven", "sha1", False, "maven_url"

    @staticmethod
    def named(word: str) -> str:
        """In a group."""
        return f"example.demo/{word}"

    @staticmethod
    def spell(version: str) -> str:
        """As it is."""
        return version

    @property
    def index(self) -> str:
        """The metadata."""
        return f"/maven/example/demo/{self.word}/maven-metadata.xml"

    def file_of(self, version: str) -> str:
        """The jar."""
        return f"/maven/example/demo/{self.word}/{version}/{self.word}-{version}.jar"

    @property
    def offer(self) -> Coordinates:
        """The group and artifact."""
        return self.upstream.coordinates(self.name)

    def release(self, version: str = "1.0", body: bytes | None = None) -> Self:
        """Add a version with its jar."""
        self.offer.release(version, body)
        return self

    def held(self, version: str = "1.0") -> File:
        """The jar."""
        return self.offer.versions[version][".jar"]

    def honest(self) -> Reply:
        """The metadata."""
        return self.offer.metadata()

    @property
    def index_at(self) -> str:
        """The metadata."""
        return self.index

    def mark(self, version: str) -> str:
        """An element of the list."""
        return f"<version>{version}</version>"

    def file_at(self, version: str = "1.0") -> str:
        """The jar, without its checksums."""
        return self.file_of(version)


STANDS: dict[str, type[Stand]] = {
    kind.ecosystem: kind for kind in (PypiStand, NpmStand, GoStand, CargoStand, MavenStand)
}
VOUCHED = [name for name, kind in STANDS.items() if kind.vouched != "first-seen"]
LISTED = [name for name, kind in STANDS.items() if kind.listed]

in_every_ecosystem = pytest.mark.parametrize("stand", STANDS, indirect=True)
where_upstream_vouches = pytest.mark.parametrize("stand", VOUCHED, indirect=True)
"""Not for Go: what catches a wrong zip is the client's go.sum."""
where_the_index_names_files = pytest.mark.parametrize("stand", LISTED, indirect=True)
"""Not for Go and Maven, whose files have their addresses by rule."""
