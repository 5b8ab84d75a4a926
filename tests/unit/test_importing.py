"""Logs of other programs as events: what is kept of them, and what is not."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from doubles.gateway import Gateway, clean_environ
from mainstay.access.identity import Caller
from mainstay.cli import app
from mainstay.config import Config, EcosystemSetting, Usage
from mainstay.db.consumers import Consumer, Token, add_consumer
from mainstay.db.engine import Database
from mainstay.db.origins import Origin, save_origins
from mainstay.errors import ConfigError, MainstayError, StoreError
from mainstay.importing import Imported, import_logs
from mainstay.usage import imported
from mainstay.usage.answers import query
from mainstay.usage.columnar import EventFile
from mainstay.usage.event import Client, Event
from mainstay.usage.imported import IMPORTED_FOLDER, drafting, forget_imported, imported_files, imported_names
from mainstay.usage.importers.places import What
from mainstay.usage.importers.report import render_reports, render_reports_json

LOGS = Path(__file__).parent / "usage" / "data" / "logs"
TODAY = date(2026, 11, 22)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOON_US = int(NOON.timestamp()) * 1_000_000
UPSTREAMS = {
    "pypi": "https://py.registry.example/simple/",
    "npm": "https://js.registry.example/",
    "cargo": "https://rs.registry.example/",
    "golang": "https://go.registry.example/",
    "maven": "https://jvm.registry.example/maven2/",
}
BY_FORMAT = {
    "nginx.log": "pypi",
    "nginx.json": "",
    "apache.log": "maven",
    "apache-vhost.log": "",
    "artifactory-request.log": "/api/pypi/mirror/=pypi",
    "artifactory-request-out.log": "",
    "nexus-request.log": "/repository/npm-proxy/=npm",
    "nexus-outbound.log": "",
    "fastly.json": "",
    "cloudfront.log": "",
    "squid.log": "",
    "squid-combined.log": "",
}
"""Each sample, and what its paths are below."""
Run = Callable[..., Imported]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Settings that name registries, on a machine without package managers; one consumer by network and one by name."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    with closing(Database.open(data)) as database:
        for number, (name, networks) in enumerate(
            {"office": ("192.0.2.12/32", "2001:db8:1::/48"), "build-farm": ()}.items()
        ):
            database.run_sync(
                add_consumer, Consumer(name, "gold", networks, 0.0), Token(f"{number:064x}", name, "", 0.0)
            )
        database.run_sync(save_origins, [Origin("https://files.example/", "pypi", UPSTREAMS["pypi"], "files", 0.0)])
    return Config(data=str(data), ecosystems={name: EcosystemSetting(upstream=url) for name, url in UPSTREAMS.items()})


@pytest.fixture
def run(config: Config) -> Run:
    """Import logs."""

    def call(*sources: Path | str, **options: Any) -> Imported:
        return import_logs(config, [str(source) for source in sources], TODAY, **options)

    return call


def events(config: Config) -> list[Event]:
    """All that was imported, by time."""
    rows = [row for path in imported_files(config.data_path) for row in pq.ParquetFile(path).read().to_pylist()]
    return sorted(
        (msgspec.convert(row, Event) if isinstance(row, list) else Event(**row) for row in rows),
        key=lambda e: e.time_us,
    )


def tree(config: Config) -> dict[str, bytes]:
    """Every file below the folder of imports."""
    root = config.data_path / IMPORTED_FOLDER
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def squid_line(second: int, address: str, url: str, size: int = 100, method: str = "GET", tag: str = "TCP_MISS") -> str:
    """A line of an egress proxy."""
    return f"{NOON.timestamp() + second:.3f} 5 {address} {tag}/200 {size} {method} {url} - HIER_DIRECT/198.51.100.9 -\n"


def write(path: Path, lines: Sequence[str]) -> Path:
    """A log."""
    path.write_text("".join(lines), "utf-8")
    return path


def test_a_line_becomes_an_event(run: Run, config: Config) -> None:
    """With what the ledger has of a reply: of what, how large, who asked, and what the cache did."""
    (report,) = run(LOGS / "squid.log").reports
    assert (report.lines, report.events, report.skipped) == (4, 3, {"remarks": 1})
    first, tunnel, broken = events(config)
    assert first == Event(
        NOON_US + 250_000,
        "build-farm",
        "log",
        "gold",
        "pypi",
        "index",
        "widget",
        method="GET",
        status=200,
        bytes_down=1890,
        cache_status="miss",
        upstream=UPSTREAMS["pypi"],
    )
    assert tunnel == Event(
        NOON_US + 2_000_000,
        "office",
        "network",
        "gold",
        "npm",
        method="CONNECT",
        status=200,
        bytes_down=543210,
        upstream=UPSTREAMS["npm"],
    )
    assert (broken.project, broken.version, broken.filename, broken.status) == (
        "widget",
        "1.0",
        "widget-1.0.tar.gz",
        499,
    )


def test_a_client_is_recognised_and_an_address_has_a_pseudonym(run: Run, config: Config) -> None:
    """The same one all through an import, and none that can be gone back from."""
    run(LOGS / "nginx.log", bases=["pypi"])
    pip, uv = events(config)
    assert (pip.client_name, pip.client_version, pip.client_class, pip.runtime, pip.system, pip.ci) == (
        "pip", "25.3", "ci", "cpython", "linux", True,
    )  # fmt: skip
    assert pip.identified_by == "address" and len(pip.consumer) == len("address:") + 12
    assert (uv.consumer, uv.identified_by, uv.filename) == ("office", "network", "widget-1.0-py3-none-any.whl")


def test_a_pseudonym_is_of_one_import_and_of_all_its_logs(run: Run, config: Config, tmp_path: Path) -> None:
    """Under another key the next time; IPv6 counts by its /64."""
    url = "https://js.registry.example/widget"
    addresses = ("192.0.2.77", "::ffff:192.0.2.77", "2001:db8:9::1", "2001:db8:9::2", "127.0.0.1", "a-host")
    logs = [
        write(tmp_path / name, [squid_line(at, who, url) for at, who in enumerate(addresses)] * n)
        for n, name in ((1, "a"), (2, "b"))
    ]
    run(*logs)
    counted = Counter(event.consumer for event in events(config))
    assert sorted(counted.values()) == [3, 3, 6, 6] and counted["local"] == 3
    forget_imported(config.data_path, "squid")
    run(logs[0])
    assert {event.consumer for event in events(config)} & counted.keys() == {"local"}


def test_a_user_who_was_turned_away_is_nobody(run: Run, config: Config, tmp_path: Path) -> None:
    """Anybody can claim a name; who has none that is known is counted by address."""
    line = '192.0.2.10 - {} [21/Nov/2026:12:00:0{} +0000] "GET https://js.registry.example/widget HTTP/1.1" {} 10\n'
    sent = [("build-farm", 200), ("build-farm", 401), ("build-farm", 407), ("anna", 200)]
    run(write(tmp_path / "log", [line.format(user, at, status) for at, (user, status) in enumerate(sent)]))
    assert [event.identified_by for event in events(config)] == ["log", "address", "address", "address"]


def test_a_log_that_tells_of_nobody_has_a_consumer_of_its_own(run: Run, config: Config) -> None:
    """What a mirror asked itself, by the import's name; which mirror it is stands for the client."""
    run(LOGS / "artifactory-request-out.log", LOGS / "nexus-outbound.log", name="mirrors")
    assert {(event.consumer, event.identified_by, event.client_class) for event in events(config)} == {
        ("log:mirrors", "log", "mirror")
    }
    assert [event.client_name for event in events(config)] == ["nexus", "artifactory", "nexus"]


