"""Signals of proprietary software: what counts for how much, and what is found in a store."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import tracemalloc
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from doubles.gateway import Gateway, clean_environ
from mainstay.cli.usage_signals import render_text
from mainstay.config import Cache, Config, EcosystemSetting, UpstreamSetting
from mainstay.db.artifacts import StoredArtifact, save_artifact
from mainstay.db.documents import State, StoredDocument, save_document
from mainstay.db.engine import Database
from mainstay.ecosystems import ecosystems
from mainstay.errors import ConfigError
from mainstay.model import Facts, Index, Request
from mainstay.store.local import LocalStore
from mainstay.usage.event import Event
from mainstay.usage.ledger import Ledger
from mainstay.usage.question import Question
from mainstay.usage.signals import (
    FILE_LIMIT_BYTES,
    LICENCES,
    PAGE_PROJECTS,
    Report,
    Said,
    Use,
    find_signals,
    judge,
    load_licences,
)

DAY = date(2026, 6, 30)
NOON = datetime(2026, 6, 30, 12, tzinfo=UTC)
LONG_MIT = (
    "Copyright (c) ACME. All rights reserved.\n" + "Permission is hereby granted, free of charge, to any person " * 4
)
LONG_MIT += "obtaining a copy of this software and associated documentation files"
DAILY = tuple(NOON - timedelta(days=days) for days in range(400))
UNUSED = Use()
MUCH = Use(9_000_000, 900_000_000_000, 5000)
WHEELS: dict[str, Any] = {"has_source": False, "binary_only": True, "sizes_bytes": (900_000_000, 5)}
OPEN: dict[str, Any] = {"repository": "https://forge.example/w", "has_source": True}
SPDX = "License :: OSI Approved"
CLOSED = "License :: Other/Proprietary License"


def score(use: Use = UNUSED, stored_bytes: int = 0, **facts: Any) -> int:
    """The score of what one document says."""
    return judge([Said(Facts("1.0", **facts), "there")], DAY, use, stored_bytes)[0]


# Invented projects, from what says most to what says least: the bounds of the score, the facts, the use.
PROJECTS: list[tuple[str, int, int, dict[str, Any]]] = [
    (
        "all at once",
        100,
        100,
        {"licences": ("UNLICENSED",), "repository": "", "published": DAILY, **WHEELS, "use": MUCH},
    ),
    ("a classifier, and wheels only", 85, 99, {"licences": (), "classifiers": (CLOSED,), "repository": "", **WHEELS}),
    ("a reference with the word in it", 70, 79, {"licences": ("LicenseRef-Acme-Proprietary",), "repository": ""}),
    ("unlicensed and no more", 60, 75, {"licences": ("UNLICENSED",)}),
    ("a classifier and no more", 60, 75, {"licences": (), "classifiers": (CLOSED,)}),
    ("a classifier and a text that agree", 60, 75, {"licences": ("Proprietary",), "classifiers": (CLOSED,)}),
    ("a vendor's agreement", 60, 75, {"licences": ("ACME Software End User License Agreement",)}),
    (
        "source available, large and busy",
        50,
        69,
        {"licences": ("BUSL-1.1",), "published": DAILY, **WHEELS, "use": MUCH},
    ),
    ("proprietary, but its source is there", 45, 69, {"licences": ("Proprietary",), **OPEN}),
    ("no word on a licence, but all else", 45, 59, {"licences": (), "repository": "", "published": DAILY, **WHEELS}),
    ("nothing but binaries", 30, 45, {"licences": (), **WHEELS}),
    ("source available", 30, 40, {"licences": ("SSPL-1.0",)}),
    ("not for business", 30, 40, {"licences": ("Free for non-commercial use",)}),
    ("a classifier against a licence", 20, 40, {"licences": ("MIT",), "classifiers": (CLOSED,)}),
    ("size, rate and downloads", 15, 30, {"sizes_bytes": (10**12,), "published": DAILY, "use": MUCH}),
    ("a file that nobody read", 15, 30, {"licences": ("SEE LICENSE IN LICENSE.txt",)}),
    ("no licence", 15, 30, {"licences": ()}),
    ("source available, with its repository", 15, 30, {"licences": ("Elastic-2.0",), **OPEN}),
    ("a licence of its own", 5, 20, {"licences": ("ACME licence 3",)}),
    ("dual, in words", 5, 20, {"licences": ("LGPL, commercial license available",)}),
    ("no licence but a file", 5, 20, {"licences": (), "licence_files": ("LICENSE",)}),
    ("a crate", 0, 10, {"published": DAILY}),
    ("a licence of its own, in the open", 0, 10, {"licences": ("ACME licence 3",), **OPEN}),
    ("nothing is said", 0, 0, {}),
    (
        "permissive, large, daily",
        0,
        19,
        {"licences": ("MIT",), "repository": "", "published": DAILY, **WHEELS, "use": MUCH},
    ),
    ("permissive", 0, 0, {"licences": ("MIT",), **OPEN}),
    ("copyleft or paid", 0, 0, {"licences": ("AGPL-3.0-only OR LicenseRef-Commercial",)}),
    ("a text with all rights reserved", 0, 0, {"licences": (LONG_MIT,)}),
    ("a classifier that is OSI approved", 0, 0, {"licences": (), "classifiers": (SPDX,), **WHEELS}),
    ("not for upload", 0, 0, {"licences": ("MIT",), "classifiers": ("Private :: Do Not Upload",)}),
]


@pytest.mark.parametrize(("name", "least", "most", "facts"), PROJECTS, ids=[name for name, *_ in PROJECTS])
def test_a_project_has_a_score_within_bounds(name: str, least: int, most: int, facts: dict[str, Any]) -> None:
    """What is declared weighs most; what is large and busy is no suspect for that."""
    assert least <= score(**facts) <= most


def test_what_says_more_has_the_higher_score() -> None:
    """The table is in order."""
    scores = [score(**facts) for _, _, _, facts in PROJECTS]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("licence", [("MIT",), ("Apache License, Version 2.0",), ("GPL-3.0-or-later",), (LONG_MIT,)])
def test_an_open_licence_stays_below_20_whatever_else_is_so(licence: tuple[str]) -> None:
    """Large files, daily releases, no source, no repository, many downloads."""
    worst = score(MUCH, 10**12, licences=licence, repository="", homepage="", published=DAILY, **WHEELS)
    assert worst < 20


def test_the_private_classifier_is_no_signal() -> None:
    """It keeps a project off registries."""
    private = ("Private :: Do Not Upload",)
    assert score(licences=(), classifiers=private) == score(licences=(), classifiers=())


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("MIT", "osi"),
        ("mit", "osi"),
        ("GPL-2.0+", "osi"),
        ("(MIT OR Apache-2.0)", "osi"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "osi"),
        ("LicenseRef-Acme OR (BSD-3-Clause AND ISC)", "osi"),
        ("The Apache Software License, Version 2.0", "osi"),
        ('BSD 3-Clause "New" or "Revised" License', "osi"),
        ("Common Development and Distribution License 1.0", "osi"),
        ("GNU Lesser General Public License v2.1 or (at your option) any later version", "osi"),
        ("MIT/Apache-2.0", "osi"),
        ("(MIT AND BSD-3-Clause", "osi"),
        ("GPLv2 with classpath exception", "osi"),
        ("http://opensource.org/licenses/mit-license.php", "osi"),
        ("Licensed under the Apache License; Copyright ACME, all rights reserved", "osi"),
        ("AGPL / Commercial license", "osi"),
        ("see LICENSE (MIT)", "osi"),
        ("CC0-1.0", "open"),
        ("CC BY-SA 4.0", "open"),
        ("MIT-CMU", "open"),
        ("Public Domain", "open"),
        ("MIT AND LicenseRef-Acme", "unclear"),
        ("LicenseRef-MIT-with-a-twist", "unclear"),
        ("LGPL, commercial license available", "unclear"),
        ("ACME licence 3", "unclear"),
        ("()", "unclear"),
        ("not proprietary", "unclear"),
        ("Apache-2.0 (proprietary extensions)", "unclear"),
        ("ACME Software License", "unclear"),
        ("Free for commercial use", "unclear"),
        ("See LICENSE.txt", "file"),
        ("SEE LICENSE IN EULA.md", "file"),
        ("LICENSE.md", "file"),
        ("BUSL-1.1", "restricted"),
        ("Apache 2.0 with Commons Clause", "restricted"),
        ("CC-BY-NC-SA-4.0", "restricted"),
        ("PolyForm-Noncommercial-1.0.0", "restricted"),
        ("non-commercial license", "restricted"),
        ("MIT AND LicenseRef-Proprietary", "proprietary"),
        ("LicenseRef-Acme-EULA", "proprietary"),
        ("UNLICENSED", "proprietary"),
        ("Commercial", "proprietary"),
        ("Copyright 2026 ACME. All rights reserved.", "proprietary"),
        ("Proprietary licence", "proprietary"),
        ("Proprietary and confidential. " + "No part of it may be copied. " * 20, "proprietary"),
    ],
)
def test_a_declared_licence_is_of_a_kind(declared: str, kind: str) -> None:
    """Expressions, names as people write them, and whole texts."""
    assert load_licences().kind(declared) == kind


@given(st.one_of(st.text(max_size=300), st.text("() ANDORWITHMITx-.+", max_size=60)))
def test_any_text_is_of_some_kind(declared: str) -> None:
    """However its brackets and words stand."""
    assert load_licences().kind(declared) in LICENCES


@pytest.mark.parametrize(
    ("classifier", "kind"),
    [
        ("License :: OSI Approved :: MIT License", "osi"),
        (CLOSED, "proprietary"),
        ("License :: Free for non-commercial use", "restricted"),
        ("License :: Public Domain", "open"),
        ("License :: Repoze Public License", "unclear"),
    ],
)
def test_a_classifier_is_of_a_kind(classifier: str, kind: str) -> None:
    """By the longest beginning that is known."""
    assert load_licences().classifier_kind(classifier) == kind


def test_the_score_is_the_sum_of_its_evidence() -> None:
    """One thing said twice counts once; each sign names where it is from."""
    files = Said(Facts("2.0", licences=("Proprietary",), classifiers=(CLOSED,), repository=""), "metadata")
    page = Said(Facts("2.0", has_source=True, sizes_bytes=(60_000_000,), published=DAILY, repository="x"), "page")
    total, evidence = judge([files, page], DAY, Use(2, 3_000_000_000, 1))
    assert [(entry.signal, entry.weight, entry.source) for entry in evidence] == [
        ("licence-proprietary", 70, "metadata"),
        ("rate", 8, "page"),
        ("repository-missing", 6, "metadata"),
        ("size", 4, "page"),
        ("use", 3, "usage ledger"),
        ("classifier-proprietary", 0, "metadata"),
        ("source", -8, "page"),
    ]
    assert total == 83
    assert evidence[0].text == 'declares "Proprietary", worded as a proprietary licence'
    assert evidence[1].text == "was released 365 times in a year"
    assert evidence[4].text == "was asked for 2 times by 1 consumer, 3.0 GB were sent"


def test_of_alternatives_the_most_open_counts() -> None:
    """As Maven has it: whoever uses it may choose."""
    _, evidence = judge([Said(Facts("1.0", licences=("Proprietary", "EPL 2.0")), "pom")], DAY)
    assert [entry.signal for entry in evidence] == ["licence-osi"]


def test_a_homepage_at_a_forge_is_a_repository() -> None:
    """Many name nothing else."""
    assert score(repository="", homepage="https://github.example/acme/w") < score(
        repository="", homepage="https://w.example"
    )
    assert judge([Said(Facts(repository="", homepage="https://github.example/w"), "")], DAY)[1][0].weight == -8


def test_releases_count_over_the_year_up_to_the_last_day_of_the_period() -> None:
    """Neither older nor later ones."""
    outside = (NOON - timedelta(days=366), NOON + timedelta(days=1)) * 200
    assert score(published=outside) == 0
    assert score(published=(NOON,) * 99) == 0 < score(published=(NOON,) * 100)


def test_where_no_document_tells_a_size_the_stored_files_do() -> None:
    """The largest of them; what an index says goes before."""
    total, evidence = judge([Said(Facts(licences=()), "pom")], DAY, stored_bytes=300_000_000)
    assert [(entry.signal, entry.source) for entry in evidence] == [
        ("licence-missing", "pom"),
        ("size", "stored files"),
    ]
    assert judge([Said(Facts(licences=(), sizes_bytes=(1,)), "p")], DAY, stored_bytes=300_000_000)[0] < total


# A whole store


class Data:
    """A data folder to be filled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = Config(data=str(path))
        self._rows: list[Any] = []
        self._store, self._database = LocalStore(path), Database.open(path)

    def index(
        self, ecosystem: str, path: str, body: Any, upstream: str = "https://registry.example/", **changes: Any
    ) -> None:
        """A stored index, as it was asked for at a path below the mount."""
        adapter = ecosystems()[ecosystem]
        index = adapter.route(Request(path, path, headers=changes.pop("headers", {})))
        assert isinstance(index, Index)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = adapter.bases(upstream)[index.role] + index.path
        state: State = changes.pop("state", "ok")
        fields = (ecosystem, upstream, index.project, url, index.accept, self._keep(raw), len(raw))
        self._rows.append(StoredDocument(f"{url} {index.accept}", *fields, "application/json", "", "", 1.0, 1.0, state))

    def file(self, ecosystem: str, project: str, version: str, filename: str, body: bytes, **changes: Any) -> None:
        """A stored file or sidecar."""
        upstream = changes.get("upstream", "https://registry.example/")
        url, size = f"https://files.example/{filename}?signed=1", changes.get("size", len(body))
        fields = (ecosystem, upstream, project, version, filename, url, self._keep(body), size)
        self._rows.append(
            StoredArtifact(f"{upstream}{project}{filename}", *fields, "", "", "", "", changes.get("at", 1.0))
        )

    def _keep(self, body: bytes) -> str:
        """The digest of the bytes, which are stored once."""
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        return digest if self._store.has(digest) else self._store.save(body)

    def save(self, *events: Event) -> None:
        """Write it all down."""

        def save(connection: Any) -> None:
            for row in self._rows:
                (save_document if isinstance(row, StoredDocument) else save_artifact)(connection, row)

        self._database.run_sync(save)
        self._database.close()
        self._store.close()
        ledger = Ledger(self.path)
        for at, event in enumerate(events):
            ledger.record(replace(event, time_us=int(NOON.timestamp()) * 1_000_000 + at))
        asyncio.run(ledger.close())

    def find(self, limit: int = 50, **wanted: Any) -> Report:
        """The signals."""
        return find_signals(self.config, Question((), DAY - timedelta(days=6), DAY, limit=limit), **wanted)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """An empty one."""
    return Data(tmp_path / "data")


