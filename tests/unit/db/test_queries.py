from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Connection

from mainstay.db import blobs
from mainstay.db.artifacts import StoredArtifact, load_artifact, load_project_artifacts, save_artifact
from mainstay.db.blobs import (
    BlobCatalog,
    adopt_blobs,
    delete_absences,
    delete_blobs,
    load_coldest,
    load_digests,
    load_total,
    pin_blob,
    save_blob,
    touch_blobs,
)
from mainstay.db.documents import StoredDocument, load_document, save_document, touch_document
from mainstay.db.engine import Database
from mainstay.db.origins import Origin, load_origins, save_origins
from mainstay.db.renderings import StoredRendering, load_rendering, save_rendering
from mainstay.db.takedowns import (
    Takedown,
    lift_takedowns,
    load_project_takedowns,
    load_takedowns,
    record_takedowns,
    save_takedown,
)

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
IDS = ("eco", "https://registry.example/", "flask")
DOCUMENT = StoredDocument("d1", *IDS, "https://registry.example/flask/", "a/b", A, 10, "a/b", '"1"', "", 1.5, 2.5)
ARTIFACT = StoredArtifact(
    "a1", *IDS, "1.0", "f.whl", "https://files.example/f.whl", A, 10, "a/b", "", "", "sha512", 1.0
)
RENDERING = StoredRendering("r1", A, 10, "a/b", '"x"', (("Vary", "Accept"), ("X", "é")), 3.0)
TAKEDOWN = Takedown(*IDS, "1.0", "", "gone from the index", "evidence", 5.0)


def test_documents_are_saved_replaced_and_found(database: Database) -> None:
    """By key; a missing one has no digest."""

    def work(connection: Connection) -> None:
        assert load_document(connection, "d1") is None
        save_document(connection, DOCUMENT)
        save_document(connection, replace(DOCUMENT, key="d2", digest=None, state="missing"))
        assert load_document(connection, "d1") == DOCUMENT
        newer = replace(DOCUMENT, etag='"2"', digest=B)
        save_document(connection, newer)
        assert load_document(connection, "d1") == newer
        missing = load_document(connection, "d2")
        assert missing is not None and (missing.digest, missing.state) == (None, "missing")

    database.run_sync(work)


def test_touching_a_document_moves_only_its_check(database: Database) -> None:
    """A 304 from upstream leaves the rest as it is; touching what is not there is nothing."""

    def work(connection: Connection) -> None:
        save_document(connection, DOCUMENT)
        touch_document(connection, "d1", 99.0)
        touch_document(connection, "absent", 99.0)
        assert load_document(connection, "d1") == replace(DOCUMENT, checked_at=99.0)

    database.run_sync(work)


def test_artifacts_are_saved_replaced_and_found(database: Database) -> None:
    """By key and by project."""

    def work(connection: Connection) -> None:
        assert load_artifact(connection, "a1") is None
        save_artifact(connection, ARTIFACT)
        newer = replace(ARTIFACT, verified="first-seen")
        save_artifact(connection, newer)
        save_artifact(connection, replace(ARTIFACT, key="a2", upstream="https://other.example/"))
        assert load_artifact(connection, "a1") == newer
        assert load_project_artifacts(connection, *IDS) == [newer]

    database.run_sync(work)


def test_renderings_keep_their_headers_in_order(database: Database) -> None:
    """Headers come back as pairs."""

    def work(connection: Connection) -> None:
        assert load_rendering(connection, "r1") is None
        save_rendering(connection, RENDERING)
        assert load_rendering(connection, "r1") == RENDERING
        save_rendering(connection, replace(RENDERING, headers=()))
        assert load_rendering(connection, "r1") == replace(RENDERING, headers=())

    database.run_sync(work)


def test_deleting_a_blob_forgets_what_points_at_it(database: Database) -> None:
    """Its artifact, document and rendering go; others, and documents without a blob, stay."""

    def work(connection: Connection) -> None:
        save_document(connection, DOCUMENT)
        save_document(connection, replace(DOCUMENT, key="none", digest=None))
        save_artifact(connection, ARTIFACT)
        save_artifact(connection, replace(ARTIFACT, key="a2", digest=B))
        save_rendering(connection, RENDERING)
        for digest in (A, B):
            save_blob(connection, digest, 10, 1.0)
        delete_blobs(connection, iter([A]))
        assert load_digests(connection, "", 9) == [B]
        assert load_document(connection, "d1") is None
        assert load_document(connection, "none") is not None
        assert load_artifact(connection, "a1") is None
        assert load_artifact(connection, "a2") is not None
        assert load_rendering(connection, "r1") is None

    database.run_sync(work)


def test_the_coldest_blobs_come_first_without_pinned_and_recent_ones(database: Database) -> None:
    """In the order of their last use, as many as asked for."""

    def work(connection: Connection) -> None:
        for number in range(6):
            save_blob(connection, f"blob{number}", number, 10.0 - number)
        pin_blob(connection, "blob5", True)
        assert load_coldest(connection, 9.0, 2) == [("blob4", 4), ("blob3", 3)]
        assert load_coldest(connection, 9.0, 99) == [("blob4", 4), ("blob3", 3), ("blob2", 2)]
        pin_blob(connection, "blob5", False)
        assert load_coldest(connection, 9.0, 1) == [("blob5", 5)]
        assert load_total(connection) == 15

    database.run_sync(work)