def test_the_gateways_own_requests_are_told_apart(run: Run, config: Config, tmp_path: Path) -> None:
    """By the name that it goes by."""
    from mainstay.upstream.client import user_agent

    text = (
        f'192.0.2.10 - - [21/Nov/2026:12:00:00 +0000] "GET https://js.registry.example/widget HTTP/1.1" 200 1 "-" '
        f'"{user_agent("ops@registry.example")}" TCP_MISS:HIER_DIRECT\n'
    )
    run(write(tmp_path / "log", [text]))
    assert [(event.client_name, event.client_class) for event in events(config)] == [("mainstay", "mirror")]


def test_bypass_planted_in_an_egress_log_is_counted_exactly(run: Run, config: Config, tmp_path: Path) -> None:
    """By ecosystem, consumer and bytes, among lines of other hosts; asked as every other question is."""
    planted = Counter({"pypi": 30, "npm": 20, "cargo": 0, "maven": 7})
    urls = {
        "pypi": "https://files.example/packages/widget-1.{}.tar.gz",
        "npm": "http://js.registry.example/widget/-/widget-1.{}.0.tgz",
        "maven": "https://jvm.registry.example/maven2/com/example/widget/1.{0}/widget-1.{0}.jar",
    }
    lines = [
        squid_line(at, "192.0.2.12", urls[name].format(at), 1000 + at) for name in urls for at in range(planted[name])
    ]
    lines += [squid_line(at, "192.0.2.13", f"https://elsewhere.example/{at}") for at in range(50)]
    lines += [squid_line(at, "192.0.2.13", "go.registry.example:443", 5000, "CONNECT", "TCP_TUNNEL") for at in range(3)]
    done = run(write(tmp_path / "access.log", lines))
    (report,) = done.reports
    assert report.ecosystems == planted + Counter(golang=3)
    assert (report.lines, report.events, report.skipped["other"]) == (110, 60, 50)
    rows, losses = query(
        config.data_path,
        NOON.date(),
        TODAY,
        lambda table: table.group_by(["ecosystem", "consumer"]).aggregate(
            requests=table.count(), bytes=table["bytes_down"].sum(), projects=table["version"].nunique()
        ),
        imported=True,
    )
    found = {
        row["ecosystem"]: (row["requests"], int(row["bytes"]), row["projects"])
        for row in rows
        if row["consumer"] == "office"
    }
    assert found == {name: (n, sum(range(1000, 1000 + n)), n) for name, n in planted.items() if n}
    assert [(row["requests"], int(row["bytes"])) for row in rows if row["ecosystem"] == "golang"] == [(3, 15000)]
    assert losses == ()


