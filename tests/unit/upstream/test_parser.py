from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doubles.registry import Project
from mainstay.ecosystems import ecosystems
from mainstay.errors import MainstayError, NotFound, StoreError, StoreFull, UnsupportedDocument
from mainstay.model import Artifact
from mainstay.store.local import LocalStore
from mainstay.upstream.listings import SMALL_BYTES, Plan, Stored
from mainstay.upstream.parser import Parser

MEDIA_TYPE = "application/vnd.pypi.simple.v1+json"
PAGE = "https://registry.example/simple/demo/"
ARTIFACT = Artifact("demo", "1.0", "demo-1.0.tar.gz", "demo-1.0.tar.gz", "files")
ADAPTER = ecosystems()["pypi"]
INDEX = ADAPTER.index_of(ARTIFACT)


@pytest.fixture
async def parser() -> AsyncIterator[Parser]:
    """A parser whose child is not started yet."""
    parser = Parser()
    yield parser
    await parser.close()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Where the indexes are."""
    return LocalStore(tmp_path)


def keep(store: LocalStore, body: bytes) -> Stored:
    """These bytes as a stored index."""
    digest = store.save(body)
    return Stored(ADAPTER.id, INDEX, str(store.path(digest)), digest, len(body), MEDIA_TYPE, PAGE)


def index(store: LocalStore, *, large: bool = False, versions: tuple[str, ...] = ("1.0", "2.0")) -> Stored:
    """An index of these releases, padded over the threshold where it is to be `large`."""
    project = Project("demo", "https://files.example/")
    for version in versions:
        project.release(version, {f"demo-{version}.tar.gz": version.encode()})
    body = project.index(MEDIA_TYPE).body
    return keep(store, body + b" " * SMALL_BYTES if large else body)


def overwrite(stored: Stored, body: bytes) -> None:
    """Damage a blob."""
    Path(stored.path).write_bytes(body)


def plan(**changes: object) -> Plan:
    """How to render it."""
    values: dict[str, object] = {"form": INDEX.form, "base": "../../", **changes}
    return Plan(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
async def test_both_ways_find_summarise_and_render_alike(large: bool, parser: Parser, store: LocalStore) -> None:
    """In the loop and in the child: the same files, the same changes, the same ETag."""
    stored, old = index(store, large=large), index(store, large=large, versions=("0.9", "1.0"))
    found = await parser.find(stored, ARTIFACT)
    assert found is not None and found.url.startswith("https://files.example/packages/")
    assert await parser.find(stored, Artifact("demo", "9", "demo-9.tar.gz", "demo-9.tar.gz", "files")) is None
    summary = await parser.summarise(stored, old)
    assert summary.gone.versions == ("0.9",) and summary.added_versions == {"2.0"}
    assert summary.bases == {"https://files.example/": None}
    out = store.temporary()
    rendered = await parser.render(stored, plan(denied=frozenset({"2.0"})), out)
    body = rendered.body if rendered.body is not None else out.read_bytes()
    assert (rendered.body is None) == large
    assert b"demo-1.0.tar.gz" in body and b"demo-2.0.tar.gz" not in body
    assert rendered.size_bytes == len(body)
    assert (parser._child is not None) == large
    assert (await parser.render(index(store), plan(denied=frozenset({"2.0"})), out)).etag == rendered.etag


async def test_each_encoding_and_rule_has_an_etag_of_its_own(parser: Parser, store: LocalStore) -> None:
    """So that no cache takes one for another."""
    stored, out = index(store), store.temporary()
    plans = [plan(), plan(gzip=True), plan(denied=frozenset({"1.0"})), plan(base=None)]
    etags = {(await parser.render(stored, one, out)).etag for one in plans}
    assert len(etags) == len(plans)


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
async def test_what_does_not_parse_or_was_damaged_is_refused(large: bool, parser: Parser, store: LocalStore) -> None:
    """As our own error, from the child too; the next job is done."""
    padding = b" " * SMALL_BYTES if large else b""
    with pytest.raises(UnsupportedDocument):
        await parser.summarise(keep(store, b'{"files": [' + padding), None)
    damaged = index(store, large=large)
    overwrite(damaged, b"other bytes" + padding)
    with pytest.raises(UnsupportedDocument, match="damaged"):
        await parser.find(damaged, ARTIFACT)
    assert await parser.find(index(store, large=large, versions=("1.0",)), ARTIFACT) is not None


async def test_an_index_that_was_evicted_is_an_error_of_the_store(parser: Parser, store: LocalStore) -> None:
    """From the child as from here; it is no defect."""
    stored = index(store, large=True)
    store.delete(stored.digest)
    with pytest.raises(StoreError):
        await parser.find(stored, ARTIFACT)


async def test_a_full_disk_is_told_as_such_by_the_child(parser: Parser, store: LocalStore) -> None:
    """StoreFull, which the client sees as 507 and the operator as a thing to mend; the next job is done."""
    stored = index(store, large=True)
    with pytest.raises(StoreFull, match="space"):
        await parser.render(stored, plan(), Path("/dev/full"))
    assert await parser.find(stored, ARTIFACT) is not None


async def test_an_older_index_that_was_evicted_compares_to_nothing(parser: Parser, store: LocalStore) -> None:
    """No older index is no takedown."""
    stored, old = index(store), index(store, versions=("0.9", "1.0"))
    store.delete(old.digest)
    assert not (await parser.summarise(stored, old)).gone


async def test_a_child_that_dies_in_its_job_fails_that_job_only(parser: Parser, store: LocalStore) -> None:
    """The caller is told to try again, and the very next job is done by a new child."""
    stored = index(store, large=True)
    await parser.start()
    for _ in range(3):
        child = parser._child
        assert child is not None
        os.kill(child.pid, signal.SIGSTOP)
        job = asyncio.create_task(parser.find(stored, ARTIFACT))
        await asyncio.sleep(0.05)
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(MainstayError) as caught:
            await job
        assert not isinstance(caught.value, NotFound)
        assert await parser.find(stored, ARTIFACT) is not None


async def test_a_child_that_died_between_jobs_is_replaced(parser: Parser, store: LocalStore) -> None:
    """Nobody notices."""
    await parser.start()
    assert parser._child is not None
    parser._child.kill()
    await parser._child.wait()
    assert await parser.find(index(store, large=True), ARTIFACT) is not None


async def test_a_caller_that_leaves_does_not_shift_the_answers(parser: Parser, store: LocalStore) -> None:
    """The next caller gets its own answer, not the one that was under way."""
    stored, other = index(store, large=True), index(store, large=True, versions=("3.0",))
    await parser.start()
    job = asyncio.create_task(parser.find(stored, ARTIFACT))
    await asyncio.sleep(0.01)
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    assert (await parser.summarise(other, stored)).added_versions == {"3.0"}


async def test_a_job_that_takes_too_long_is_our_own_error(
    parser: Parser, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words, with the child replaced."""
    from mainstay.upstream import parser as parser_module

    stored = index(store, large=True)
    await parser.start()
    assert parser._child is not None
    os.kill(parser._child.pid, signal.SIGSTOP)
    monkeypatch.setattr(parser_module, "JOB_TIMEOUT_S", 0.1)
    with pytest.raises(MainstayError):
        await parser.find(stored, ARTIFACT)
    monkeypatch.setattr(parser_module, "JOB_TIMEOUT_S", 10.0)
    assert await parser.find(stored, ARTIFACT) is not None