def packument(licence: str) -> dict[str, Any]:
    """A packument with one release."""
    return {"dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {"license": licence}}}


def sent(ecosystem: str, project: str, size: int, consumer: str = "ci", **changes: Any) -> Event:
    """A reply."""
    upstream = changes.pop("upstream", "https://registry.example/")
    return replace(
        Event(
            0, consumer=consumer, ecosystem=ecosystem, project=project, upstream=upstream, status=200, bytes_down=size
        ),
        **changes,
    )


SIMPLE = "https://registry.example/simple/"


def fill(data: Data) -> None:
    """A store with projects of four ecosystems, and a ledger of who had them."""
    names = ["tool-1.0-cp311-cp311-win_amd64.whl", "tool-2.0-cp311-cp311-win_amd64.whl"]
    files = [{"filename": name, "url": f"https://files.example/{name}", "hashes": {}, "size": 10} for name in names]
    page = {"meta": {"api-version": "1.0"}, "name": "tool", "files": files}
    data.index("pypi", "simple/tool/", page, SIMPLE, headers={"accept": "application/vnd.pypi.simple.v1+json"})
    old = b"Metadata-Version: 2.4\nName: tool\nLicense-Expression: MIT\n"
    new = f"Metadata-Version: 2.1\nName: tool\nClassifier: {CLOSED}\n".encode()
    data.file("pypi", "tool", "1.0", f"{names[0]}.metadata", old, upstream=SIMPLE, at=9.0)
    data.file("pypi", "tool", "2.0", f"{names[1]}.metadata", new, upstream=SIMPLE)
    data.file("pypi", "tool", "2.0", names[1], b"wheel", upstream=SIMPLE)
    data.index("npm", "@acme/closed", packument("Proprietary\x1b[31m\nfake"))
    data.index("npm", "open", packument("MIT"))
    pom = b"<project><licenses><license><name>ACME EULA</name></license></licenses></project>"
    data.file("maven", "org.acme/jar", "3.0", "3.0/jar-3.0.pom", pom)
    data.file("maven", "org.acme/jar", "3.0", "3.0/jar-3.0.jar", b"jar", size=80_000_000)
    data.index("golang", "mod.example/w/@v/list", b"v1.0.0\n")
    data.index("npm", "broken", b"<html>")
    data.index("npm", "gone", packument("UNLICENSED"), state="gone")
    data.save(
        sent("pypi", "tool", 5_000, upstream=SIMPLE),
        sent("pypi", "tool", 5_000, "anna", upstream=SIMPLE),
        sent("pypi", "tool", 0, "anna", upstream=SIMPLE, status=304),
        sent("pypi", "tool", 0, "mainstay", upstream=SIMPLE, status=0, bytes_up=9),
        sent("npm", "open", 10**9),
        sent("maven", "org.acme/jar", 80_000_000),
    )


def test_a_store_is_judged_by_what_it_holds(data: Data) -> None:
    """By score times bytes; the newest release's own words, its page, its files, and the ledger."""
    fill(data)
    report = data.find(lowest=30)
    rows = [(row.ecosystem, row.project, row.version, row.score, row.use) for row in report.rows]
    assert rows == [
        ("maven", "org.acme/jar", "3.0", 80, Use(1, 80_000_000, 1)),
        ("pypi", "tool", "2.0", 86, Use(3, 10_000, 2)),
        ("npm", "@acme/closed", "1.0.0", 76, Use()),
    ]
    assert (report.projects, report.unreadable, report.losses) == (4, 1, ())
    tool = {entry.signal: (entry.weight, entry.source) for entry in report.rows[1].evidence}
    assert tool == {
        "classifier-proprietary": (70, "https://files.example/tool-2.0-cp311-cp311-win_amd64.whl.metadata"),
        "source-closed": (10, "https://registry.example/simple/tool"),
        "repository-missing": (6, "https://files.example/tool-2.0-cp311-cp311-win_amd64.whl.metadata"),
        "use": (0, "usage ledger"),
    }
    assert [entry.signal for entry in report.rows[0].evidence][:2] == ["licence-proprietary", "repository-missing"]


def test_all_projects_are_shown_where_every_score_will_do(data: Data) -> None:
    """One that is open too, with 0."""
    fill(data)
    assert [(row.project, row.score) for row in data.find().rows if row.score == 0] == [("open", 0)]
    assert [row.project for row in data.find(limit=1).rows] == ["org.acme/jar"]


def test_one_ecosystem_or_project_can_be_asked_for(data: Data) -> None:
    """In the spelling that its registry compares by."""
    fill(data)
    assert {row.project for row in data.find(ecosystem="npm").rows} == {"@acme/closed", "open"}
    assert [row.project for row in data.find(project="tool").rows] == ["tool"]
    assert data.find(ecosystem="maven", project="tool").rows == []
    with pytest.raises(ConfigError, match="--ecosystem perl is not served"):
        data.find(ecosystem="perl")


def test_what_the_index_does_not_list_as_newest_goes_by_when_it_came(data: Data) -> None:
    """Without an index the last file that tells something counts."""
    for at, licence in enumerate(["Proprietary", "MIT", "Elastic License"]):
        body = f"Name: w\nLicense: {licence}\n".encode()
        data.file("pypi", "w", f"{at}.0", f"w-{at}.0-py3-none-any.whl.metadata", body, at=[2.0, 3.0, 1.0][at])
    data.save()
    assert [(row.version, row.score) for row in data.find().rows] == [("1.0", 0)]


def test_private_upstreams_are_nobody_elses_business(data: Data) -> None:
    """Nor are those that have names of their own."""
    places = [f"https://registry.example/{name}/" for name in ("private", "ours", "public")]
    for place in places:
        data.index("npm", "closed", packument("UNLICENSED"), place)
    data.save()
    upstreams = (
        UpstreamSetting(places[0].replace("//", "//me:secret@"), private=True),
        UpstreamSetting(places[1].rstrip("/"), namespaces=("@acme/*",)),
        UpstreamSetting(places[2]),
    )
    data.config = Config(data=str(data.path), ecosystems={"npm": EcosystemSetting(upstreams)})
    assert [row.upstream for row in data.find().rows] == [places[2]]


def test_a_folder_without_a_gateway_has_no_signals_and_stays_as_it_was(tmp_path: Path) -> None:
    """Nothing is made there."""
    report = find_signals(Config(data=str(tmp_path / "none")), Question((), DAY, DAY, limit=5))
    assert (report.rows, report.projects) == ([], 0)
    assert not (tmp_path / "none").exists()


def test_bytes_that_were_evicted_are_counted_as_unreadable(data: Data) -> None:
    """The rest is judged all the same."""
    data.index("npm", "a", packument("UNLICENSED"))
    data.index("npm", "b", packument("Proprietary"))
    data.save()
    digest = hashlib.sha256(json.dumps(packument("UNLICENSED")).encode()).hexdigest()
    (data.path / "blobs" / digest[:2] / digest).unlink()
    report = data.find()
    assert ([row.project for row in report.rows], report.projects, report.unreadable) == (["b"], 1, 1)


def test_what_is_too_large_to_be_read_is_counted_as_unreadable(data: Data) -> None:
    """A document over the limit of the settings, a file that describes a release over a fixed one."""
    data.index("npm", "a", packument("UNLICENSED") | {"readme": "x" * 3000})
    pom = b"<project><licenses><license><name>EULA</name></license></licenses></project>"
    data.file("maven", "org.acme/jar", "3.0", "3.0/jar-3.0.pom", pom, size=FILE_LIMIT_BYTES + 1)
    data.save()
    data.config = Config(data=str(data.path), cache=Cache(max_document="2 kB"))
    report = data.find()
    assert (report.rows, report.unreadable) == ([], 2)


def test_memory_does_not_grow_with_the_store(data: Data) -> None:
    """Of more projects than one page has, one document is held at a time."""
    large = packument("UNLICENSED") | {"readme": "x" * 200_000}
    count = 2 * PAGE_PROJECTS + 1
    for number in range(count):
        data.index("npm", f"p{number}", large)
    data.save()
    tracemalloc.start()
    try:
        report = data.find(limit=5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (report.projects, len(report.rows)) == (count, 5)
    assert peak < count * 200_000 / 4, peak


# The command


def run(data: Data, *words: str) -> subprocess.CompletedProcess[str]:
    """`mainstay usage signals` on the folder."""
    period = ("--since", "7 days", "--until", DAY.isoformat(), "--data", str(data.path))
    command = Gateway.command("usage", "signals", *period, *words)
    return subprocess.run(command, env=clean_environ(), capture_output=True, text=True, timeout=60)


def test_the_text_is_of_signals_for_a_person(data: Data) -> None:
    """With the evidence, and never as a verdict; what a stranger wrote cannot speak to the terminal."""
    fill(data)
    text = render_text(data.find(lowest=30))
    lines = text.splitlines()
    assert lines[0] == "signals from 2026-06-24 to 2026-06-30 (UTC), from score 30 on"
    assert lines[2] == " 80  maven org.acme/jar 3.0: 80.0 MB in 1 request"
    assert lines[3:7] == [
        '     +70  declares "ACME EULA", worded as a proprietary licence  (jar-3.0.pom)',
        "      +6  names no repository  (jar-3.0.pom)",
        "      +4  is as large as 80.0 MB  (stored files)",
        "       0  was asked for 1 time by 1 consumer, 80.0 MB were sent  (usage ledger)",
    ]
    assert "These are signals and no verdict" in text and "no registry was asked" in text
    assert "1 documents or files could not be read" in text
    assert "is proprietary" not in text
    assert "\x1b" not in text and "\nfake" not in text
    assert "No project has such a score." in render_text(data.find(lowest=100))


def test_the_command_prints_one_json_document(data: Data) -> None:
    """With exact figures, evidence and sources."""
    fill(data)
    done = run(data, "--project", "@acme/closed", "--lowest", "0", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["schema"], found["since"], found["until"], found["lowest"]) == (1, "2026-06-24", "2026-06-30", 0)
    (row,) = found["rows"]
    evidence = row.pop("evidence")
    assert row == {
        "ecosystem": "npm",
        "upstream": "https://registry.example/",
        "project": "@acme/closed",
        "version": "1.0.0",
        "score": 76,
        "requests": 0,
        "bytes": 0,
        "consumers": 0,
    }
    assert set(evidence[0]) == {"signal", "weight", "text", "source"}
    assert found["note"].startswith("These are signals and no verdict")