def test_the_public_registry_counts_though_the_gateway_asks_another(run: Run, config: Config, tmp_path: Path) -> None:
    """Who goes past the gateway goes there."""
    from mainstay.ecosystems import ecosystems

    urls = [ecosystem.default_upstream() for ecosystem in ecosystems().values()]
    run(write(tmp_path / "log", [squid_line(at, "192.0.2.10", url) for at, url in enumerate(urls)]))
    assert [event.upstream for event in events(config)] == urls


def test_registries_that_the_machine_uses_count_beside_those_of_the_settings(
    run: Run, config: Config, tmp_path: Path
) -> None:
    """Its package managers' own settings name them."""
    (tmp_path / ".npmrc").write_text("@acme:registry=https://acme.example/js/\n", "utf-8")
    run(write(tmp_path / "log", [squid_line(0, "192.0.2.10", "https://acme.example/js/@acme%2fwidget")]))
    assert [(event.upstream, event.project) for event in events(config)] == [
        ("https://acme.example/js/", "@acme/widget")
    ]


@pytest.mark.parametrize("name", BY_FORMAT)
def test_no_address_user_or_user_agent_is_kept(run: Run, config: Config, name: str) -> None:
    """In the whole data folder, of any format."""
    (report,) = run(LOGS / name, bases=[BY_FORMAT[name]] if BY_FORMAT[name] else []).reports
    assert report.events
    # Rows are compressed on disk, so they are looked at unpacked as well.
    kept = [msgspec.json.encode(events(config))]
    kept += [path.read_bytes() for path in (config.data_path / "usage").rglob("*") if path.is_file()]
    secrets = (
        b"192.0.2.1",
        b"2001:db8",
        b"198.51.100",
        b"anna",
        b"john",
        b"workspaces/",
        b"873a06493",
        b"x86_64-",
        b"Java 21",
    )
    assert not [secret for secret in secrets for content in kept if secret in content]


