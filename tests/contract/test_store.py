"""What every blob store must do."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainstay.errors import StoreError
from mainstay.store.local import LocalStore

STORES: list[Callable[[Path], LocalStore]] = [LocalStore]
ABSENT = "sha256:" + "0" * 64


@pytest.fixture(params=STORES, ids=lambda store: store.__name__)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalStore]:
    """An empty store of each kind."""
    store = request.param(tmp_path / "data")
    yield store
    store.close()


def read(store: LocalStore, digest: str) -> bytes:
    """The blob's bytes."""
    descriptor = store.open(digest)
    assert descriptor is not None
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def test_a_saved_body_is_read_back_under_its_sha256(store: LocalStore) -> None:
    """The digest is that of the bytes, and the bytes come back, an empty body too."""
    for body in (b"", b"hello", bytes(range(256)) * 4096):
        digest = store.save(body)
        assert digest == "sha256:" + hashlib.sha256(body).hexdigest()
        assert store.has(digest)
        assert read(store, digest) == body


def test_an_absent_blob_is_none_and_no_error(store: LocalStore) -> None:
    """Asking for what is not there is ordinary."""
    assert store.open(ABSENT) is None
    assert not store.has(ABSENT)
    assert store.delete(ABSENT) == 0


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:", "sha256:../../etc/passwd", "sha512:" + "0" * 64, ABSENT.upper(), ABSENT + "\n", ABSENT + "/"],
)
def test_a_digest_of_another_form_is_refused(store: LocalStore, digest: str) -> None:
    """No text that is not a sha256 digest reaches the disk."""
    for ask in (store.path, store.open, store.has, store.delete):
        with pytest.raises(StoreError):
            ask(digest)


def test_a_published_file_is_moved_to_its_name(store: LocalStore) -> None:
    """The part file is gone and its bytes are the blob."""
    part = store.temporary()
    part.write_bytes(b"body")
    digest = "sha256:" + hashlib.sha256(b"body").hexdigest()
    store.publish(part, digest)
    assert not part.exists()
    assert read(store, digest) == b"body"


def test_publishing_again_drops_the_second_file(store: LocalStore) -> None:
    """Two fills of the same bytes leave one blob."""
    digest = store.save(b"body")
    part = store.temporary()
    part.write_bytes(b"body")
    store.publish(part, digest, sync=False)
    assert not part.exists()
    assert [found[0] for found in store.scan()] == [digest]


def test_an_adopted_file_gets_the_digest_of_its_bytes(store: LocalStore) -> None:
    """Adoption hashes, so that no name is taken on trust."""
    path = store.temporary()
    path.write_bytes(b"x" * 100_000)
    digest, size = store.adopt(path)
    assert digest == "sha256:" + hashlib.sha256(b"x" * 100_000).hexdigest()
    assert size == 100_000
    assert not path.exists()


def test_an_open_blob_is_read_to_its_end_after_deletion(store: LocalStore) -> None:
    """Eviction does not break a download."""
    digest = store.save(b"y" * 1_000_000)
    descriptor = store.open(digest)
    assert descriptor is not None
    assert store.delete(digest) == 1_000_000
    assert store.open(digest) is None
    with os.fdopen(descriptor, "rb") as file:
        assert file.read() == b"y" * 1_000_000


def test_a_scan_finds_every_blob_and_nothing_else(store: LocalStore) -> None:
    """Digest, size and time of each blob; strange files are passed over."""
    saved = {store.save(str(number).encode() * number): number for number in range(1, 5)}
    (store.blobs / "stray").write_bytes(b"?")
    (store.blobs / "00").mkdir(exist_ok=True)
    (store.blobs / "00" / "stray").write_bytes(b"?")
    assert {digest: size for digest, size, _ in store.scan()} == saved
    assert all(used_at > 1_000_000_000 for _, _, used_at in store.scan())


def test_temporary_names_are_never_the_same_twice(store: LocalStore) -> None:
    """Names differ within a store and between two stores of one folder."""
    other = type(store)(store.root)
    found = [owner.temporary() for owner in (store, other) for _ in range(50)]
    other.close()
    assert len(set(found)) == len(found)
