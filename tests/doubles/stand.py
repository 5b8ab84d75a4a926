"""One project of its own at an upstream and a gateway that many tests share."""

from __future__ import annotations

import itertools
from typing import Any

from doubles.client import Received
from doubles.gateway import Gateway
from doubles.registry import Package, Project
from doubles.upstream import Script, Upstream
from doubles.wire import Seen

_numbers = itertools.count(1)


class Stand:
    """A fresh name, where it is at the gateway (`index`, `file`, `packument`, `tarball` of 1.0), and its faults."""

    def __init__(self, upstream: Upstream, gateway: Gateway) -> None:
        self.upstream, self.gateway = upstream, gateway
        self.name = f"demo{next(_numbers)}"
        self.index = f"/pypi/simple/{self.name}/"
        self.file = self.file_of("1.0")
        self.packument = f"/npm/{self.name}"
        self.tarball = f"/npm/{self.name}/-/{self.name}-1.0.0.tgz"
        self._scripts: list[Script] = []

    def file_of(self, version: str) -> str:
        """The gateway's path of a release's source archive."""
        return f"/pypi/files/{self.name}/{self.name}-{version}.tar.gz"

    def release(self, version: str = "1.0", body: bytes | None = None) -> Project:
        """Add a release of one source archive to the simple index."""
        files = {f"{self.name}-{version}.tar.gz": body} if body is not None else None
        return self.upstream.project(self.name).release(version, files)

    def publish(self, version: str = "1.0.0", tarball: bytes | None = None) -> Package:
        """Add a version to the npm-like registry."""
        return self.upstream.package(self.name).release(version, tarball)

    def on_index(self) -> Script:
        """What is to go wrong with the project's index."""
        return self._on(f"/simple/{self.name}/")

    def on_file(self, version: str = "1.0") -> Script:
        """What is to go wrong with the source archive of a version."""
        return self._on(f"*/{self.name}-{version}.tar.gz")

    def on_packument(self) -> Script:
        """What is to go wrong with the packument."""
        return self._on(f"/npm/{self.name}")

    def on_tarball(self) -> Script:
        """What is to go wrong with the tarball of 1.0.0."""
        return self._on(f"*/{self.name}-1.0.0.tgz")

    def seen_index(self) -> list[Seen]:
        """What upstream was asked of the index."""
        return self.upstream.seen(f"/simple/{self.name}/")

    def seen_file(self, version: str = "1.0") -> list[Seen]:
        """What upstream was asked of the source archive of a version."""
        return self.upstream.seen(f"*/{self.name}-{version}.tar.gz")

    def fetch(self, path: str, **options: Any) -> Received:
        """Ask the gateway."""
        return self.gateway.fetch(path, **options)

    def failures(self, kind: str) -> float:
        """How many requests of this kind `/metrics` counts as failed or refused so far."""
        failed = sum(
            self.gateway.metric("mainstay_requests_total", kind=kind, outcome=word) for word in ("error", "refused")
        )
        return failed + self.gateway.metric("mainstay_refused_total", kind=kind)

    def heal(self) -> None:
        """Nothing goes wrong here any more."""
        for script in self._scripts:
            script.heal()

    def _on(self, pattern: str) -> Script:
        self._scripts.append(self.upstream.on(pattern))
        return self._scripts[-1]
