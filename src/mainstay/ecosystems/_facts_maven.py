"""What a POM says of its release: licences, source control, homepage.

Source: https://maven.apache.org/pom.html, whose section on licences has users choose among several. What a POM with a
parent does not say, its parent may.
"""

from __future__ import annotations

from collections.abc import Iterable

from mainstay.ecosystems._facts import plain_text
from mainstay.ecosystems._maven_xml import Element, parse_xml, recode
from mainstay.errors import UnsupportedDocument
from mainstay.model import Facts

_PROPERTY = "${"


def read_pom(version: str, body: bytes) -> Facts:
    """The facts of a POM.

    Raises:
        UnsupportedDocument: it is none.
    """
    root = parse_xml(recode(body)[0])
    if root.name != "project":
        raise UnsupportedDocument(f"the POM of version {version} begins with <{root.name[:40]}>.")
    inherits = any(root.named("parent"))
    licences = [entry.value("name") or entry.value("url") for entry in root.named("licenses", "license")]
    return Facts(
        version,
        licences=_told(licences, inherits),
        repository=_address(root, ("scm",), ("url", "connection"), inherits),
        homepage=_address(root, (), ("url",), inherits),
    )


def _told(texts: Iterable[str], inherits: bool) -> tuple[str, ...] | None:
    """The texts; None where the parent may say it, or what is said is the name of a property."""
    said = [plain_text(text) for text in texts if text]
    clear = tuple(text for text in said if _PROPERTY not in text)
    return None if not clear and (said or inherits) else clear


def _address(root: Element, path: tuple[str, ...], names: tuple[str, ...], inherits: bool) -> str | None:
    holders = root.named(*path) if path else [root]
    told = _told((holder.value(name) for holder in holders for name in names), inherits)
    return None if told is None else next(iter(told), "")
