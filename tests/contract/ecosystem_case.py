"""What an adapter's author gives to the contract suite: recorded indexes and how clients ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Case:
    """One recorded index as one kind of client asks for it. `tests/ecosystems/cases_<id>.py` exports `CASES`.

    `path` is percent-decoded and below the mount, `headers` has lower-case names. `body`, `media_type` and `url` are
    what upstream sent and from where; every host in `body` that `url` or a file's address has must be gone from what is
    rendered. `denied` is a version that the index lists and whose text is in no other version, name or digest of it;
    "" where the index lists no releases. `single` says that the document is about that one release alone, so that
    nothing is left of it where the release is denied. `partial` says that what is rendered is a part of the index (its
    tags, one version), which does not read as an index again. `linkless` says that the document names no addresses of
    files: clients make them by the protocol's rules. `template` says that its links are patterns and not addresses.
    `description` is the registry's description of itself, where the protocol has one.
    """

    name: str
    path: str
    body: bytes
    media_type: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    denied: str = ""
    single: bool = False
    partial: bool = False
    linkless: bool = False
    template: bool = False
    description: bytes = b""
