"""Getting what a call asks for, from the first upstream that has the project and as this caller may see it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mainstay.db.artifacts import StoredArtifact
from mainstay.errors import (
    AuthorizationRequired,
    MainstayError,
    NotFound,
    PolicyRefused,
    UnsupportedDocument,
    UpstreamError,
    UpstreamUnavailable,
)
from mainstay.model import Artifact, File, Index, Sidecar
from mainstay.upstream.artifacts import Artifacts
from mainstay.upstream.documents import Asked, Documents, Obtained
from mainstay.upstream.fill import Fill, Wanted
from mainstay.upstream.parser import Parser
from mainstay.upstream.registry import Registry, Upstream, storage_key
from mainstay.upstream.takedowns import Takedowns

RECHECK_LIFETIMES = 12
"""A file asked for without its index (lock files) has that index checked after so many document lifetimes."""
REMEMBERED_ABSENCES = 20_000


@dataclass(frozen=True, slots=True)
class View:
    """One upstream as one caller may see it. `scope` keeps apart what was fetched with a caller's own credential."""

    upstream: Upstream
    scope: str = ""
    authorization: str = field(default="", repr=False)


class Supply:
    """Indexes and files for callers. One for each worker."""

    def __init__(
        self,
        registry: Registry,
        documents: Documents,
        artifacts: Artifacts,
        parser: Parser,
        takedowns: Takedowns,
        *,
        secret: bytes,
        document_ttl_s: float,
        negative_ttl_s: float,
    ) -> None:
        self.registry = registry
        self.documents = documents
        self.takedowns = takedowns
        self._artifacts = artifacts
        self._parser = parser
        self._secret = secret
        self._document_ttl_s = document_ttl_s
        self._negative_ttl_s = negative_ttl_s
        self._absent: OrderedDict[str, float] = OrderedDict()

    def views(self, upstreams: Sequence[Upstream], authorization: str, *, meant: bool) -> list[View]:
        """The ways to ask, in order: without the caller's credential first where that may do, so that what is public is
        shared between callers and what is not is kept apart.

        The caller's credential goes to private upstreams, and to another one only where it was `meant` for that: the
        caller asked the registry's own address.
        """
        views = []
        for upstream in upstreams:
            own = bool(authorization) and not upstream.authorization and (meant or upstream.private)
            if not own or not upstream.private:
                views.append(View(upstream))
            if own:
                scope = hmac.new(self._secret, authorization.encode(), hashlib.sha256).hexdigest()
                views.append(View(upstream, scope, authorization))
        return views

    async def index(self, index: Index, views: Sequence[View]) -> tuple[View, Obtained]:
        """The index from the first upstream that has it.

        Raises:
            NotFound: none has. AuthorizationRequired: the first that knows of it wants a credential.
            UpstreamError: one that might have it cannot say: the next is not asked instead.
        """
        refusal: MainstayError | None = None
        for number, view in enumerate(views):
            try:
                return view, await self.documents.obtain(Asked(view.upstream, index, view.scope, view.authorization))
            except NotFound as error:
                refusal = refusal or error
            except AuthorizationRequired as error:
                refusal = error
                following = views[number + 1] if number + 1 < len(views) else None
                if following is None or following.upstream is not view.upstream:
                    raise
        if refusal is None:
            raise UpstreamUnavailable("no upstream is configured for this ecosystem.")
        raise refusal

    async def stored(
        self, artifact: Artifact, suffix: str, views: Sequence[View]
    ) -> tuple[View, StoredArtifact] | None:
        """The file from the store, for a caller who may have it. A file got with a credential is given only after the
        same credential was good for its index within the document lifetime."""
        for view in views:
            self.refuse_blocked(view, artifact)
            stored = await self._artifacts.stored(_key(view, artifact, suffix))
            if stored is None:
                continue
            self.refuse_blocked(view, artifact, stored.version)
            index = view.upstream.ecosystem.index_of(artifact)
            if view.scope:
                obtained = await self.documents.obtain(Asked(view.upstream, index, view.scope, view.authorization))
                if obtained.how == "stale":
                    raise UpstreamUnavailable("upstream cannot confirm the authorisation just now.", hint="Try again.")
            else:
                asked = Asked(view.upstream, index)
                await self.documents.recheck(asked, RECHECK_LIFETIMES * self._document_ttl_s)
            return view, stored
        return None

    async def file(self, artifact: Artifact, views: Sequence[View]) -> tuple[View, File]:
        """What the project's index says of the file.

        Raises:
            NotFound: the index does not list it. PolicyRefused: it did, and upstream took it away.
        """
        index = artifact_index(artifact, views)
        for other in views[0].upstream.ecosystem.alternatives_to(index):
            if await self.documents.at_hand(Asked(views[0].upstream, other, views[0].scope)):
                index = other
        view, obtained = await self.index(index, views)
        self.refuse_blocked(view, artifact)
        try:
            found = await self._parser.find(self.documents.place(index, obtained.document), artifact)
        except UnsupportedDocument:
            await self.documents.forget(obtained.document.key)
            raise
        if found is None:
            raise NotFound(f"upstream's index of {artifact.project} does not list {artifact.filename}.")
        return view, found

    def refuse_blocked(self, view: View, artifact: Artifact, version: str = "") -> None:
        """Raise PolicyRefused where the release is blocked. `version` is the index's spelling where it is known."""
        version = version or artifact.version
        block = self.takedowns.of(view.upstream, artifact.project).on(version, artifact.filename)
        if block is not None:
            purl = f"pkg:{block.ecosystem}/{artifact.project}@{version}"
            raise PolicyRefused(
                f"{artifact.filename} is refused: {block.reason} ({block.evidence}).",
                hint=f"Choose another version; if this one is wanted all the same: mainstay unblock {purl}",
            )

    def fill(self, view: View, file: File, artifact: Artifact) -> tuple[Fill, bool]:
        """Begin or join the fill of a file."""
        return self._artifacts.fill(view.upstream, self._wanted(view, file, artifact, ""), "artifact")

    async def sidecar(self, sidecar: Sidecar, view: View, file: File) -> StoredArtifact:
        """A sidecar: upstream's own, or made from the artifact where upstream has none.

        Raises:
            NotFound: there is none; remembered for a short time.
        """
        artifact, suffix = sidecar.artifact, sidecar.suffix
        ecosystem = view.upstream.ecosystem
        wanted = self._wanted(view, file, artifact, suffix)
        if self._absent.get(wanted.key, 0.0) > time.monotonic():
            raise NotFound(f"upstream has no {artifact.filename}{suffix}.")
        if suffix not in file.sidecars and ecosystem.derivable(artifact, suffix):
            return await self._derive(sidecar, view, file, wanted)
        try:
            return await _insist(lambda: self._artifacts.fill(view.upstream, wanted, "sidecar"))
        except NotFound:
            self.note_absent(wanted.key)
            raise

    def open(self, stored: StoredArtifact) -> int | None:
        """A descriptor of a stored file's bytes, None where they were evicted in this moment."""
        return self._artifacts.open(stored)

    def note_absent(self, key: str) -> None:
        """Remember for a short time that upstream has no such file."""
        self._absent[key] = time.monotonic() + self._negative_ttl_s
        if len(self._absent) > REMEMBERED_ABSENCES:
            self._absent.popitem(last=False)

    async def _derive(self, sidecar: Sidecar, view: View, file: File, wanted: Wanted) -> StoredArtifact:
        artifact = sidecar.artifact
        stored = await self._artifacts.stored(_key(view, artifact, ""))
        if stored is None:
            stored = await _insist(lambda: self.fill(view, file, artifact))
        path = self._artifacts.blob_path(stored)

        def derive() -> bytes | None:
            with path.open("rb") as blob:
                return view.upstream.ecosystem.derive_sidecar(artifact, sidecar.suffix, blob)

        body = await asyncio.to_thread(derive)
        if body is None:
            self.note_absent(wanted.key)
            raise NotFound(f"{artifact.filename} holds nothing to make {sidecar.suffix} from.")
        return await self._artifacts.save_derived(wanted, body)

    def _wanted(self, view: View, file: File, artifact: Artifact, suffix: str) -> Wanted:
        key = _key(view, artifact, suffix)
        digests = file.sidecars.get(suffix, {}) if suffix else file.digests
        ids = (view.upstream.ecosystem.id, view.upstream.id, artifact.project, file.version)
        blank = StoredArtifact(key, *ids, artifact.filename + suffix, file.url + suffix, "", 0, "", "", "", "", 0.0)
        size = None if suffix else file.size_bytes
        return Wanted(key, file.url + suffix, digests, size, blank, view.authorization)


async def _insist(begin: Callable[[], tuple[Fill, bool]]) -> StoredArtifact:
    """Wait for a fill; who joined one that was under way and failed begins one of its own."""
    fill, joined = begin()
    try:
        return await fill.finished()
    except UpstreamError:
        if not joined:
            raise
    return await begin()[0].finished()


def artifact_index(artifact: Artifact, views: Sequence[View]) -> Index:
    """The index that lists the artifact."""
    if not views:
        raise UpstreamUnavailable("no upstream is configured for this ecosystem.")
    return views[0].upstream.ecosystem.index_of(artifact)


def _key(view: View, artifact: Artifact, suffix: str) -> str:
    ids = (view.upstream.ecosystem.id, view.upstream.id, artifact.project, artifact.filename + suffix)
    return storage_key("artifact", *ids, view.scope)
