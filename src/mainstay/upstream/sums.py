"""The digests of a file on its way, and whether they are those that its index vouches with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

from mainstay.errors import IntegrityError
from mainstay.upstream.fill import Wanted


class Sums:
    """The running digests of one file: sha256 for the store, and every algorithm that the index vouches with."""

    def __init__(self, expected: Mapping[str, str], algorithm: str = "") -> None:
        """`algorithm` is that of a digest which is known later only, if there is one."""
        names = {"sha256", *expected, algorithm} & hashlib.algorithms_guaranteed
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in names}
        self._expected = {name: value for name, value in expected.items() if name in names}

    def expect(self, expected: Mapping[str, str]) -> None:
        """Take in what became known later."""
        self._expected |= {name: value for name, value in expected.items() if name in self._hashes}

    def add(self, data: bytes) -> None:
        """Take in the next bytes."""
        for running in self._hashes.values():
            running.update(data)

    def add_file(self, path: os.PathLike[str], size_bytes: int) -> None:
        """Take in the first bytes of a file, after a take-over."""
        with open(path, "rb") as file:
            left = size_bytes
            while left > 0 and (data := file.read(min(1 << 20, left))):
                self.add(data)
                left -= len(data)

    @property
    def digest(self) -> str:
        """The store's name for the bytes."""
        return "sha256:" + self._hashes["sha256"].hexdigest()

    def verify(self, wanted: Wanted) -> str:
        """The strongest algorithm that agreed, or "first-seen" where the index gives none.

        Raises:
            IntegrityError: any of them differs.
        """
        for name, expected in self._expected.items():
            found = self._hashes[name].hexdigest()
            if found != expected.lower():
                raise IntegrityError(
                    f"{wanted.blank.filename} does not match its index: {name} is {found}, should be {expected}.",
                    hint="Nothing of it was kept. Tell the registry.",
                )
        strength = ("sha512", "sha384", "sha256", "sha224", "sha1", "md5")
        agreed = [name for name in strength if name in self._expected] or sorted(self._expected)
        return agreed[0] if agreed else "first-seen"
