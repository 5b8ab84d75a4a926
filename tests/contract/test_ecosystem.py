"""What every adapter owes the gateway, checked on recorded indexes (`tests/ecosystems/cases_<id>.py`) and on noise."""

from __future__ import annotations

import html
import importlib
import importlib.util
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.ecosystem_case import Case
from mainstay.ecosystems import ecosystems
from mainstay.ecosystems.base import Ecosystem
from mainstay.errors import NotAcceptable, NotFound, UnsupportedDocument
from mainstay.model import Artifact, Document, File, Index, Link, Listing, Release, Request, Source

GATEWAY = "https://gateway.example/"
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CONTROL = frozenset(map(chr, [*range(32), 127]))


def load_cases(ecosystem: Ecosystem) -> list[Case]:
    """The recorded cases of an adapter; none where it has no module of them."""
    name = f"ecosystems.cases_{ecosystem.id}"
    return list(importlib.import_module(name).CASES) if importlib.util.find_spec(name) else []


PAIRS = [(ecosystem, case) for ecosystem in ecosystems().values() for case in load_cases(ecosystem)]
each_ecosystem = pytest.mark.parametrize("ecosystem", ecosystems().values(), ids=ecosystems())
each_case = pytest.mark.parametrize(
    ("ecosystem", "case"), PAIRS, ids=[f"{ecosystem.id}: {case.name}" for ecosystem, case in PAIRS]
)


def request_of(case: Case) -> Request:
    """How the client of `case` asks."""
    return Request(case.path, quote(case.path), "GET", case.query, case.headers)


def index_of(ecosystem: Ecosystem, case: Case) -> Index:
    """The index that the case's request routes to."""
    resource = ecosystem.route(request_of(case))
    assert isinstance(resource, Index)
    return resource


def opened(ecosystem: Ecosystem, case: Case) -> tuple[Index, Listing]:
    """The case's index, parsed."""
    index = index_of(ecosystem, case)
    return index, ecosystem.open(index, source_of(case))


def source_of(case: Case, body: bytes | None = None, media_type: str | None = None, url: str | None = None) -> Source:
    """What upstream sent for the case, or something else in its place."""
    return Source(
        case.body if body is None else body,
        case.media_type if media_type is None else media_type,
        url or case.url,
        case.description,
    )


def page_url(ecosystem: Ecosystem, case: Case) -> str:
    """Where the client of `case` believes to be."""
    return f"{GATEWAY}{ecosystem.mount}/{quote(case.path)}"


def gateway_link(ecosystem: Ecosystem, index: Index, linked: dict[str, File]) -> Link:
    """Links to the gateway, as it makes them itself. Each link given out is noted in `linked`."""
    base = ecosystem.link_base_of(index)
    prefix = f"{GATEWAY}{ecosystem.mount}/" if base is None else base

    def link(file: File) -> str:
        address = prefix + ecosystem.path(file)
        linked[address] = file
        return address

    return link


def keep_all(release: Release) -> bool:
    """No rule says no."""
    return True


def text_of(document: Document) -> str:
    """The body as a reader sees it, without the escapes of HTML, XML or JSON."""
    body = document.body
    if "json" in document.media_type:
        return json.dumps(json.loads(body))
    return html.unescape(body.decode()) if "ml" in document.media_type else body.decode()


def rendered(ecosystem: Ecosystem, case: Case, keep: Callable[[Release], bool] = keep_all) -> tuple[Document, str]:
    """The case rendered with the gateway's links: the document's head and its text."""
    index, listing = opened(ecosystem, case)
    document = listing.render(keep, gateway_link(ecosystem, index, {}), index.form)
    return document, text_of(document)


@each_ecosystem
def test_every_ecosystem_brings_recorded_cases(ecosystem: Ecosystem) -> None:
    """An adapter without cases would pass this suite without being looked at."""
    cases = load_cases(ecosystem)
    assert cases, f"tests/ecosystems/cases_{ecosystem.id}.py must export CASES"
    assert any(case.denied for case in cases)


@each_ecosystem
def test_class_facts_fit_together(ecosystem: Ecosystem) -> None:
    """Roles have prefixes of their own, and a base is given for the roles that are not learned."""
    assert len(set(ecosystem.roles.values())) == len(ecosystem.roles)
    assert ecosystem.learned_role is None or ecosystem.learned_role in ecosystem.roles
    bases = ecosystem.bases("https://registry.example/simple/")
    assert bases
    assert all(base.endswith("/") for base in bases.values())
    assert set(bases) <= set(ecosystem.roles) - {ecosystem.learned_role}


