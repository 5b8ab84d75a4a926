"""The data folder's disk is full: a small file system of its own, which really says ENOSPC."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from doubles.claims import assert_refused, assert_right
from doubles.gateway import Gateway, Serve
from doubles.registry import content
from doubles.upstream import Upstream, wait_until

pytestmark = pytest.mark.faults

FILE = "/pypi/files/demo/demo-{}.tar.gz"
DISK_MB = 14

ServeSmall = Callable[..., Gateway]


@pytest.fixture
def serve_small(serve: Serve, tmp_path: Path) -> ServeSmall:
    """`serve` with the data folder on a tmpfs of 14 MB, mounted in a mount namespace of the server's own."""
    data = tmp_path / "gateway0" / "data"
    mount = f'mkdir -p "{data}" && mount -t tmpfs -o size={DISK_MB}m none "{data}" && exec "$@"'
    rights = () if os.geteuid() == 0 else ("--map-root-user",)

    def start(**options: object) -> Gateway:
        return serve(prefix=("unshare", "--mount", *rights, "sh", "-c", mount, "sh"), **options)

    return start


def assert_no_bad_blobs(gateway: Gateway) -> None:
    """The blobs on the server's own disk, seen through its root folder."""
    root = Path(f"/proc/{gateway.process.pid}/root{gateway.data}")
    assert (root / "blobs").is_dir(), "the server's disk cannot be seen from here"
    assert gateway.bad_blobs(root) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_larger_than_the_disk_is_refused_and_the_server_lives(
    workers: int, upstream: Upstream, serve_small: ServeSmall
) -> None:
    """507 or a broken transfer; the space comes back, and smaller files are served."""
    big = content(40_000_000)
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": big}).release("2.0")
    gateway = serve_small(pypi=upstream.simple_url, workers=workers)
    gateway.expect_error("No space left", "disk is full")
    got = gateway.fetch(FILE.format("1.0"))
    assert_refused(got, big)
    assert got.status in (0, 200, 507)
    assert "StoreFull" in gateway.log or "No space" in gateway.log
    wait_until(lambda: gateway.metric("mainstay_refused_total", reason="StoreFull"), "StoreFull at /metrics", 3)
    assert_right(gateway.fetch(FILE.format("2.0")), content(100_000, seed=3))
    assert gateway.fetch("/pypi/simple/demo/").status == 200
    assert_no_bad_blobs(gateway)


def test_a_full_disk_takes_nothing_from_what_is_held(upstream: Upstream, serve_small: ServeSmall) -> None:
    """Files are asked for until one does not fit: that one is refused, and all the others are served on, with upstream
    gone."""
    project = upstream.project("demo")
    bodies = [content(2_500_000, seed=number) for number in range(8)]
    for number in range(8):
        project.release(f"{number}.0", {f"demo-{number}.0.tar.gz": bodies[number]})
    gateway = serve_small(pypi=upstream.simple_url)
    gateway.expect_error("No space left", "disk is full")
    got = [gateway.fetch(FILE.format(f"{number}.0")) for number in range(8)]
    for number in range(8):
        if not (got[number].whole and got[number].status == 200):
            assert_refused(got[number], bodies[number])
    # One may have come whole to its client with no room left to write down that it is there.
    replies = [gateway.fetch(FILE.format(f"{number}.0"), method="HEAD") for number in range(8)]
    held = [number for number in range(8) if "; hit" in replies[number].cache]
    assert 2 <= len(held) < 8, "the disk was not full, or held nothing"
    upstream.down()
    for number in held:
        assert_right(gateway.fetch(FILE.format(f"{number}.0")), bodies[number])
    assert gateway.fetch("/readyz").status == 200
    assert_no_bad_blobs(gateway)