def test_the_same_log_again_changes_nothing(run: Run, config: Config, tmp_path: Path) -> None:
    """Nor under another name, nor packed; and it is said."""
    run(LOGS / "squid.log")
    before = tree(config)
    packed = tmp_path / "access.log.gz"
    packed.write_bytes(gzip.compress((LOGS / "squid.log").read_bytes()))
    done = run(LOGS / "squid.log", packed, name="other")
    assert [report.known_as for report in done.reports] == ["squid", "squid"]
    assert {name: content for name, content in tree(config).items() if not name.endswith(".lock")} == {
        name: content for name, content in before.items() if not name.endswith(".lock")
    }
    assert "imported before as squid, so nothing was changed" in render_reports(done.reports, 0, ())


def test_logs_are_kept_by_name_and_day(run: Run, config: Config, tmp_path: Path) -> None:
    """And forgotten by name."""
    url = "https://js.registry.example/widget"
    run(
        write(tmp_path / "log", [squid_line(day * 86_400, "192.0.2.10", url) for day in (-2, -1, -1, 0)]), name="egress"
    )
    run(LOGS / "nexus-outbound.log")
    days = [path.parent.relative_to(config.data_path / IMPORTED_FOLDER) for path in imported_files(config.data_path)]
    assert list(map(str, days)) == [*(f"egress/day=2026-11-{day}" for day in (19, 20, 21)), "nexus/day=2026-11-21"]
    assert forget_imported(config.data_path, "egress") == 3
    assert imported_names(config.data_path) == ["nexus"]
    with pytest.raises(ConfigError, match="Nothing was imported as egress") as caught:
        forget_imported(config.data_path, "egress")
    assert "nexus" in caught.value.hint


def test_days_that_are_not_kept_any_more_are_removed_and_not_taken(run: Run, config: Config, tmp_path: Path) -> None:
    """With each import, whatever is imported; neither is a time that has not come."""
    url = "https://js.registry.example/widget"
    run(write(tmp_path / "a", [squid_line(0, "192.0.2.10", url)]), name="old")
    short = msgspec.structs.replace(config, usage=Usage(keep_days=10))
    log = write(tmp_path / "b", [squid_line(day * 86_400, "192.0.2.10", url) for day in (-20, 5, 12, 13, 17)])
    done = import_logs(short, [str(log)], TODAY + timedelta(days=12), name="new")
    assert done.removed_files == 1 and imported_names(config.data_path) == ["new"]
    assert done.reports[0].skipped == {"old": 1, "future": 1} and done.reports[0].events == 3


def test_lines_that_do_not_parse_are_counted_and_named_by_number(run: Run, tmp_path: Path) -> None:
    """Never shown."""
    sound = [squid_line(at, "192.0.2.10", "https://js.registry.example/widget") for at in range(10)]
    lines = [*sound[:2], "198.51.100.77 broken\n", "\n", *sound[2:], *["198.51.100.78 broken\n"] * 4]
    done = run(write(tmp_path / "log", lines))
    (report,) = done.reports
    assert (report.lines, report.events, report.skipped["unreadable"]) == (15, 10, 5)
    assert report.unreadable_lines == [3, 13, 14]
    text = render_reports(done.reports, 0, ())
    assert "5 not of this format" in text and "lines 3, 13, 14 and more; expected: 1795262400.000" in text
    assert "198.51.100" not in text + render_reports_json(done.reports, 0, ())


def test_nothing_is_kept_of_a_log_that_is_mostly_unreadable(run: Run, config: Config, tmp_path: Path) -> None:
    """It is another one than it was taken for; half is not more than half."""
    sound = squid_line(0, "192.0.2.10", "https://js.registry.example/widget")
    log = write(tmp_path / "log", [sound] * 60 + ["broken\n"] * 61)
    (report,) = run(log).reports
    assert report.is_refused and not report.events and not imported_files(config.data_path)
    (report,) = run(write(log, [sound] * 60 + ["broken\n"] * 60)).reports
    assert not report.is_refused and report.events == 60