@each_case
def test_recorded_index_is_read(ecosystem: Ecosystem, case: Case) -> None:
    """A recorded index parses, lists the release that the case denies, and finds each of its own files."""
    index, listing = opened(ecosystem, case)
    versions = [release.version for release in listing.releases]
    assert len(set(versions)) == len(versions)
    assert case.denied in versions if case.denied else not versions
    filenames = {name for release in listing.releases for name in release.filenames}
    assert filenames in (set(), {file.filename for file in listing.files()})
    for file in listing.files():
        assert file.version in versions
        assert file.project == index.project
        assert listing.find(Artifact(file.project, file.version, file.filename, "", "")) == file


@each_case
def test_denied_release_vanishes_from_every_field(ecosystem: Ecosystem, case: Case) -> None:
    """No byte of what is rendered names a release that is not kept."""
    if not case.denied:
        assert not opened(ecosystem, case)[1].releases
        return
    _, whole = rendered(ecosystem, case)
    assert case.denied in whole
    if case.single:
        with pytest.raises(NotFound):
            rendered(ecosystem, case, lambda release: release.version != case.denied)
        return
    _, text = rendered(ecosystem, case, lambda release: release.version != case.denied)
    assert case.denied not in text
    _, listing = opened(ecosystem, case)
    gone = next(release for release in listing.releases if release.version == case.denied)
    assert not [name for name in gone.filenames if name in text]


@each_case
def test_nothing_is_offered_where_no_release_is_kept(ecosystem: Ecosystem, case: Case) -> None:
    """With every release denied no file is named, or the document says that there is nothing."""
    _, listing = opened(ecosystem, case)
    try:
        _, text = rendered(ecosystem, case, lambda release: False)
    except NotFound:
        assert listing.releases
        return
    assert not [file.filename for file in listing.files() if f"/{file.filename}" in text]


@each_case
def test_every_link_routes_back_to_its_file(ecosystem: Ecosystem, case: Case) -> None:
    """What a client makes of a rendered address is asked for at the gateway and found in the same index."""
    index, listing = opened(ecosystem, case)
    linked: dict[str, File] = {}
    text = text_of(listing.render(keep_all, gateway_link(ecosystem, index, linked), index.form))
    shown = {address: file for address, file in linked.items() if f'"{address}' in text}
    if case.template:
        assert shown and not list(listing.files())
        return
    if case.linkless:
        link = gateway_link(ecosystem, index, linked)
        shown = {link(file): file for file in listing.files()}
    if not case.partial:
        assert {file.filename for file in shown.values()} == {file.filename for file in listing.files()}
    mount = f"{GATEWAY}{ecosystem.mount}/"
    for address, file in shown.items():
        url = urljoin(page_url(ecosystem, case), address)
        assert url.startswith(mount)
        path = urlsplit(url.removeprefix(mount)).path
        artifact = ecosystem.route(Request(unquote(path), path))
        assert isinstance(artifact, Artifact)
        assert (artifact.project, artifact.filename) == (file.project, file.filename)
        assert listing.find(artifact) == file
        assert ecosystem.index_of(artifact).project == index.project


@each_case
def test_no_upstream_host_is_left(ecosystem: Ecosystem, case: Case) -> None:
    """A client that follows what a rewritten document says never leaves the gateway."""
    _, listing = opened(ecosystem, case)
    _, text = rendered(ecosystem, case)
    hosts = {urlsplit(url).netloc for url in (case.url, *(file.url for file in listing.files()))}
    assert not [host for host in hosts if host in text]


@each_case
def test_verbatim_links_stay_as_upstream_has_them(ecosystem: Ecosystem, case: Case) -> None:
    """With links left alone, the document carries each file's own address."""
    index, listing = opened(ecosystem, case)
    text = text_of(listing.render(keep_all, lambda file: file.url, index.form))
    shown = [file for file in listing.files() if file.url in text]
    if case.template or case.linkless:
        assert text == text_of(Document(case.media_type, (case.body,)))
        return
    if not case.partial:
        assert shown == list(listing.files())
    linked: dict[str, File] = {}
    rewritten = text_of(listing.render(keep_all, gateway_link(ecosystem, index, linked), index.form))
    assert len(shown) == len([address for address in linked if f'"{address}' in rewritten])


