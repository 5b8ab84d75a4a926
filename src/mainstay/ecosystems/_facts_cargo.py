"""What a crate's sparse index entry says: no licence and no address, only when releases were published."""

from __future__ import annotations

from mainstay.ecosystems._cargo_index import CrateIndex
from mainstay.ecosystems._facts import times_of
from mainstay.model import Facts, Index, Source


def read_entry(index: Index, source: Source) -> Facts:
    """The facts of the release that was listed last and is not yanked.

    Raises:
        UnsupportedDocument: the bytes are no such entry.
    """
    releases = CrateIndex(index, source).releases
    version = next((release.version for release in reversed(releases) if not release.yanked), releases[-1].version)
    return Facts(version, published=times_of(releases))