def test_paths_without_a_host_need_to_be_explained(run: Run, config: Config) -> None:
    """Before the log is read to its end."""
    with pytest.raises(ConfigError, match="paths only") as caught:
        run(LOGS / "nexus-request.log")
    assert "--base" in caught.value.hint and "npm" in caught.value.hint
    assert not imported_files(config.data_path)
    (report,) = run(
        LOGS / "nexus-request.log", bases=["/repository/npm-proxy/=npm", "/repository/pypi-proxy/=pypi"]
    ).reports
    assert report.ecosystems == {"npm": 1, "pypi": 1}


def test_file_hosts_that_nobody_has_learned_are_told(run: Run, config: Config, tmp_path: Path) -> None:
    """Else lines of them would be missed unseen."""
    known = [squid_line(0, "192.0.2.10", "https://rs.registry.example/wi/dg/widget")]
    done = run(
        write(tmp_path / "log", [*known, squid_line(1, "192.0.2.10", "https://unknown.example/widget-1.0.crate")])
    )
    assert UPSTREAMS["cargo"] in done.unknown_hosts_of and UPSTREAMS["pypi"] not in done.unknown_hosts_of
    assert f"Where {UPSTREAMS['cargo']} keeps its files is not known" in render_reports([], 0, done.unknown_hosts_of)


def test_a_log_without_registries_says_where_they_are_shown(run: Run, tmp_path: Path) -> None:
    """It may be that the gateway's settings are not those that were meant."""
    done = run(write(tmp_path / "log", [squid_line(0, "192.0.2.10", "https://elsewhere.example/")]))
    text = render_reports(done.reports, done.removed_files, done.unknown_hosts_of)
    assert "1 of no registry that is known" in text and "mainstay doctor shows the registries" in text


def test_an_empty_log_is_no_error(run: Run, config: Config, tmp_path: Path) -> None:
    """There was no traffic."""
    done = run(write(tmp_path / "log", []), write(tmp_path / "blank", ["\n\n"]))
    assert [report.lines for report in done.reports] == [0, 0]
    assert "there is nothing in it" in render_reports(done.reports, 0, ())


@pytest.mark.parametrize("options", [{"form": "iis"}, {"name": "../x"}, {"name": ""}, {"bases": ["nowhere"]}])
def test_wrong_use_is_refused(run: Run, config: Config, options: dict[str, Any], tmp_path: Path) -> None:
    """With the flag or the file that is wrong; nothing is made."""
    with pytest.raises(ConfigError, match=r"--|absent"):
        run(tmp_path / "absent", **options)
    assert not (config.data_path / IMPORTED_FOLDER).exists()