@each_case
def test_rendering_is_stable(ecosystem: Ecosystem, case: Case) -> None:
    """The same listing gives the same bytes, and what was rendered reads as an index that renders to itself."""
    index, listing = opened(ecosystem, case)
    link = gateway_link(ecosystem, index, {})
    first, again = listing.render(keep_all, link, index.form), listing.render(keep_all, link, index.form)
    body = first.body
    assert again.body == body
    assert again.media_type == first.media_type
    if not case.partial:
        reread = ecosystem.open(index, source_of(case, body, first.media_type, page_url(ecosystem, case)))
        assert reread.render(keep_all, link, index.form).body == body


@each_case
def test_a_release_that_upstream_dropped_can_be_put_back(ecosystem: Ecosystem, case: Case) -> None:
    """From an excerpt of the older index, into the newer one: its files are found again, and nothing else changes."""
    index, old = opened(ecosystem, case)
    listed = ecosystem.index_of(Artifact(index.project, "", "", "", ""))
    if not case.denied or listed.path != index.path:
        assert old.restored(old, lambda file: True) is old
        return

    def reread(keep: Callable[[Release], bool]) -> Listing:
        document = old.render(keep, lambda file: file.url, listed.form)
        return ecosystem.open(listed, source_of(case, document.body, document.media_type))

    def is_gone(file: File) -> bool:
        return file.version == case.denied

    new, excerpt = reread(lambda release: release.version != case.denied), reread(is_denied(case))
    assert [release.version for release in excerpt.releases] == [case.denied]
    whole = new.restored(excerpt, is_gone)
    assert {file.filename: file for file in whole.files()} == {file.filename: file for file in old.files()}
    assert {release.version for release in whole.releases} == {release.version for release in old.releases}
    text = text_of(whole.render(keep_all, gateway_link(ecosystem, index, {}), listed.form))
    assert case.denied in text
    assert case.linkless or urlsplit(case.url).netloc not in text
    assert text_of(whole.render(lambda release: not is_denied(case)(release), lambda f: f.url, listed.form)) == text_of(
        new.render(keep_all, lambda file: file.url, listed.form)
    )
    assert new.restored(excerpt, lambda file: False) is new
    assert [file.filename for file in old.restored(excerpt, is_gone).files()] == [f.filename for f in old.files()]


def is_denied(case: Case) -> Callable[[Release], bool]:
    """Whether it is the release that the case denies."""
    return lambda release: release.version == case.denied


