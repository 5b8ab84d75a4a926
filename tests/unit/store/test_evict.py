from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstay.db.blobs import BlobCatalog, pin_blob, save_blob
from mainstay.db.documents import StoredDocument, load_document, save_document
from mainstay.db.engine import Database
from mainstay.store.evict import evict
from mainstay.store.local import LocalStore
from mainstay.store.lock import locked


class Stand:
    """A store, its catalog, and blobs of 1,000 bytes with a given age."""

    def __init__(self, folder: Path) -> None:
        self.store = LocalStore(folder)
        self.database = Database.open(folder)
        self.catalog = BlobCatalog(self.database)

    def add(self, name: str, age_s: float) -> str:
        """A blob, stored and known, last used `age_s` ago."""
        digest = self.add_file(name, age_s)
        self.database.run_sync(save_blob, digest, 1000, time.time() - age_s)
        return digest

    def add_file(self, name: str, age_s: float) -> str:
        """A blob that the catalog does not know."""
        digest = self.store.save(name.encode().ljust(1000))
        used_at = time.time() - age_s
        os.utime(self.store.path(digest), (used_at, used_at))
        return digest

    def known(self) -> set[str]:
        """What the catalog knows."""
        return self.catalog.load_digests()


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    """An empty store with its catalog."""
    stand = Stand(tmp_path)
    yield stand
    stand.database.close()
    stand.store.close()


def test_the_longest_unused_blobs_go_until_under_nine_tenths(stand: Stand) -> None:
    """Ten blobs with a budget of eight come down to seven: 7,000 bytes is the first step under 7,200."""
    digests = [stand.add(str(number), 1000 - number) for number in range(10)]
    done = evict(stand.store, stand.catalog, 8000)
    assert (done.blobs, done.freed_bytes, done.total_bytes) == (3, 3000, 7000)
    assert [stand.store.has(digest) for digest in digests] == [False] * 3 + [True] * 7
    assert stand.known() == set(digests[3:])


def test_nothing_goes_while_within_the_budget(stand: Stand) -> None:
    """A store at its budget is left alone."""
    digest = stand.add("a", 1000)
    done = evict(stand.store, stand.catalog, 1000)
    assert (done.blobs, done.total_bytes) == (0, 1000)
    assert stand.store.has(digest)


def test_a_pinned_blob_never_goes(stand: Stand) -> None:
    """What is kept for a takedown stays, also over the budget."""
    pinned = stand.add("pinned", 5000)
    other = stand.add("other", 1000)
    stand.database.run_sync(pin_blob, pinned, True)
    assert evict(stand.store, stand.catalog, 500).blobs == 1
    assert (stand.store.has(pinned), stand.store.has(other)) == (True, False)


def test_a_blob_used_in_the_last_minute_never_goes(stand: Stand) -> None:
    """Its reader may be about to open it."""
    recent, old = stand.add("recent", 30), stand.add("old", 90)
    assert evict(stand.store, stand.catalog, 0).blobs == 1
    assert (stand.store.has(recent), stand.store.has(old)) == (True, False)


def test_a_reader_finishes_a_blob_that_is_evicted_meanwhile(stand: Stand) -> None:
    """An open descriptor outlives the name."""
    digest = stand.add("body", 1000)
    descriptor = stand.store.open(digest)
    assert descriptor is not None
    assert evict(stand.store, stand.catalog, 0).blobs == 1
    assert stand.store.open(digest) is None
    with os.fdopen(descriptor, "rb") as file:
        assert file.read() == b"body".ljust(1000)


def test_a_file_that_the_catalog_does_not_know_is_counted_and_may_go(stand: Stand) -> None:
    """An orphan enters with the time of its file, so that it is evicted in its turn."""
    orphan, known = stand.add_file("orphan", 2000), stand.add("known", 1000)
    done = evict(stand.store, stand.catalog, 1500)
    assert (done.adopted, done.blobs, done.total_bytes) == (1, 1, 1000)
    assert (stand.store.has(orphan), stand.store.has(known)) == (False, True)


def test_a_row_without_a_file_goes(stand: Stand) -> None:
    """Somebody who removes blobs by hand does not leave the total wrong."""
    digest = stand.add("lost", 1000)
    stand.store.path(digest).unlink()
    done = evict(stand.store, stand.catalog, 10_000)
    assert (done.lost, done.total_bytes) == (1, 0)
    assert stand.known() == set()


def test_a_scan_forgets_what_upstream_did_not_have_long_ago(stand: Stand) -> None:
    """Each unknown name that is asked for leaves a row; the negative cache needs it for seconds."""
    for key, age_s in (("old", 90_000), ("new", 1000)):
        absent = StoredDocument(
            key, "eco", "u", "p", "url", "", None, 0, "", "", "", 0.0, time.time() - age_s, "missing"
        )
        stand.database.run_sync(save_document, absent)
    evict(stand.store, stand.catalog, 0)
    assert stand.database.read_sync(load_document, "old") is None
    assert stand.database.read_sync(load_document, "new") is not None


def test_without_a_scan_only_the_catalog_is_asked(stand: Stand) -> None:
    """The dear comparison can be left out."""
    stand.add_file("orphan", 2000)
    assert evict(stand.store, stand.catalog, 0, scan=False).adopted == 0
    assert stand.known() == set()


def test_only_one_evicts_at_a_time(stand: Stand) -> None:
    """While another holds the lock nothing is done, and that is said."""
    digest = stand.add("a", 1000)
    with locked(stand.store.fills / "evict.lock"):
        done = evict(stand.store, stand.catalog, 0)
    assert done.busy
    assert stand.store.has(digest)
    assert evict(stand.store, stand.catalog, 0).blobs == 1


def test_bytes_published_anew_during_the_eviction_stay(stand: Stand) -> None:
    """Who publishes after the row went counts on the file: it is left, and the next scan adopts it."""
    digest = stand.add("again", 1000)

    class Racing(BlobCatalog):
        def delete_blobs(self, digests: object) -> None:
            super().delete_blobs([digest])
            stand.store.save(b"again".ljust(1000))

    assert evict(stand.store, Racing(stand.database), 0).blobs == 0
    assert stand.store.has(digest)
    assert evict(stand.store, stand.catalog, 10_000).adopted == 1


def test_many_blobs_go_in_several_rounds(stand: Stand) -> None:
    """More than one batch is evicted in one call."""
    stand.database.run_sync(
        lambda connection: [save_blob(connection, f"sha256:{number:064x}", 10, number) for number in range(450)]
    )
    done = evict(stand.store, stand.catalog, 100, scan=False)
    assert done.total_bytes == 90
    assert len(stand.known()) == 9
