"""Reads XML that nobody vouches for: no document type, so no entities, and no deep nesting (XML 1.0, fifth edition).

Elements keep where they are in the bytes, so that a document can be changed in one place and stay as it is elsewhere.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers.expat import ExpatError, ParserCreate

from mainstay.errors import UnsupportedDocument

_DEEPEST = 64
_LONGEST_TEXT = 4096
_DECLARED = re.compile(rb"""<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_ENCODING = re.compile(r"utf-8|us-ascii|ascii|iso-?8859-\d{1,2}|latin-?1|(?:windows-|cp)125\d", re.IGNORECASE)
_START_TAG = re.compile(rb"""<[^>"']*(?:(?:"[^"]*"|'[^']*')[^>"']*)*>""")


@dataclass(slots=True)
class Element:
    """One element. `text` is its own, of which no more than is of use here is kept; `start` is where its first tag
    begins, `end` where its last one does."""

    tag: str
    start: int
    end: int = 0
    text: str = ""
    children: list[Element] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The tag without its namespace's prefix."""
        return self.tag.rpartition(":")[2]

    def named(self, *path: str) -> Iterator[Element]:
        """The elements below that `path` leads to."""
        for child in self.children:
            if child.name == path[0]:
                if len(path) == 1:
                    yield child
                else:
                    yield from child.named(*path[1:])

    def value(self, name: str) -> str:
        """The text of the first child of that name, without the white space around it; "" where there is none."""
        return next((child.text.strip() for child in self.named(name)), "")


def parse_xml(utf8: bytes) -> Element:
    """The root element.

    Raises:
        UnsupportedDocument: it is not well-formed, has a document type, or is nested too deeply.
    """
    return _Builder().build(utf8)


def recode(body: bytes) -> tuple[bytes, str]:
    """The document in UTF-8, and the name of its own encoding, in which it is written back without a difference.

    Raises:
        UnsupportedDocument: the encoding is not known, or the bytes are not in it.
    """
    encoding = _encoding_of(body)
    try:
        text = body.decode(encoding)
        if text.encode(encoding) != body:
            raise UnsupportedDocument(f"an XML document cannot be read as {encoding} and written back.")
    except (UnicodeError, LookupError) as error:
        raise UnsupportedDocument(f"an XML document is not in {encoding}, which it should be in.") from error
    return text.encode(), encoding


def tags_of(utf8: bytes, element: Element) -> tuple[int, int, int, int]:
    """Where the first tag begins and ends, and where the last one does: the same tag where the element is `<a/>`."""
    match = _START_TAG.match(utf8, element.start)
    assert match is not None, "the parser saw a whole tag here"
    if utf8[match.end() - 2] == ord("/"):
        return (*match.span(), *match.span())
    return (*match.span(), element.end, utf8.index(b">", element.end) + 1)


class _Builder:
    """One parse. The handlers of expat are methods, and what they raise ends it."""

    def __init__(self) -> None:
        self._top = Element("", 0)
        self._open = [self._top]
        self._parser = ParserCreate("utf-8")
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._finish
        self._parser.CharacterDataHandler = self._take_text

    def build(self, utf8: bytes) -> Element:
        try:
            self._parser.Parse(utf8, True)
        except ExpatError as error:
            raise UnsupportedDocument(f"an XML document is not well-formed: {error}.") from error
        return self._top.children[0]

    def _begin(self, tag: str, attributes: object) -> None:
        if len(self._open) > _DEEPEST:
            raise UnsupportedDocument("an XML document is nested too deeply.")
        element = Element(tag, self._parser.CurrentByteIndex)
        self._open[-1].children.append(element)
        self._open.append(element)

    def _finish(self, tag: str) -> None:
        self._open.pop().end = self._parser.CurrentByteIndex

    def _take_text(self, text: str) -> None:
        element = self._open[-1]
        if len(element.text) < _LONGEST_TEXT:
            element.text += text

    def _refuse_doctype(self, *declaration: object) -> None:
        raise UnsupportedDocument("an XML document has a document type, which no document of this kind needs.")


def _encoding_of(body: bytes) -> str:
    """By its first bytes (XML 1.0, appendix F), else as it declares."""
    if body.startswith((codecs.BOM_UTF16_LE, b"<\0")):
        return "utf-16-le"
    if body.startswith((codecs.BOM_UTF16_BE, b"\0<")):
        return "utf-16-be"
    declared = _DECLARED.match(body.removeprefix(codecs.BOM_UTF8))
    name = declared[1].decode() if declared else "utf-8"
    if not _ENCODING.fullmatch(name):
        raise UnsupportedDocument(f"an XML document is in {name}, which is not read here.")
    return name.lower()