def test_an_import_that_breaks_off_is_not_there(
    run: Run, config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither while it is under way, nor when a part of it was published already; the next one starts afresh."""
    lines = [squid_line(day * 86_400, "192.0.2.10", "https://js.registry.example/widget") for day in (-1, 0)]
    log, publish, published = write(tmp_path / "log", lines), EventFile.publish, []

    def fail(self: EventFile, **options: Any) -> int:
        if published:
            assert published[0].exists() and not imported_files(config.data_path)
            raise OSError(28, "No space left on device")
        published.append(self.path)
        return publish(self, **options)

    monkeypatch.setattr(EventFile, "publish", fail)
    with pytest.raises(StoreError, match="No space left"):
        run(log)
    assert [name for name in tree(config) if not name.endswith(".lock")] == []
    monkeypatch.setattr(EventFile, "publish", publish)
    assert run(log).reports[0].events == 2


def test_what_a_killed_import_left_is_removed_by_the_next(run: Run, config: Config) -> None:
    """Drafts, and files whose note says that not all of them came."""
    folder = config.data_path / IMPORTED_FOLDER / "squid"
    for name in ("day=2026-11-01/abc.parquet.part", "day=2026-11-02/def.parquet", "def.unfinished"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert imported_files(config.data_path) == []
    run(LOGS / "squid.log")
    assert [path.name for path in folder.iterdir()] == ["day=2026-11-21"]


def test_a_log_of_more_events_than_wait_is_written_in_parts(
    run: Run, config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each day's in order of time, whatever the log's."""
    monkeypatch.setattr(imported, "WAITING_EVENTS", 16)
    times = [at * 7919 % 100 * 3600 for at in range(100)]
    run(write(tmp_path / "log", [squid_line(-at, "192.0.2.10", "https://js.registry.example/widget") for at in times]))
    assert [event.time_us for event in events(config)] == sorted(NOON_US - at * 1_000_000 for at in times)


def test_a_log_of_endless_days_is_refused(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each day takes an open file."""
    monkeypatch.setattr(imported, "MOST_DAYS", 3)
    with drafting(config.data_path, "squid") as draft:
        for day in range(4):
            row = (NOON_US + day * imported.DAY_US, "GET", 200, 0, "", What(""), Caller("", "", ""), Client())
            draft.add([row])
        with pytest.raises(ConfigError, match="more than 3 days"):
            draft.publish("0" * 64)
    assert not imported_files(config.data_path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=400),
    sample=st.sampled_from([*BY_FORMAT]),
    cut=st.integers(0, 900),
    form=st.sampled_from(["", "nginx", "squid", "cloudfront"]),
)
def test_no_bytes_make_an_import_fail_but_as_announced(
    config: Config, tmp_path_factory: pytest.TempPathFactory, content: bytes, sample: str, cut: int, form: str
) -> None:
    """Whatever is in a log, at its beginning or in the middle of lines."""
    path = tmp_path_factory.mktemp("log") / "log"
    text = (LOGS / sample).read_bytes()
    path.write_bytes(text[:cut] + content + text[cut:])
    own = msgspec.structs.replace(config, data=str(path.parent / "data"))
    try:
        (report,) = import_logs(own, [str(path)], TODAY, form=form, bases=["/=npm"]).reports
    except MainstayError:
        return
    assert report.lines == report.events + sum(report.skipped.values()) or report.is_refused


def test_the_command_prints_and_exits_as_it_should(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For people and for programs, from a file and from standard input."""
    settings_path = tmp_path / "mainstay.toml"
    tables = "".join(f'[ecosystems.{name}]\nupstream = "{url}"\n' for name, url in UPSTREAMS.items())
    settings_path.write_text(f'data = "{config.data}"\n{tables}', "utf-8")
    now = datetime.now(UTC)
    moved = [squid_line(round(now.timestamp() - NOON.timestamp()), "192.0.2.10", "https://js.registry.example/widget")]
    log = write(tmp_path / "egress.log", moved)

    def call(*words: str) -> Any:
        return CliRunner().invoke(app, ["usage", "import", *words, "--config", str(settings_path)])

    command = Gateway.command("usage", "import", "-", "--json", "--config", str(settings_path))
    environ = clean_environ() | {"PATH": ""}
    done = subprocess.run(command, input=gzip.compress(log.read_bytes()), env=environ, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (said,) = json.loads(done.stdout)["logs"]
    assert (said["format"], said["name"], said["lines"], said["events"], said["ecosystems"]) == (
        "squid",
        "squid",
        1,
        1,
        {"npm": 1},
    )
    assert said["skipped"] == {"unreadable": 0, "other": 0, "old": 0, "future": 0, "remarks": 0}
    assert "imported before as squid" in call(str(log)).stdout
    assert call("--forget", "squid").stdout == "squid: 1 file of events removed\n"
    shown = call(str(log), "--name", "egress").stdout.splitlines()
    assert shown[0].endswith("egress.log: 1 line of squid") and shown[1:] == [
        "    1 event kept as egress",
        "        1 of npm",
    ]
    broken = call(str(write(tmp_path / "b", ["x\n", "y\n", *moved])), "--format", "squid")
    assert broken.exit_code == 1 and "more than half of it could not be read" in broken.stdout
    assert call().exit_code == 2 and call("--forget", "squid", str(log)).exit_code == 2
