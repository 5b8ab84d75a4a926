from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from doubles.registry import Project
from doubles.upstream import Upstream
from mainstay.app import Gateway
from mainstay.config import Config
from mainstay.db.takedowns import Takedown, record_takedowns
from mainstay.errors import ConfigError
from mainstay.upstream.documents import Asked
from mainstay.upstream.takedowns import lift_blocks
from unit.clock import Clock

TTL_S = 300


@pytest.fixture
def project(upstream: Upstream) -> Project:
    """Two releases, the second with two files."""
    project = upstream.project("demo").release("1.0")
    return project.release("2.0", {"demo-2.0.tar.gz": b"source", "demo-2.0-py3-none-any.whl": b"wheel"})


async def blocked(gateway: Gateway, asked: Asked, clock: Clock) -> list[tuple[str, str]]:
    """Let the index's lifetime end, ask, and say what is blocked: (version, filename)."""
    clock.advance(TTL_S + 1)
    await gateway.documents.obtain(asked)
    await gateway._takedowns.current()
    return sorted((entry.version, entry.filename) for entry in gateway._takedowns.of(asked.upstream, "demo").entries)


async def test_a_release_that_vanishes_is_blocked_and_comes_back_with_it(
    gateway: Gateway, asked: Asked, project: Project, clock: Clock
) -> None:
    """The words say since when; a release that is listed again is free again."""
    assert await blocked(gateway, asked, clock) == []
    files = project.releases["1.0"]
    project.remove("1.0")
    assert await blocked(gateway, asked, clock) == [("1.0", "")]
    block = gateway._takedowns.of(asked.upstream, "demo").on("1.0", "demo-1.0.tar.gz")
    assert block is not None and "UTC" in block.evidence
    assert gateway._takedowns.of(asked.upstream, "demo").on("2.0") is None
    assert await blocked(gateway, asked, clock) == [("1.0", "")]
    project.releases = {"1.0": files, **project.releases}
    project.revision += 1
    assert await blocked(gateway, asked, clock) == []


async def test_one_file_of_a_release_can_vanish(gateway: Gateway, asked: Asked, project: Project, clock: Clock) -> None:
    """The release stays, only that file is refused."""
    assert await blocked(gateway, asked, clock) == []
    project.releases["2.0"] = [file for file in project.releases["2.0"] if file.filename.endswith(".tar.gz")]
    project.revision += 1
    assert await blocked(gateway, asked, clock) == [("2.0", "demo-2.0-py3-none-any.whl")]
    blocks = gateway._takedowns.of(asked.upstream, "demo")
    assert blocks.on("2.0", "demo-2.0-py3-none-any.whl") is not None
    assert blocks.on("2.0", "demo-2.0.tar.gz") is None and blocks.versions == frozenset()


async def test_what_is_listed_again_is_there_at_every_moment(
    gateway: Gateway, asked: Asked, project: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that come while the blocks are read again see them as they were, and then once, however many ask."""
    await blocked(gateway, asked, clock)
    project.remove("1.0")
    await blocked(gateway, asked, clock)
    takedowns = gateway._takedowns
    ids = (asked.upstream.ecosystem.id, asked.upstream.id, "demo")
    assert lift_blocks(gateway.config, "pkg:pypi/demo@1.0") == 1
    await takedowns.current()
    seen = [len(takedowns.restored(*ids))]
    gateway._shared.bump()
    read = gateway.database.read

    async def look_and_read(*arguments: Any) -> Any:
        seen.append(len(takedowns.restored(*ids)))
        found = await read(*arguments)
        seen.append(len(takedowns.restored(*ids)))
        return found

    monkeypatch.setattr(gateway.database, "read", look_and_read)
    await asyncio.gather(takedowns.current(), takedowns.current())
    assert set(seen) == {1} and len(takedowns.restored(*ids)) == 1


async def test_a_block_that_a_person_lifted_stays_lifted(
    gateway: Gateway, asked: Asked, project: Project, clock: Clock
) -> None:
    """Upstream goes on not listing it: that is known and was decided upon. A running gateway follows at once."""
    await blocked(gateway, asked, clock)
    project.remove("1.0")
    assert await blocked(gateway, asked, clock) == [("1.0", "")]
    assert lift_blocks(gateway.config, "pkg:pypi/demo@1.0") == 1
    await gateway._takedowns.current()
    assert gateway._takedowns.of(asked.upstream, "demo").entries == ()
    project.release("3.0")
    assert await blocked(gateway, asked, clock) == []
    project.release("4.0")
    assert await blocked(gateway, asked, clock) == []


async def test_a_project_whose_block_was_lifted_is_not_blocked_anew_by_the_next_check(
    gateway: Gateway, asked: Asked, project: Project, clock: Clock
) -> None:
    """It is still gone upstream, which a person knew."""
    await blocked(gateway, asked, clock)
    project.disappear()
    assert await blocked(gateway, asked, clock) == [("", "")]
    assert lift_blocks(gateway.config, "pkg:pypi/demo") == 1
    assert await blocked(gateway, asked, clock) == []


async def test_lifting_names_exactly_what_is_lifted(
    gateway: Gateway, asked: Asked, project: Project, clock: Clock
) -> None:
    """Another version, another project, another ecosystem: nothing."""
    await blocked(gateway, asked, clock)
    project.remove("1.0")
    await blocked(gateway, asked, clock)
    for purl in ("pkg:pypi/demo@2.0", "pkg:pypi/other@1.0", "pkg:npm/demo@1.0"):
        assert lift_blocks(gateway.config, purl) == 0
    assert lift_blocks(gateway.config, "pkg:pypi/demo@1.0") == 1
    assert lift_blocks(gateway.config, "pkg:pypi/demo@1.0") == 0


async def test_a_name_is_found_in_any_spelling_that_is_the_same_project(gateway: Gateway) -> None:
    """A registry of crates has one crate of `demo_crate`, `demo-crate` and `Demo_Crate`."""
    ids = ("cargo", "https://registry.example/", "demo_crate")
    entry = Takedown(*ids, "1.0.0", "", "upstream no longer lists it", "a test", 1.0)
    await gateway.database.run(record_takedowns, [entry], [], 0.0)
    assert lift_blocks(gateway.config, "pkg:cargo/other@1.0.0") == 0
    assert lift_blocks(gateway.config, "pkg:cargo/Demo-Crate@1.0.0") == 1


@pytest.mark.parametrize("text", ["", "demo", "pkg:", "pkg:pypi", "http://registry.example/demo"])
def test_what_is_no_package_url_is_refused_in_words(text: str, tmp_path: Path) -> None:
    """With how to write one."""
    with pytest.raises(ConfigError) as caught:
        lift_blocks(Config(data=str(tmp_path)), text)
    assert "pkg:TYPE/NAME@VERSION" in caught.value.hint


async def test_another_representation_names_no_takedowns_by_itself(
    gateway: Gateway, asked: Asked, upstream: Upstream, project: Project, clock: Clock
) -> None:
    """JSON can list a version without files, HTML cannot: that it is missing there means nothing."""
    project.releases = {**project.releases, "0.1": []}
    project.revision += 1
    assert await blocked(gateway, asked, clock) == []
    upstream.html_only = True
    assert await blocked(gateway, asked, clock) == []


async def test_nothing_is_blocked_while_nothing_is_known(gateway: Gateway, asked: Asked) -> None:
    """The common case costs no look-up."""
    begun_s = time.perf_counter()
    assert gateway._takedowns.of(asked.upstream, "demo").on("1.0") is None
    assert time.perf_counter() - begun_s < 0.1
