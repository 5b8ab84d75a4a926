"""From a call to a reply: the whole of the request path, for every ecosystem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote, unquote

from mainstay.access.tokens import TOKEN_PATH
from mainstay.ecosystems.base import Ecosystem
from mainstay.errors import MethodRefused, NotFound, UpstreamError, UpstreamUnavailable
from mainstay.gateway.call import STAND_IN, Call
from mainstay.gateway.conditional import accepts_gzip
from mainstay.gateway.files import FileReplies
from mainstay.gateway.passing import Passing
from mainstay.gateway.personal import with_token
from mainstay.gateway.render import Renderings
from mainstay.gateway.reply import Bytes, Headers, Note, Reply, StoredFile
from mainstay.gateway.supply import Supply, View
from mainstay.model import (
    Artifact,
    Generated,
    Index,
    Passthrough,
    Redirect,
    Request,
    Resource,
    Sidecar,
    Upload,
)
from mainstay.upstream.documents import Obtained
from mainstay.upstream.listings import Plan, Stored
from mainstay.upstream.registry import Place, Upstream

CACHE_STATUS = {
    "hit": "mainstay; hit",
    "miss": "mainstay; fwd=miss; stored",
    "revalidated": "mainstay; fwd=stale; fwd-status=304",
    "stale": "mainstay; hit; detail=stale",
    "collapsed": "mainstay; fwd=miss; collapsed; detail=collapsed",
}
REVALIDATE = "no-cache"
"""Clients ask again each time, which is cheap here and lets a takedown take hold at once."""


class Handler:
    """Answers calls below the ecosystems' mounts, and calls to the registries' own addresses."""

    def __init__(
        self,
        ecosystems: Mapping[str, Ecosystem],
        supply: Supply,
        renderings: Renderings,
        files: FileReplies,
        passing: Passing,
    ) -> None:
        self._by_mount = {ecosystem.mount: ecosystem for ecosystem in ecosystems.values()}
        self._supply = supply
        self._renderings = renderings
        self._files = files
        self._passing = passing

    def ecosystem_of(self, call: Call) -> Ecosystem | None:
        """Whose the call is, if anybody's."""
        if call.origin:
            place = self._supply.registry.locate(call.origin + call.raw_path)
            return place.upstream.ecosystem if place else None
        return self._by_mount.get(call.raw_path.split("/", 2)[1] if "/" in call.raw_path else "")

    async def answer(self, call: Call, note: Note) -> Reply:
        """The reply. `note` is filled in on the way, so that a failure can be told of as well.

        Raises:
            MainstayError: the reply is a refusal.
        """
        await self._supply.takedowns.current()
        if call.origin:
            place = self._supply.registry.locate(call.origin + call.raw_path)
            if place is None:
                return await self._passing.forward(call, note)
            return await self._at_origin(call, place, note)
        ecosystem = self.ecosystem_of(call)
        if ecosystem is None:
            raise NotFound(
                f"there is nothing at {call.raw_path[:200]}.", hint="See /api/v1/upstreams for what there is."
            )
        note.ecosystem = ecosystem.id
        raw_path = call.raw_path.split("/", 2)[2] if call.raw_path.count("/") > 1 else ""
        resource = ecosystem.route(_request(call, raw_path))
        if isinstance(resource, Upload):
            raise MethodRefused(f"{resource.what} is refused.")
        return await self._answer(call, ecosystem, resource, None, note)

    async def _at_origin(self, call: Call, place: Place, note: Note) -> Reply:
        """A call to the registry's own address: what we do not know is passed on untouched and unstored."""
        ecosystem = place.upstream.ecosystem
        note.ecosystem, note.upstream = ecosystem.id, place.upstream.id
        try:
            resource = ecosystem.route(_request(call, place.raw_path))
        except NotFound:
            return await self._passing.forward(call, note, place.upstream)
        if isinstance(resource, Upload | Generated):
            return await self._passing.forward(call, note, place.upstream)
        return await self._answer(call, ecosystem, resource, place.upstream, note)

    async def _answer(
        self, call: Call, ecosystem: Ecosystem, resource: Resource, asked: Upstream | None, note: Note
    ) -> Reply:
        match resource:
            case Redirect(path):
                return self._redirect(call, ecosystem, path, asked)
            case Generated(name):
                document = ecosystem.generate(name)
                return Bytes(200, [("content-type", document.media_type)], document.body, note)
            case Index():
                note.kind, note.project = "index", resource.project
                return await self._index(call, resource, self._views(call, ecosystem, resource.project, asked), note)
            case Artifact():
                note.kind, note.project = "artifact", resource.project
                views = self._views(call, ecosystem, resource.project, asked)
                return await self._files.artifact(call, resource, views, note)
            case Sidecar(artifact):
                note.kind, note.project = "sidecar", artifact.project
                views = self._views(call, ecosystem, artifact.project, asked)
                return await self._files.sidecar(call, resource, views, note)
            case Passthrough():
                if private := self._supply.registry.claimed(ecosystem.id, resource.mentions):
                    resource = replace(resource, project=private)
                note.kind, note.project = "passthrough", resource.project
                views = self._views(call, ecosystem, resource.project, asked)
                # A call that names no project goes to the last upstream, which is the public one.
                asked_of = (views[0] if resource.project else views[-1]).upstream
                await self._supply.describe([view for view in views if view.upstream is asked_of])
                return await self._passing.answer(call, resource, views, note)
            case Upload():
                raise MethodRefused(f"{resource.what} is refused.")

    def _views(self, call: Call, ecosystem: Ecosystem, project: str, asked: Upstream | None) -> list[View]:
        """Whom to ask. At a registry's own address that registry alone, unless another claims the name."""
        upstreams: Sequence[Upstream] = self._supply.registry.for_project(ecosystem.id, project)
        if asked is not None:
            upstreams = [] if upstreams and upstreams[0].claims(project) and upstreams[0] is not asked else [asked]
            if not upstreams:
                raise NotFound(f"{project} belongs to another upstream, and is not asked of this one.")
        if not upstreams:
            raise UpstreamUnavailable(
                f"no upstream is known for {ecosystem.label}.",
                hint=f"Set [ecosystems.{ecosystem.id}] upstream in mainstay.toml.",
            )
        meant = asked is not None or (call.verbatim and len(upstreams) == 1)
        return self._supply.views(upstreams, call.authorization, meant=meant)

    async def _index(self, call: Call, index: Index, views: Sequence[View], note: Note) -> Reply:
        view, obtained = await self._supply.index(index, views)
        note.outcome, note.upstream = obtained.how, view.upstream.id
        blocks = self._supply.takedowns.of(view.upstream, index.project)
        if obtained.gone and (block := blocks.whole_project):
            purl = f"pkg:{block.ecosystem}/{index.project}"
            raise NotFound(
                f"{index.project} is not there any more: {block.reason}.",
                hint=f"Its files are kept and refused; if it is wanted all the same: mainstay unblock {purl}",
            )
        stored = self._supply.documents.place(index, obtained.document)
        link_base = _link_base(call, view.upstream.ecosystem, index)
        is_personal = link_base is not None and STAND_IN in link_base
        gzip = accepts_gzip(call.headers.get("accept-encoding", "")) and not is_personal
        plan = Plan(index.form, link_base, blocks.versions, gzip)
        # Several documents may be of one project: by its path each is told apart in the ledger.
        note.filename = index.path
        try:
            reply = await self._rendered(call, stored, plan, obtained, note)
            return with_token(reply, call.token) if is_personal else reply
        except UpstreamError:
            # The stored copy does not parse: damaged on disk, or by an older renderer's rules. Have it fetched anew.
            await self._supply.documents.forget(obtained.document.key)
            raise

    async def _rendered(
        self, call: Call, stored: Stored, plan: Plan, obtained: Obtained, note: Note
    ) -> Bytes | StoredFile:
        rendering = await self._renderings.rendering(stored, plan)
        headers: Headers = [
            ("content-type", rendering.media_type),
            ("etag", rendering.etag),
            ("cache-control", REVALIDATE),
            ("vary", ", ".join(["accept-encoding", *(v for n, v in rendering.headers if n.lower() == "vary")])),
            ("cache-status", CACHE_STATUS[obtained.how]),
            *(pair for pair in rendering.headers if pair[0].lower() != "vary"),
        ]
        if plan.gzip:
            headers.append(("content-encoding", "gzip"))
        if obtained.how == "stale":
            headers.append(("warning", '110 - "Response is Stale"'))
        if call.verbatim:
            headers += self._origin_headers(stored)
        fresh_s = self._supply.documents.expires_in_s(obtained.document) if obtained.how != "stale" else 0.0
        if rendering.body is not None:
            return Bytes(200, headers, rendering.body, note, fresh_s)
        descriptor = self._renderings.open(rendering)
        size = rendering.size_bytes
        return StoredFile(200, headers, descriptor, 0, size, size, rendering.digest, note, fresh_s)

    def _origin_headers(self, stored: Stored) -> Headers:
        """File hosts, for a `run` that uses this gateway from afar and must answer for them too."""
        for upstream in self._supply.registry.of(stored.ecosystem):
            if learned := self._supply.registry.learned(upstream):
                return [("mainstay-origin", ", ".join(sorted(learned)))]
        return []

    def _redirect(self, call: Call, ecosystem: Ecosystem, path: str, asked: Upstream | None) -> Reply:
        query = f"?{call.query}" if call.query else ""
        own = f"{TOKEN_PATH}{call.token}" if call.token else ""
        location = f"{own}/{ecosystem.mount}/{quote(path, safe='/@+~')}{query}"
        if asked is not None:
            role = max((r for r, p in ecosystem.roles.items() if path.startswith(p) and r in asked.bases), key=len)
            location = asked.bases[role] + quote(path.removeprefix(ecosystem.roles[role]), safe="/@+~") + query
        return Bytes(301, [("location", location), ("content-type", "text/plain")], b"")


def _request(call: Call, raw_path: str) -> Request:
    return Request(unquote(raw_path), raw_path, call.method, call.query, call.headers)


def _link_base(call: Call, ecosystem: Ecosystem, index: Index) -> str | None:
    """What links in a document start with: nothing of ours where the client asked upstream's own address."""
    if call.verbatim:
        return None
    relative = ecosystem.link_base_of(index)
    return relative if relative is not None else f"{call.base}{call.prefix}/{ecosystem.mount}/"
