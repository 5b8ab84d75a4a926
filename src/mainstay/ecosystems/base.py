"""The adapter interface: one registry protocol as pure functions over paths and bytes.

No sockets, files, clock, database, framework, policy or UI. What an adapter cannot know it is told; what it finds out
it returns. Everything that is the same for every protocol (fetch, cache, policy, conditional requests) is elsewhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import BinaryIO, ClassVar

from mainstay.model import (
    Artifact,
    ClientSetup,
    Discovery,
    Document,
    Facts,
    File,
    Found,
    Index,
    Listing,
    Request,
    Resource,
    Source,
)


class Ecosystem(ABC):
    """One registry protocol. Instances hold no state."""

    id: ClassVar[str]
    """The purl type, which is also the file's name."""
    osv: ClassVar[str]
    """The ecosystem's name in the OSV schema."""
    label: ClassVar[str]
    """What people call it."""
    mount: ClassVar[str]
    """The first segment of its paths at the gateway."""
    roles: ClassVar[Mapping[str, str]]
    """Each role's prefix below the mount ("simple" -> "simple/"). The longest prefix that fits a path decides."""
    learned_role: ClassVar[str | None] = None
    """The role whose hosts are not configured but learned from the files that indexes list."""
    link_base: ClassVar[str | None] = None
    """How a rendered index reaches the mount: a relative prefix, or None where links must be absolute."""
    description: ClassVar[Index | None] = None
    """The document in which a registry says where its parts are, None where the protocol has none. It is had before
    anything else of a registry is read, and `open` gets it beside each index."""
    probe: ClassVar[str] = ""
    """A small project whose index may be asked for to learn the file hosts."""
    discovery: ClassVar[Discovery] = Discovery()
    authorization_scheme: ClassVar[str] = "Bearer"
    """What stands before a token in the Authorization header, "" where its clients send the token alone."""
    usage: ClassVar[tuple[str, ...]] = ()
    """Commands that a person can type to use it, with {url} for the mount's address."""
    clients: ClassVar[tuple[ClientSetup, ...]] = ()
    """The clients that `mainstay setup` can point at the gateway."""

    @abstractmethod
    def default_upstream(self) -> str:
        """The public registry's address, from a library that carries it. "" where none does."""

    @abstractmethod
    def bases(self, upstream: str) -> Mapping[str, str]:
        """Each role's base URL, ending in a slash, for the registry `upstream`. Learned roles are absent."""

    def bases_in(self, description: Source) -> Mapping[str, str]:
        """The base URL of each role that a registry's description of itself tells, ending in a slash.

        Raises:
            UnsupportedDocument: it is no such description.
        """
        return {}

    def find_upstreams(self, found: Mapping[str, str]) -> list[Found]:
        """The registries that the clients' configuration names. Malformed texts: what is not clear is ignored."""
        return []

    def fallbacks(self, found: Mapping[str, str]) -> list[Found]:
        """What the clients' configuration lets them ask beside their main registry, so past a gateway that stands in
        for that one. `url` may be the client's own word for such a way, where it is no address."""
        return [entry for entry in self.find_upstreams(found) if entry.extra]

    def comparable(self, project: str) -> str:
        """The spelling by which names are compared where several are one project's (also of patterns such as `a-*`)."""
        return project

    @abstractmethod
    def route(self, request: Request) -> Resource:
        """What a path below the mount asks for.

        Raises:
            NotFound: no such path in this protocol, a name that is not legal, or an attempt at traversal.
            NotAcceptable: an index in a representation that the protocol does not have.
        """

    @abstractmethod
    def index_of(self, artifact: Artifact) -> Index:
        """The index that lists `artifact`, or its release; for an empty project, one that tells of the registry."""

    def addressed(self, artifact: Artifact) -> bool:
        """Whether `artifact` is had by its path alone, because no index names this protocol's files or their digests
        (Go, Maven). Its index is then not asked for, unless to choose between several upstreams."""
        return False

    def checksum_of(self, artifact: Artifact) -> str:
        """The suffix of the sidecar that vouches for an addressed artifact, "" where there is none."""
        return ""

    def parse_checksum(self, suffix: str, body: bytes) -> Mapping[str, str]:
        """The digests in such a sidecar, as `File.digests`; empty where it is none."""
        return {}

    def alternatives_to(self, index: Index) -> tuple[Index, ...]:
        """Other stored documents that list the same files: one that is fresh already spares asking for `index`."""
        return ()

    def link_base_of(self, index: Index) -> str | None:
        """How the rendered `index` reaches the mount: a relative prefix, or None where its links must be absolute."""
        return self.link_base

    @abstractmethod
    def open(self, index: Index, source: Source) -> Listing:
        """Parse an index.

        Raises:
            UnsupportedDocument: the bytes are not what the protocol says (an HTML login page, truncated JSON).
        """

    @abstractmethod
    def path(self, file: File) -> str:
        """The path below the mount that routes to this file, percent-encoded."""

    def generate(self, name: str) -> Document:
        """A document of the gateway's own, for `Generated(name)`."""
        raise NotImplementedError(f"{self.id} generates nothing, asked for {name}")

    def derivable(self, artifact: Artifact, suffix: str) -> bool:
        """Whether `derive_sidecar` may succeed for this file: decided from its name alone."""
        return False

    def derive_sidecar(self, artifact: Artifact, suffix: str, blob: BinaryIO) -> bytes | None:
        """A sidecar made from the artifact's own bytes (seekable) where upstream has none, or None."""
        return None

    def facts(self, resource: Index | Artifact, load: Callable[[], Source]) -> Facts | None:
        """What a stored document says of a release: its licence, where its source is, how large it is. None where it is
        none that says such things.

        `load` reads it, and is called only where its name tells that it may; a sidecar has its suffix in its filename.

        Raises:
            UnsupportedDocument: it is not what its name tells; or `load` finds it gone.
        """
        return None

    def outgoing(self, path: str, body: bytes, private: PrivateNames) -> bytes:
        """A body that a client posts to `path`, without the names that must not reach a public registry."""
        return body

    def refusal(self, status: int, message: str) -> Document:
        """The body that makes this ecosystem's client show `message` to the person."""
        return Document("text/plain; charset=utf-8", (message.encode() + b"\n",))


class PrivateNames:
    """Tells whether a project belongs to a private upstream. Patterns are `name`, `prefix-*` or `@scope/*`."""

    def __init__(self, patterns: tuple[str, ...] = ()) -> None:
        self._exact = frozenset(pattern for pattern in patterns if not pattern.endswith("*"))
        self._prefixes = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))

    def __contains__(self, project: object) -> bool:
        return isinstance(project, str) and (project in self._exact or project.startswith(self._prefixes))
