"""Frozen values that every part speaks in. No I/O, no clock, no protocol knowledge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """What an adapter may know of a request.

    `path` is the percent-decoded path below the ecosystem's mount, without a leading slash (`simple/flask/`);
    `raw_path` the same before decoding. `headers` has lower-case names. `query` is the raw query string.
    """

    path: str
    raw_path: str = ""
    method: str = "GET"
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Index:
    """A mutable document that lists the releases of one project.

    `project` is the normalised name, "" for a list of all projects. `path` is where upstream has
    it, below `role`'s base.
    `accept` is the Accept header to ask upstream with: a different one makes a different stored document.
    `form` names the representation wanted by the client (an adapter's own word, passed back to `render`). `opaque` says
    that it is a file of any kind that may change, and is served as it is.
    """

    project: str
    path: str
    role: str
    accept: str
    form: str
    opaque: bool = False


@dataclass(frozen=True, slots=True)
class Artifact:
    """One immutable file of one release, as asked for.

    The identity is (project, filename): where upstream keeps it is found in the project's index, together with its
    digests. `path` is the path asked for below `role`'s base, used when the index does not say more.
    """

    project: str
    version: str
    filename: str
    path: str
    role: str


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A small file that belongs to an artifact: its core metadata, its signature. `suffix` is appended to its URL."""

    artifact: Artifact
    suffix: str


@dataclass(frozen=True, slots=True)
class Generated:
    """A document that the gateway itself writes, without upstream (npm's ping)."""

    name: str


@dataclass(frozen=True, slots=True)
class Passthrough:
    """A call that upstream answers and that is not an index: search, advisories, keys.

    `path` is below `role`'s base and includes the query. `ttl_s` > 0 lets the reply to a GET be cached that long,
    0 never. `project` is set where the call names one, so that a private name goes to its own upstream only; `mentions`
    are names that may be meant where the call has a text, with the same effect for those that are private.
    """

    path: str
    role: str
    project: str = ""
    ttl_s: float = 0.0
    accept: str = "*/*"
    mentions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Redirect:
    """The canonical address is another one, given relative to the ecosystem's mount (`simple/flask/`)."""

    path: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A write (publish, tag, unpublish, login). Refused for now, in words."""

    what: str


Resource = Index | Artifact | Sidecar | Generated | Passthrough | Redirect | Upload


@dataclass(frozen=True, slots=True)
class Release:
    """One release as an index lists it. `filenames` may be empty where an index does not name files."""

    version: str
    published: datetime | None = None
    yanked: bool = False
    filenames: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """What an index says of one artifact.

    `url` is absolute. `digests` maps an algorithm (`sha256`, `sha512`, `sha1`) to lower-case hex; empty where the
    index gives none. `sidecars` maps a suffix (".metadata") to the sidecar's digests, as far as the index says.
    """

    project: str
    version: str
    filename: str
    url: str
    digests: Mapping[str, str] = field(default_factory=dict)
    size_bytes: int | None = None
    sidecars: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    published: datetime | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """Rendered bytes, as pieces so that a large one never exists whole in memory."""

    media_type: str
    pieces: Iterable[bytes]
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def body(self) -> bytes:
        """The whole body. Can be read once where `pieces` is an iterator."""
        return b"".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes of an index as upstream sent them, with where they came from (relative links need it).

    `description` is the registry's description of itself, where its protocol has one (cargo's config.json).
    `authorized` says that the gateway shows that registry a credential of its own, so that clients need none.
    """

    body: bytes
    media_type: str
    url: str
    description: bytes = b""
    authorized: bool = False


Keep = Callable[[Release], bool]
Link = Callable[[File], str]
Wanted = Callable[[File], bool]


class Listing(Protocol):
    """One parse of an index."""

    @property
    def releases(self) -> Sequence[Release]:
        """Every release listed, in the index's own order."""

    def find(self, artifact: Artifact) -> File | None:
        """The file that `artifact` names, or None where the index does not list it."""

    def files(self) -> Iterable[File]:
        """Every file listed. May be slow on a large index: not for the request path."""

    def render(self, keep: Keep, link: Link, form: str) -> Document:
        """The index in `form`, with only the releases that `keep` accepts and each file's address from `link`.

        A release that is not kept vanishes from every field, and pointers to it (tags, latest) move to a kept one.

        Raises:
            NotFound: `form` asks for a single release or tag that is not there or not kept.
        """

    def restored(self, older: Listing, wanted: Wanted) -> Listing:
        """This listing with those files of `older`, a listing of the same project, that `wanted` accepts and that are
        missing here. What both have is as here, and no pointer (tags, latest) moves to what comes back. A document
        that is not the one that lists a project's files stays as it is."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """Where a machine's own package managers say which registry they use.

    `commands` are run as they are, with `environ` on top of the environment so that they leave nothing behind:
    `{temporary}` in a value is a folder that goes with the command. `env` are variable names. `files` are paths in
    which `~` is the home folder, `$NAME` at the start a variable's folder, and a relative path is looked for in the
    working folder and its parents. What is found goes to the adapter's `find_upstreams` as a mapping from the command
    (joined by spaces), variable or path pattern to its text.
    """

    commands: tuple[tuple[str, ...], ...] = ()
    environ: tuple[tuple[str, str], ...] = ()
    env: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A registry that a client's configuration names. `extra` is False for the one that replaces the default."""

    url: str
    extra: bool = False
    namespaces: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class ClientFile:
    """One file of a client's own configuration, and what in it makes the client use the gateway.

    `places` are where the client looks for it: `~` is the home folder, `${NAME}` a variable and `${NAME:-DEFAULT}` one
    with a default, `{config}` the platform's folder for configuration. A place that is nothing but a variable which is
    set decides, then the first file that exists, else the last place.
    `form` names its syntax: "ini", "npmrc", "env", "yarnrc", "yaml", "toml", "xml" or "script" (a file of our own).
    `text` is what to write, below the section or element `under`; `{url}` is the mount's address without its last
    slash. `replaces` are the settings whose place it takes, each as its path of keys.
    `http_hosts` is the setting with the hosts that may be asked by plain http, "" where the client needs none, and
    `loopback_too` says whether loopback must be in it.
    `variables` go before the file.
    """

    places: tuple[str, ...]
    form: str
    text: str
    under: tuple[str, ...] = ()
    replaces: tuple[tuple[str, ...], ...] = ()
    http_hosts: str = ""
    loopback_too: bool = False
    variables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientSetup:
    """A client that can be told of the gateway in its own configuration. `programs` are its names on PATH."""

    name: str
    programs: tuple[str, ...]
    files: tuple[ClientFile, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What one document says of a release, `version`, and of its project. None is "not said", never "no".

    `licences` are expressions, names or whole texts as declared, of which a user may choose one; () where the document
    has a place for them and names none. `licence_files` are files that it names instead. `repository` and `homepage`
    are addresses, "" where the document has a place for one that is empty. `has_source` tells of a source distribution
    beside what is built, `binary_only` that every file is built for one platform. `sizes_bytes` are those of the
    release's files, `published` the times of all the project's releases that have one.
    """

    version: str = ""
    licences: tuple[str, ...] | None = None
    licence_files: tuple[str, ...] = ()
    classifiers: tuple[str, ...] | None = None
    repository: str | None = None
    homepage: str | None = None
    has_source: bool | None = None
    binary_only: bool | None = None
    sizes_bytes: tuple[int, ...] | None = None
    published: tuple[datetime, ...] | None = None