def test_digests_are_read_in_pages(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every one is found, whether a page is full or not."""
    monkeypatch.setattr(blobs, "_PAGE", 3)
    for count in range(8):
        assert BlobCatalog(database).load_digests() == {f"sha256:{number}" for number in range(count)}
        database.run_sync(save_blob, f"sha256:{count}", 1, 1.0)


def test_old_absences_are_forgotten(database: Database) -> None:
    """Names that upstream does not have would else fill the table; what is held, and what is news, stays."""

    def work(connection: Connection) -> None:
        for key, digest, checked_at in (("old", None, 1.0), ("new", None, 9.0), ("held", A, 1.0)):
            save_document(connection, replace(DOCUMENT, key=key, digest=digest, checked_at=checked_at))
        delete_absences(connection, 5.0)
        left = [key for key in ("old", "new", "held") if load_document(connection, key) is not None]
        assert left == ["new", "held"]

    database.run_sync(work)


def test_use_only_moves_forward(database: Database) -> None:
    """Late batches of another worker do not make a blob look older; more digests than one statement takes are fine."""

    def work(connection: Connection) -> None:
        digests = [f"blob{number}" for number in range(1200)]
        adopt_blobs(connection, [(digest, 1, 5.0) for digest in digests])
        touch_blobs(connection, (digest for digest in digests), 9.0)
        touch_blobs(connection, digests, 7.0)
        assert load_coldest(connection, 9.0, 9999) == []
        assert len(load_coldest(connection, 9.5, 9999)) == 1200

    database.run_sync(work)


def test_a_blob_saved_again_keeps_its_pin(database: Database) -> None:
    """Fetching anew what a takedown keeps does not free it."""

    def work(connection: Connection) -> None:
        save_blob(connection, A, 10, 1.0)
        pin_blob(connection, A, True)
        save_blob(connection, A, 12, 2.0)
        adopt_blobs(connection, [(A, 99, 3.0)])
        adopt_blobs(connection, [])
        assert load_coldest(connection, 100.0, 9) == []
        assert load_total(connection) == 12

    database.run_sync(work)


def test_an_empty_store_weighs_nothing(database: Database) -> None:
    """Zero, not None."""
    assert database.read_sync(load_total) == 0


def test_a_takedown_is_new_once_until_it_is_lifted(database: Database) -> None:
    """The first evidence stays while in force; after a lift the same takedown is news again."""

    def work(connection: Connection) -> None:
        assert save_takedown(connection, TAKEDOWN)
        assert not save_takedown(connection, replace(TAKEDOWN, evidence="later"))
        assert load_takedowns(connection) == [TAKEDOWN]
        assert lift_takedowns(connection, "eco", "flask", "1.0", "ann", 9.0) == 1
        assert lift_takedowns(connection, "eco", "flask", "1.0", "bob", 10.0) == 0
        assert load_takedowns(connection) == []
        lifted = replace(TAKEDOWN, lifted_at=9.0, lifted_by="ann")
        assert load_takedowns(connection, active_only=False) == [lifted]
        assert save_takedown(connection, replace(TAKEDOWN, evidence="later"))
        assert load_takedowns(connection) == [replace(TAKEDOWN, evidence="later")]

    database.run_sync(work)


@pytest.mark.parametrize(("version", "left"), [("1.0", ["", "2.0"]), (None, []), ("3.0", ["", "1.0", "1.0", "2.0"])])
def test_a_lift_is_of_one_version_or_of_all(database: Database, version: str | None, left: list[str]) -> None:
    """A version's own blocks, or every block of the project; other projects stay blocked."""

    def work(connection: Connection) -> None:
        for entry in ("", "1.0", "2.0"):
            save_takedown(connection, replace(TAKEDOWN, version=entry))
        save_takedown(connection, replace(TAKEDOWN, filename="f.whl"))
        save_takedown(connection, replace(TAKEDOWN, project="other"))
        lift_takedowns(connection, "eco", "flask", version, "ann", 9.0)
        assert [entry.version for entry in load_project_takedowns(connection, *IDS)] == left
        assert len(load_project_takedowns(connection, *IDS, active_only=False)) == 4
        assert len(load_project_takedowns(connection, "eco", IDS[1], "other")) == 1

    database.run_sync(work)


def test_bytes_stay_pinned_while_any_block_covers_them(database: Database) -> None:
    """Lifting the block of one version leaves the bytes that a block of the whole project keeps as evidence."""

    def work(connection: Connection) -> None:
        save_artifact(connection, ARTIFACT)
        save_artifact(connection, replace(ARTIFACT, key="a2", version="2.0", filename="g.whl", digest=B))
        record_takedowns(connection, [TAKEDOWN, replace(TAKEDOWN, version="")], [], 0.0)
        assert load_coldest(connection, 9.0, 9) == []
        lift_takedowns(connection, "eco", "flask", "1.0", "ann", 9.0)
        assert load_coldest(connection, 9.0, 9) == []
        record_takedowns(connection, [TAKEDOWN], [replace(TAKEDOWN, version="")], 0.0)
        assert load_coldest(connection, 9.0, 9) == [(B, 10)]
        lift_takedowns(connection, "eco", "flask", None, "ann", 9.0)
        assert {digest for digest, _ in load_coldest(connection, 9.0, 9)} == {A, B}

    database.run_sync(work)


def test_the_last_upstream_seen_at_a_base_has_it(database: Database) -> None:
    """A base belongs to one upstream."""

    def work(connection: Connection) -> None:
        first = Origin("https://files.example/", "eco", "https://one.example/", "files", 1.0)
        save_origins(connection, [])
        save_origins(connection, [first, replace(first, base="https://a.example/")])
        save_origins(connection, [replace(first, upstream="https://two.example/")])
        assert [(entry.base, entry.upstream) for entry in load_origins(connection)] == [
            ("https://a.example/", "https://one.example/"),
            ("https://files.example/", "https://two.example/"),
        ]

    database.run_sync(work)
