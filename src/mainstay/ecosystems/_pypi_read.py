"""Reading an index page: JSON (PEP 691) or HTML (PEP 503), into the one model of `_pypi_simple`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar
from urllib.parse import quote, unquote, urljoin, urlsplit

import msgspec
from selectolax.lexbor import LexborHTMLParser, LexborNode

from mainstay.ecosystems._pypi_names import is_filename, is_name, normalize
from mainstay.ecosystems._pypi_simple import Meta, Page, PageFile, ProjectList, ProjectName, Status
from mainstay.errors import UnsupportedDocument
from mainstay.model import Source

_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::[1-9]\d{0,3})?/[!-\"$-\[\]-~]*")
_FRAGMENT = re.compile(r"(\w+)=([0-9A-Fa-f]+)")
_URL_MARKS = "%/:=&?~#+!$,;'@()*[]"
T = TypeVar("T")


def parse_project_page(project: str, source: Source) -> Page:
    """A project's page with absolute addresses; a file whose address is not http or https is left out.

    Raises:
        UnsupportedDocument: neither JSON nor HTML of the simple API, or of a major version other than 1.
    """
    if _is_json(source):
        page = parse_json(source, Page)
        _check_version(page.meta.api_version, source)
        if page.name and normalize(page.name) != normalize(project):
            raise UnsupportedDocument(f"The index at {_shown(source)} is of {page.name!r}, not of {project!r}.")
        page.files = list(_with_absolute_urls(page.files, source.url))
        return page
    return _parse_html_page(project, source)


def parse_project_list(source: Source) -> ProjectList:
    """The list of all projects. Names that are not legal are left out.

    Raises:
        UnsupportedDocument: as for `parse_project_page`.
    """
    if _is_json(source):
        page = parse_json(source, ProjectList)
        _check_version(page.meta.api_version, source)
        page.projects = [item for item in page.projects if is_name(item.name)]
        return page
    return _parse_html_list(source)


def parse_json(source: Source, kind: type[T]) -> T:
    """The body decoded as `kind`.

    Raises:
        UnsupportedDocument: not JSON, or not of that shape.
    """
    try:
        return msgspec.json.decode(source.body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnsupportedDocument(
            f"The index at {_shown(source)} is not the JSON that it should be: {error}."
        ) from error


def absolute_url(url: str, base: str) -> str | None:
    """`url` seen from `base`, without fragment, if it is an http or https address; else None."""
    if _PLAIN_URL.fullmatch(url):
        return url
    try:
        joined = urljoin(base, quote(url.strip(), safe=_URL_MARKS)).partition("#")[0]
        parts = urlsplit(joined)
        sound = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        return None
    return joined if sound else None


def _is_json(source: Source) -> bool:
    if "json" in source.media_type:
        return True
    if "html" in source.media_type:
        return False
    start = source.body[:64].lstrip()[:1]
    if start not in (b"{", b"<"):
        raise UnsupportedDocument(f"The index at {_shown(source)} is neither JSON nor HTML but {source.media_type!r}.")
    return start == b"{"


def _shown(source: Source) -> str:
    return source.url.partition("?")[0].rpartition("@")[2] or "upstream"


def _check_version(version: str, source: Source) -> None:
    if version.partition(".")[0].strip() != "1":
        raise UnsupportedDocument(f"The index at {_shown(source)} speaks version {version[:20]!r} of the API, not 1.")


def _with_absolute_urls(files: list[PageFile], base: str) -> Iterator[PageFile]:
    for file in files:
        url = absolute_url(file.url, base)
        if url is not None:
            file.url = url
            if file.provenance and not file.provenance.startswith("https://"):
                file.provenance = None
            yield file


def _parse_html_page(project: str, source: Source) -> Page:
    tree = LexborHTMLParser(source.body)
    metas = _metas(tree)
    base = _base(tree, source.url)
    files = [file for node in tree.css("a") if (file := _parse_anchor(node, base)) is not None]
    version = metas.get("pypi:repository-version")
    if version is None and not files and not _title(tree).lower().startswith("links for "):
        raise UnsupportedDocument(f"{_shown(source)} is an HTML page but no project page: a login page, or an error.")
    _check_version(version[0] if version else "1.0", source)
    status = metas.get("pypi:project-status")
    return Page(
        meta=Meta(version[0] if version else "1.0", metas.get("pypi:tracks")),
        name=project,
        files=files,
        project_status=Status(status[0], metas.get("pypi:project-status-reason", [None])[0]) if status else None,
        alternate_locations=metas.get("pypi:alternate-locations"),
    )


def _parse_html_list(source: Source) -> ProjectList:
    tree = LexborHTMLParser(source.body)
    version = _metas(tree).get("pypi:repository-version")
    names = [ProjectName(text) for node in tree.css("a") if (text := _listed_name(node))]
    genuine = version is not None or _title(tree).lower() == "simple index"
    # Nothing marks an old list of projects but its links, and a login page has links too: a form tells them apart.
    if not genuine and (not names or tree.css_first("form, input") is not None):
        raise UnsupportedDocument(f"{_shown(source)} is an HTML page but no list of projects.")
    _check_version(version[0] if version else "1.0", source)
    return ProjectList(Meta("1.0"), names)


def _listed_name(node: LexborNode) -> str:
    """The name that an anchor of the list shows, if the link goes to the page of that name."""
    text = node.text().strip()
    path = (node.attributes.get("href") or "").partition("#")[0].partition("?")[0]
    last = unquote(path.rstrip("/").rpartition("/")[2])
    return text if is_name(text) and is_name(last) and normalize(last) == normalize(text) else ""


def _parse_anchor(node: LexborNode, base: str) -> PageFile | None:
    attributes = node.attributes
    href, _, fragment = (attributes.get("href") or "").partition("#")
    url = absolute_url(href, base)
    filename = unquote(urlsplit(url).path.rpartition("/")[2]) if url else ""
    if url is None or not is_filename(filename):
        return None
    size = attributes.get("data-size") or ""
    signed = attributes.get("data-gpg-sig")
    provenance = attributes.get("data-provenance") or ""
    return PageFile(
        filename=filename,
        url=url,
        hashes=dict(_FRAGMENT.findall(fragment)),
        requires_python=attributes.get("data-requires-python"),
        core_metadata=_metadata(attributes.get("data-core-metadata")),
        dist_info_metadata=_metadata(attributes.get("data-dist-info-metadata")),
        yanked=(attributes["data-yanked"] or True) if "data-yanked" in attributes else False,
        gpg_sig=signed == "true" if signed in ("true", "false") else None,
        size=int(size) if size.isascii() and size.isdigit() and len(size) < 16 else None,
        upload_time=attributes.get("data-upload-time"),
        provenance=provenance if provenance.startswith("https://") else None,
    )


def _metadata(value: str | None) -> bool | dict[str, str] | None:
    if value is None:
        return None
    match = _FRAGMENT.fullmatch(value.strip())
    return {match[1]: match[2]} if match else value.strip().lower() == "true"


def _metas(tree: LexborHTMLParser) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for node in tree.css("meta[name]"):
        name, content = node.attributes.get("name"), node.attributes.get("content")
        if name and content:
            found.setdefault(name.lower(), []).append(content)
    return found


def _base(tree: LexborHTMLParser, url: str) -> str:
    node = tree.css_first("base[href]")
    href = node.attributes.get("href") if node is not None else None
    return (absolute_url(href, url) or url) if href else url


def _title(tree: LexborHTMLParser) -> str:
    node = tree.css_first("title")
    return node.text().strip() if node is not None else ""