@each_ecosystem
@QUICK
@given(data=st.data())
def test_any_path_is_routed_or_refused(ecosystem: Ecosystem, data: st.DataObject) -> None:
    """Whatever is asked for, the answer is a resource without control characters or one of two errors."""
    words = [part for case in load_cases(ecosystem) for part in case.path.split("/")]
    segment = st.one_of(st.sampled_from([*words, "-", "", "..", "@x", "a%2fb", "a\r\nb"]), st.text(max_size=12))
    path = data.draw(st.one_of(st.text(), st.lists(segment, max_size=6).map("/".join)))
    request = Request(
        path,
        quote(path, errors="replace"),
        data.draw(st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE"])),
        data.draw(st.one_of(st.just(""), st.text(max_size=30), st.text(max_size=30).map("format={}".format))),
        {"accept": data.draw(st.one_of(st.just("*/*"), st.text(max_size=40)))},
    )
    try:
        resource = ecosystem.route(request)
    except (NotFound, NotAcceptable):
        return
    inner = getattr(resource, "artifact", resource)
    target = unquote(unquote(getattr(inner, "path", "").partition("?")[0]))
    assert not CONTROL.intersection(getattr(inner, "path", "") + getattr(inner, "accept", ""))
    assert not {".", ".."}.intersection(target.split("/"))


@each_ecosystem
@QUICK
@given(data=st.data())
def test_traversal_never_routes(ecosystem: Ecosystem, data: st.DataObject) -> None:
    """A path with a step up, a backslash or a NUL in it is no path."""
    paths = [case.path for case in load_cases(ecosystem)]
    for case in load_cases(ecosystem):
        paths += [unquote(ecosystem.path(file)) for file in opened(ecosystem, case)[1].files()]
    segments = data.draw(st.sampled_from(sorted(set(paths)))).split("/")
    step = data.draw(st.sampled_from(["..", ".", "..\\..", "a\\b", "\0", "%2e%2e", "..%2f", "a\r\nb"]))
    segments.insert(data.draw(st.integers(0, len(segments) - 1)), step)
    path = "/".join(segments)
    with pytest.raises(NotFound):
        ecosystem.route(Request(path, quote(path)))


@each_ecosystem
@QUICK
@given(data=st.data())
def test_any_bytes_are_read_or_refused(ecosystem: Ecosystem, data: st.DataObject) -> None:
    """Bytes that are not an index end in UnsupportedDocument, at once or when the bad part is needed."""
    case = data.draw(st.sampled_from(load_cases(ecosystem)))
    body = data.draw(st.one_of(st.binary(max_size=200), spliced(case.body), reshaped(case.body)))
    media_type = data.draw(st.sampled_from([case.media_type, "application/json", "text/html", "", "text/plain"]))
    index = index_of(ecosystem, case)
    try:
        listing = ecosystem.open(index, source_of(case, body, media_type))
        files = list(listing.files())
        document = listing.render(keep_all, gateway_link(ecosystem, index, {}), index.form)
        assert isinstance(document.body, bytes)
    except (UnsupportedDocument, NotFound):
        return
    assert all(isinstance(release.version, str) for release in listing.releases)
    fields = [document.media_type, *(text for header in document.headers for text in header)]
    assert not CONTROL.intersection("".join(fields))
    for file in files:
        assert urlsplit(file.url).scheme in ("http", "https")
        path = ecosystem.path(file)
        artifact = ecosystem.route(Request(unquote(path), path))
        assert isinstance(artifact, Artifact)
        assert listing.find(artifact) == file


@each_ecosystem
@QUICK
@given(data=st.data())
def test_any_release_of_any_index_can_be_denied(ecosystem: Ecosystem, data: st.DataObject) -> None:
    """Whatever an index says, neither the release that is not kept nor a file of it is in what a client reads."""
    case = data.draw(st.sampled_from([case for case in load_cases(ecosystem) if case.denied and not case.partial]))
    index, source = index_of(ecosystem, case), source_of(case, data.draw(reshaped(case.body)))
    try:
        listing = ecosystem.open(index, source)
        denied = data.draw(st.sampled_from([*listing.releases, Release("none")]))
        link = gateway_link(ecosystem, index, {})
        document = listing.render(lambda release: release.version != denied.version, link, index.form)
        read = ecosystem.open(index, source_of(case, document.body, document.media_type, page_url(ecosystem, case)))
    except (UnsupportedDocument, NotFound):
        return
    assert denied.version not in [release.version for release in read.releases]
    gone = {file.filename for file in listing.files() if file.version == denied.version}
    assert {file.filename for file in read.files()} <= {file.filename for file in listing.files()} - gone


@each_ecosystem
@QUICK
@given(message=st.text(max_size=60), status=st.sampled_from([401, 403, 404, 406, 502, 504]))
def test_refusal_carries_its_message(ecosystem: Ecosystem, message: str, status: int) -> None:
    """The client's own kind of error document says what is wrong, and its type is a clean header."""
    document = ecosystem.refusal(status, message)
    body = document.body.decode()
    is_json = "json" in document.media_type
    shown = list(msgspec.json.decode(body, type=dict[str, str]).values()) if is_json else [body.removesuffix("\n")]
    assert message in shown
    assert not CONTROL.intersection(document.media_type)


def spliced(body: bytes) -> st.SearchStrategy[bytes]:
    """`body` with a stretch replaced by noise; a truncated body is one of them."""
    at = st.integers(0, len(body))
    return st.tuples(at, at, st.binary(max_size=8)).map(lambda cut: body[: cut[0]] + cut[2] + body[max(cut[:2]) :])


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2**40), st.text(max_size=8),
    st.sampled_from(["../../x", "a\r\nSet-Cookie: x", "https://[", "file:///etc/passwd", "//h/x", "1.0", "__proto__"]),
    st.just("9" * 5000),
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.one_of(
    SCALARS, st.just([]), st.just({}), st.lists(SCALARS, max_size=2), st.just({"a": 1})
)


def reshaped(body: bytes) -> st.SearchStrategy[bytes]:
    """A JSON body with one value somewhere in it replaced by another; the body itself where it is no JSON."""
    try:
        spots = list(_spots(msgspec.json.decode(body), ()))
    except msgspec.DecodeError:
        return st.just(body)

    def put(spot: tuple[Any, ...], value: Any) -> bytes:
        tree = msgspec.json.decode(body)
        node = tree
        for key in spot[:-1]:
            node = node[key]
        node[spot[-1]] = value
        return msgspec.json.encode(tree)

    return st.builds(put, st.sampled_from(spots), VALUES)


def _spots(node: Any, at: tuple[Any, ...]) -> Any:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in children:
        yield (*at, key)
        yield from _spots(value, (*at, key))
