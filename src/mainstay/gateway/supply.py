"""Getting what a call asks for, from the first upstream that has the project and as this caller may see it."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mainstay.db.artifacts import StoredArtifact
from mainstay.errors import (
    AuthorizationRequired,
    MainstayError,
    NotFound,
    PolicyRefused,
    UnsupportedDocument,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from mainstay.model import Artifact, File, Index, Sidecar
from mainstay.store.absences import Absences
from mainstay.upstream.artifacts import Artifacts
from mainstay.upstream.documents import Asked, Documents, Obtained
from mainstay.upstream.fill import Fill, Wanted
from mainstay.upstream.parser import Parser
from mainstay.upstream.registry import Registry, Upstream, storage_key
from mainstay.upstream.takedowns import Takedowns

RECHECK_LIFETIMES = 12
"""A file asked for without its index (lock files) has that index checked after so many document lifetimes."""
RECHECK_PAUSE_S = 10.0
REMEMBERED_RECHECKS = 20_000


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
        absences: Absences,
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
        self._absences = absences
        self._rechecks: OrderedDict[tuple[str, str], float] = OrderedDict()

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

    async def describe(self, views: Sequence[View]) -> None:
        """Have a registry's description of itself at hand, where the protocol has one. Raises as `index`."""
        if (description := views[0].upstream.ecosystem.description) is not None:
            await self.index(description, views)

    async def stored(
        self, artifact: Artifact, suffix: str, views: Sequence[View]
    ) -> tuple[View, StoredArtifact] | None:
        """The file from the store, for a caller who may have it. A file got with a credential is given only after the
        same credential was good for its index within the document lifetime."""
        for view in views:
            self.refuse_blocked(view, artifact)
            key = _key(view, artifact, suffix)
            # A sidecar that upstream has not may have been derived and stored.
            stored = None if not suffix and self._absences.absent(key) else await self._artifacts.stored(key)
            if stored is None:
                continue
            self.refuse_blocked(view, artifact, stored.version)
            if view.scope:
                index = view.upstream.ecosystem.index_of(artifact)
                obtained = await self.documents.obtain(Asked(view.upstream, index, view.scope, view.authorization))
                if obtained.how == "stale":
                    raise UpstreamUnavailable("upstream cannot confirm the authorisation just now.", hint="Try again.")
            else:
                await self._recheck(view.upstream, artifact)
            return view, stored
        return None

    async def _recheck(self, upstream: Upstream, artifact: Artifact) -> None:
        """Have the index of a file that is asked for without it looked after, now and then: not even its age is looked
        up on each warm hit, and a project whose files no index names (Go, Maven) may have none here."""
        key, now = (upstream.id, artifact.project), time.monotonic()
        if now < self._rechecks.get(key, 0.0):
            return
        older_than_s = RECHECK_LIFETIMES * self._document_ttl_s
        self._rechecks[key] = now + min(RECHECK_PAUSE_S, older_than_s)
        self._rechecks.move_to_end(key)
        if len(self._rechecks) > REMEMBERED_RECHECKS:
            self._rechecks.popitem(last=False)
        await self.documents.recheck(Asked(upstream, upstream.ecosystem.index_of(artifact)), older_than_s)

    async def file(self, artifact: Artifact, views: Sequence[View]) -> tuple[View, File]:
        """What the project's index says of the file.

        Raises:
            NotFound: the index does not list it, or upstream has no such file. PolicyRefused: it did, and upstream took
                it away.
        """
        index = artifact_index(artifact, views)
        if views[0].upstream.ecosystem.addressed(artifact):
            return await self._addressed(artifact, index, views)
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

    async def _addressed(self, artifact: Artifact, index: Index, views: Sequence[View]) -> tuple[View, File]:
        """A file that no index names: of the one upstream there is, else of the first that has the project."""
        view = views[0] if len(views) == 1 else await self._holder(index, views)
        self.refuse_blocked(view, artifact)
        if self._absences.absent(_key(view, artifact, "")):
            raise NotFound(f"upstream has no {artifact.filename}.")
        upstream = view.upstream
        url = self.registry.base(upstream, artifact.role) + artifact.path
        return view, File(artifact.project, artifact.version, artifact.filename, url)

    async def _vouched(self, view: View, file: File, artifact: Artifact, suffix: str) -> Mapping[str, str]:
        """The digests in the checksum beside a file, which both come from the same visit; empty where it has none."""
        try:
            stored = await self.sidecar(Sidecar(artifact, suffix), view, file, derive=False)
        except NotFound:
            return {}
        except UpstreamRefused as error:
            if error.upstream_status != 200:
                raise
            return {}  # a page in its place
        return view.upstream.ecosystem.parse_checksum(suffix, await self._read(stored))

    async def _read(self, stored: StoredArtifact) -> bytes:
        try:
            return await asyncio.to_thread(self._artifacts.blob_path(stored).read_bytes)
        except FileNotFoundError as error:
            raise UpstreamUnavailable(
                f"{stored.filename} was evicted in this very moment.", hint="Ask again.", retry_after_s=1.0
            ) from error

    async def _holder(self, index: Index, views: Sequence[View]) -> View:
        """The first of several upstreams that has the project; where none lists it, the last: the public one."""
        try:
            return (await self.index(index, views))[0]
        except NotFound:
            return views[-1]

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

    async def sidecar(self, sidecar: Sidecar, view: View, file: File, *, derive: bool = True) -> StoredArtifact:
        """A sidecar: upstream's own, or with `derive` made from the artifact where upstream has none.

        Raises:
            NotFound: there is none; remembered for a short time.
        """
        artifact, suffix = sidecar.artifact, sidecar.suffix
        ecosystem = view.upstream.ecosystem
        wanted = self._wanted(view, file, artifact, suffix)
        derivable = derive and suffix not in file.sidecars and ecosystem.derivable(artifact, suffix)
        own = suffix == ecosystem.checksum_of(artifact)
        absent = self._absences.absent(wanted.key)
        if derivable and (absent or not own):
            return await self._derive(sidecar, view, file, wanted)
        if absent:
            raise NotFound(f"upstream has no {artifact.filename}{suffix}.")
        try:
            return await _insist(lambda: self._artifacts.fill(view.upstream, wanted, "sidecar"))
        except NotFound:
            self._absences.note(wanted.key, self._negative_ttl_s)
            if derivable:
                return await self._derive(sidecar, view, file, wanted)
            raise

    def open(self, stored: StoredArtifact) -> int | None:
        """A descriptor of a stored file's bytes, None where they were evicted in this moment."""
        return self._artifacts.open(stored)

    def note_absent(self, view: View, artifact: Artifact) -> None:
        """Remember for a short time that upstream has no such file."""
        self._absences.note(_key(view, artifact, ""), self._negative_ttl_s)

    async def _derive(self, sidecar: Sidecar, view: View, file: File, wanted: Wanted) -> StoredArtifact:
        artifact = sidecar.artifact
        stored = await self._artifacts.stored(_key(view, artifact, ""))
        if stored is None:
            try:
                stored = await _insist(lambda: self.fill(view, file, artifact))
            except NotFound:
                self.note_absent(view, artifact)
                raise
        path = self._artifacts.blob_path(stored)

        def derive() -> bytes | None:
            with path.open("rb") as blob:
                return view.upstream.ecosystem.derive_sidecar(artifact, sidecar.suffix, blob)

        body = await asyncio.to_thread(derive)
        if body is None:
            self._absences.note(wanted.key, self._negative_ttl_s)
            raise NotFound(f"{artifact.filename} holds nothing to make {sidecar.suffix} from.")
        return await self._artifacts.save_derived(wanted, body)

    def _wanted(self, view: View, file: File, artifact: Artifact, suffix: str) -> Wanted:
        key = _key(view, artifact, suffix)
        digests = file.sidecars.get(suffix, {}) if suffix else file.digests
        ids = (view.upstream.ecosystem.id, view.upstream.id, artifact.project, file.version)
        blank = StoredArtifact(key, *ids, artifact.filename + suffix, file.url + suffix, "", 0, "", "", "", "", 0.0)
        size = None if suffix else file.size_bytes
        wanted = Wanted(key, file.url + suffix, digests, size, blank, view.authorization)
        vouching = "" if suffix else view.upstream.ecosystem.checksum_of(artifact)
        if not vouching:
            return wanted
        vouch = functools.partial(self._vouched, view, file, artifact, vouching)
        voucher, algorithm = _key(view, artifact, vouching), vouching.removeprefix(".")
        return dataclasses.replace(wanted, voucher=voucher, algorithm=algorithm, vouch=vouch)


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
