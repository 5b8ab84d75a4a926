"""Maven's settings.xml: ours is put in as the first children of one element, and nothing is put out of force.

The first mirror that fits a repository is the one that Maven takes, so what stands below loses to ours. Positions are
those of expat in the very bytes, so everything else stays as it is, whatever its encoding and spacing. A tag that had
to be opened (`<mirrors/>`) is kept in the first mark, in base64 since a comment may not hold every text.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.parsers.expat import ExpatError, ParserCreate

from mainstay.clients.marks import Refusal, Restored, begin_mark, end_mark, parse_begin
from mainstay.clients.wanted import Wanted

_MARKED = re.compile(
    rb"<!-- (>>> mainstay setup [^\n>]*?)(?:, was ([A-Za-z0-9+/=]+))? -->(.*?)<!-- <<< mainstay setup -->", re.DOTALL
)
_MARK = re.compile(rb"<!-- (?:>>>|<<<) mainstay setup")
_TAG = re.compile(rb"""<[^>"']*(?:(?:"[^"]*"|'[^']*')[^>"']*)*>""")
_STEP = "  "


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the deepest element on the way begins and its first tag ends, and what of the way is missing."""

    start: int
    end: int
    missing: tuple[str, ...]


def restore(body: bytes) -> Restored | Refusal:
    """The text as it would be had setup never run."""
    found = [*_MARKED.finditer(body)]
    if len(_MARK.findall(body)) != 2 * len(found):
        return Refusal("one of setup's two marks is missing, or they were moved")
    edited, folders = False, None
    for match in found:
        changed, folders = parse_begin(_text(match[1]), _block(_text(match[3])))
        edited |= changed
    left = _MARKED.sub(lambda match: base64.b64decode(match[2] or b""), body)
    return Restored(_text(left), bool(found), edited, folders)


def insert(body: bytes, wanted: Wanted, folders: int | None) -> bytes | Refusal:
    """The document with `wanted.text` at the start of the element `wanted.under`, which is made where it is missing."""
    if not body.strip():
        changed = body + _mark(_nest(wanted, wanted.under, "\n"), "", folders)
    else:
        place = _find(body, wanted.under)
        if isinstance(place, Refusal):
            return place
        content = _nest(wanted, place.missing, "\r\n" if b"\r\n" in body else "\n")
        tag = _text(body[place.start : place.end])
        if tag.endswith("/>"):
            name = re.split(r"[\s/>]", tag[1:], maxsplit=1)[0]
            opened = _mark(f"{tag[:-2].rstrip()}>{content}</{name}>", tag, folders)
            changed = body[: place.start] + opened + body[place.end :]
        else:
            changed = body[: place.end] + _mark(content, "", folders) + body[place.end :]
    return (
        changed if _comes_first(changed, wanted) else Refusal("what is to be written does not fit with what is there")
    )


def _find(body: bytes, under: Sequence[str]) -> _Place | Refusal:
    """The place of the deepest element on the way `under` that is there.

    XML that has a document type is left alone: entities could put elements anywhere.
    """
    parser = ParserCreate()
    way: list[str] = []
    places: list[tuple[int, str]] = []

    def enter(name: str, _attributes: dict[str, str]) -> None:
        way.append(name)
        if len(places) == len(way) - 1 and list(under[: len(way)]) == way:
            places.append((parser.CurrentByteIndex, name))

    def refuse(*_words: object) -> None:
        raise ExpatError("a document type is not read here")

    parser.StartElementHandler = enter
    parser.EndElementHandler = lambda _name: way.pop()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body, True)
    except (ExpatError, ValueError, LookupError) as error:
        return Refusal(f"it is not well-formed XML ({error})")
    if not places:
        return Refusal(f"its root element is not <{under[0]}>")
    start = places[-1][0]
    tag = _TAG.match(body, start)
    if tag is None:
        return Refusal("its encoding is none in which a tag is plain ASCII")
    return _Place(start, tag.end(), tuple(under[len(places) :]))


def _comes_first(changed: bytes, wanted: Wanted) -> bool:
    """Whether the first element below `wanted.under` is ours."""
    name = re.match(r"<(\w+)", wanted.text)
    place = _find(changed, (*wanted.under, name[1] if name else ""))
    marked = _MARKED.search(changed)
    if isinstance(place, Refusal) or marked is None:
        return False
    return not place.missing and marked.start() < place.start < marked.end()


def _nest(wanted: Wanted, missing: Sequence[str], end: str) -> str:
    """The text, in the elements that are missing, on lines of its own."""
    depth = len(wanted.under) - len(missing)
    opening = [f"{_STEP * (depth + number)}<{name}>" for number, name in enumerate(missing)]
    closing = [f"{_STEP * (depth + number)}</{name}>" for number, name in enumerate(missing)]
    lines = [*opening, *(f"{_STEP * len(wanted.under)}{line}" for line in wanted.lines), *reversed(closing)]
    return end + end.join(lines) + end + _STEP * max(depth - 1, 0)


def _mark(content: str, tag: str, folders: int | None) -> bytes:
    """The content between marks; `tag` is what it takes the place of."""
    was = f", was {base64.b64encode(_bytes(tag)).decode()}" if tag else ""
    words = begin_mark(_block(content), folders)
    return _bytes(f"<!-- {words}{was} -->{content}<!-- {end_mark()} -->")


def _block(content: str) -> list[str]:
    """The lines that the digest in the first mark is of."""
    return content.replace("\r\n", "\n").split("\n")


def _text(body: bytes) -> str:
    return body.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
