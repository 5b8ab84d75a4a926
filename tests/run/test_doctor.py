"""`mainstay doctor` as a black box: each thing that is wrong is found, what is right is not, and nothing is changed."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import shutil
import socket
import sqlite3
import ssl
import subprocess
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from doubles.faults import Answer, LoginPage, Reset, Status, too_many_requests
from doubles.gateway import Gateway, Serve, Tree, free_port, render_toml
from doubles.upstream import Upstream
from mainstay.db.engine import Database
from mainstay.db.schema_version import known_revisions
from mainstay.ecosystems import ecosystems


@dataclass
class Report:
    """What one run of the doctor said."""

    code: int
    checks: list[dict[str, str]]
    stderr: str

    def of(self, check: str, subject: str = "") -> list[dict[str, str]]:
        """The findings of a check, of one subject where that is given."""
        return [entry for entry in self.checks if entry["check"] == check and subject in ("", entry["subject"])]

    def one(self, check: str, subject: str = "") -> tuple[str, str, str]:
        """The only such finding: its result, what was found, what to do."""
        found = self.of(check, subject)
        assert len(found) == 1, (found, self.stderr)
        return found[0]["result"], found[0]["text"], found[0]["hint"]


Doctor = Callable[..., Report]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder for PATH in which there is no program at all."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


@pytest.fixture
def command(environ: dict[str, str], bare: Path, home: Path, tmp_path: Path) -> Callable[..., Any]:
    """Run the program with those settings, no client on PATH, in an empty home folder."""

    def start(
        *arguments: str, settings: Tree | None = None, extra: dict[str, str] | None = None, prefix: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        config = tmp_path / "settings.toml"
        config.write_text("".join(render_toml(settings or {})))
        whole = [*prefix, *Gateway.command("doctor", "--config", str(config), *arguments)]
        return subprocess.run(
            whole,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environ | {"PATH": str(bare)} | (extra or {}),
            cwd=home,
            timeout=60,
        )

    return start


@pytest.fixture
def doctor(command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> Doctor:
    """`doctor("--offline", settings={...}, extra={...}, prefix=("unshare", ...))`: what it said, as JSON."""

    def start(*arguments: str, data: Path | None = None, settings: Tree | None = None, **options: Any) -> Report:
        tables = {"server": {"port": free_port()}, **(settings or {})}
        done = command("--json", "--data", str(data or tmp_path / "data"), *arguments, settings=tables, **options)
        assert done.stdout.count("\n") == 1, done.stderr
        document = json.loads(done.stdout)
        assert document["schema"] == 1
        assert all([*entry] == ["check", "subject", "result", "text", "hint"] for entry in document["checks"])
        assert all(entry["hint"] for entry in document["checks"] if entry["result"] != "ok")
        return Report(done.returncode, document["checks"], done.stderr)

    return start


def every(url: str) -> Tree:
    """Settings in which each ecosystem has this upstream."""
    return {"ecosystems": {name: {"upstream": url} for name in ecosystems()}}


def privileged(script: str) -> tuple[str, ...]:
    """What to put before a command so that `script` has made mounts that only it sees."""
    tools = {name: shutil.which(name) for name in ("unshare", "mount", "sh")}
    rights = () if os.geteuid() == 0 else ("--map-root-user",)
    mounting = script.replace("mount ", f"{tools['mount']} ")
    return (str(tools["unshare"]), "--mount", *rights, str(tools["sh"]), "-c", f'{mounting} && exec "$@"', "sh")


def test_where_nothing_is_wrong_it_ends_with_0(doctor: Doctor, upstream: Upstream) -> None:
    """Every check is there, none says problem, and the upstreams were asked once each."""
    report = doctor(settings=every(upstream.npm_url) | {"cache": {"size": "1 MB"}})
    assert report.code == 0, report.checks
    assert "problem" not in {entry["result"] for entry in report.checks}
    assert {entry["check"] for entry in report.checks} >= {
        *("configuration", "python", "descriptors", "sealed", "data", "disk", "cache", "schema", "port", "upstream"),
        "client",
    }
    assert {entry["subject"] for entry in report.of("upstream")} == set(ecosystems())
    assert len(upstream.seen()) == len(ecosystems())


def test_an_unknown_flag_is_wrong_use(command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """Exit code 2, as for every command."""
    assert command("--no-such-flag").returncode == 2


def test_a_setting_that_does_not_exist_is_a_problem_in_the_programs_own_words(doctor: Doctor) -> None:
    """With the nearest that exists; what needs no settings is still looked at."""
    report = doctor("--offline", settings={"cache": {"sizes": "1 MB"}})
    result, text, hint = report.one("configuration")
    assert (report.code, result) == (1, "problem") and "cache.sizes" in text and "cache.size" in hint
    assert report.one("python")[0] == "ok" and not report.of("port")


def test_a_file_that_lies_beside_and_is_not_read_is_said(environ: dict[str, str], home: Path) -> None:
    """Who starts without --config may think that mainstay.toml is found by itself."""
    (home / "mainstay.toml").write_text("")
    line = Gateway.command("doctor", "--offline", "--json")
    done = subprocess.run(line, env=environ, cwd=home, capture_output=True, text=True, timeout=60)
    entry = json.loads(done.stdout)["checks"][0]
    assert (
        entry["result"] == "warning" and entry["subject"] == str(home / "mainstay.toml") and "--config" in entry["hint"]
    )


def test_a_variable_that_only_looks_like_a_setting_is_said(doctor: Doctor) -> None:
    """With one underscore too few, nothing reads it."""
    report = doctor(
        "--offline", extra={"MAINSTAY_SERVER_PORT": "4481", "MAINSTAY_TOKEN": "t", "MAINSTAY_LOG__LEVEL": "info"}
    )
    assert report.one("configuration", "MAINSTAY_SERVER_PORT")[0] == "warning"
    others = [entry for entry in report.of("configuration") if entry["subject"] != "MAINSTAY_SERVER_PORT"]
    assert [entry["result"] for entry in others] == ["ok"] and "MAINSTAY_LOG__LEVEL" in others[0]["text"]


def test_a_certificate_that_is_not_there_is_a_problem(doctor: Doctor, tmp_path: Path) -> None:
    """serve would not start with it."""
    server = {"tls_cert": str(tmp_path / "cert.pem"), "tls_key": str(tmp_path / "key.pem")}
    assert doctor("--offline", settings={"server": server}).one("certificate")[0] == "problem"


def test_a_port_that_another_program_holds_is_a_problem_that_names_it(doctor: Doctor) -> None:
    """As /proc tells."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        report = doctor("--offline", settings={"server": {"port": taken.getsockname()[1]}})
    result, text, hint = report.one("port")
    assert (report.code, result) == (1, "problem")
    assert f"(process {os.getpid()})" in text and "--port" in hint


def test_a_host_that_is_none_of_this_machines_is_a_problem(doctor: Doctor) -> None:
    """192.0.2.1 is for documentation."""
    result, _, hint = doctor("--offline", settings={"server": {"host": "192.0.2.1"}}).one("port")
    assert result == "problem" and "--host" in hint


def test_a_port_that_a_gateway_holds_is_fine(doctor: Doctor, serve: Serve, upstream: Upstream) -> None:
    """Its data folder is named; where the settings name another one, that is said."""
    gateway = serve(pypi=upstream.simple_url)
    server = {"server": {"port": gateway.port}}
    result, text, _ = doctor("--offline", data=gateway.data, settings=server).one("port")
    assert result == "ok" and "mainstay" in text and str(gateway.data) in text
    result, text, _ = doctor("--offline", settings=server).one("port")
    assert result == "warning" and str(gateway.data) in text


def test_a_data_folder_that_is_not_there_is_not_made(doctor: Doctor, tmp_path: Path) -> None:
    """It says where it would be."""
    result, text, _ = doctor("--offline", data=tmp_path / "deep" / "data").one("data")
    assert result == "ok" and str(tmp_path) in text and not (tmp_path / "deep").exists()


def test_a_data_folder_that_is_a_file_is_a_problem(doctor: Doctor, tmp_path: Path) -> None:
    """Whether it is the folder itself or one above it."""
    (tmp_path / "taken").write_text("")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "data"):
        report = doctor("--offline", data=folder)
        assert (report.code, report.one("data")[0]) == (1, "problem")


@pytest.mark.parametrize("shut", ["", "blobs"])
def test_a_data_folder_that_cannot_be_written_is_a_problem(shut: str, doctor: Doctor, tmp_path: Path) -> None:
    """The whole or a part of it, which is named."""
    folder = tmp_path / "data"
    (folder / "blobs").mkdir(parents=True)
    place = folder / shut
    prefix = privileged(f'mount --bind "{place}" "{place}" && mount -o remount,ro,bind "{place}"')
    report = doctor("--offline", data=folder, prefix=prefix)
    result, text, hint = report.one("data")
    assert (report.code, result) == (1, "problem") and str(place) in text and "--data" in hint


def test_a_disk_that_is_nearly_full_is_a_problem(doctor: Doctor, tmp_path: Path) -> None:
    """A file system of 12 MB, too small for cache.size as well."""
    folder = tmp_path / "data"
    folder.mkdir()
    report = doctor("--offline", data=folder, prefix=privileged(f'mount -t tmpfs -o size=12m none "{folder}"'))
    assert (report.code, report.one("disk")[0]) == (1, "problem")
    assert report.one("cache")[0] == "warning" and report.one("file system")[1] == "tmpfs"


def set_revision(folder: Path, revision: str) -> None:
    """A data folder whose database is at this revision."""
    Database.open(folder).close()
    with closing(sqlite3.connect(folder / "mainstay.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()


def test_a_database_of_a_newer_version_is_a_problem(doctor: Doctor, tmp_path: Path) -> None:
    """Both versions are named."""
    set_revision(tmp_path / "data", "9999")
    report = doctor("--offline")
    result, text, _ = report.one("schema")
    assert (report.code, result) == (1, "problem") and "9999" in text and known_revisions()[-1] in text


def test_a_database_of_an_older_version_is_fine_and_stays_as_it_is(doctor: Doctor, tmp_path: Path) -> None:
    """The next start migrates it, not the doctor."""
    set_revision(tmp_path / "data", known_revisions()[0])
    before = snapshot(tmp_path / "data")
    result, text, _ = doctor("--offline").one("schema")
    assert result == "ok" and known_revisions()[0] in text
    assert snapshot(tmp_path / "data") == before


@pytest.mark.parametrize("body", [b"no database", b"SQLite format 3\0" + bytes(4080)])
def test_a_file_that_is_no_database_is_a_problem(body: bytes, doctor: Doctor, tmp_path: Path) -> None:
    """Nothing of Mainstay's, or damaged."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mainstay.db").write_bytes(body)
    assert doctor("--offline").one("schema")[0] == "problem"


def snapshot(*folders: Path) -> dict[str, tuple[int, int, str]]:
    """Every file and folder: mode, time of the last change, and digest."""
    paths = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    return {
        str(path): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in paths
    }


def test_nothing_is_changed(doctor: Doctor, upstream: Upstream, home: Path, tmp_path: Path) -> None:
    """Not the folder of a gateway that was killed, whose database has a log to be merged, nor the user's own files."""
    gateway = Gateway(
        tmp_path / "killed", {"ecosystems": {name: {"upstream": upstream.npm_url} for name in ecosystems()}}
    )
    gateway.wait_ready()
    assert gateway.fetch("/npm/demo").status == 404
    gateway.kill()
    assert (gateway.data / "mainstay.db-wal").exists()
    (home / ".npmrc").write_text("registry=http://127.0.0.1:4480/npm/\n")
    before = snapshot(gateway.data, home)
    report = doctor(data=gateway.data, settings=every(upstream.npm_url))
    assert report.one("schema")[0] == "ok"
    assert snapshot(gateway.data, home) == before


def test_a_gateway_that_runs_is_not_held_up(doctor: Doctor, serve: Serve, upstream: Upstream) -> None:
    """Its database is read while it is open, and written on afterwards."""
    upstream.project("demo").release("1.0")
    upstream.project("later").release("1.0")
    gateway = serve(pypi=upstream.simple_url)
    assert gateway.fetch("/pypi/files/demo/demo-1.0.tar.gz").status == 200
    report = doctor("--offline", data=gateway.data, settings={"server": {"port": gateway.port}})
    assert report.one("schema")[0] == "ok" and report.one("port")[0] == "ok"
    assert gateway.fetch("/pypi/files/later/later-1.0.tar.gz").status == 200


UPSTREAMS = {
    "open": ("ok", "answers"),
    "absent": ("ok", "answers"),
    "login": ("problem", "something else than an index"),
    "wants": ("problem", "credential"),
    "refuses": ("problem", "credential"),
    "fails": ("problem", "answers 500"),
    "busy": ("warning", "pause"),
    "breaks": ("problem", ""),
}


def test_each_way_in_which_an_upstream_can_be_wrong_has_its_words(doctor: Doctor, upstream: Upstream) -> None:
    """All asked at one time; a 404 says that somebody is there."""
    page = json.dumps({"meta": {"api-version": "1.0"}, "name": "six", "files": []}).encode()
    upstream.on("/open/*").fault(Answer(page, "application/vnd.pypi.simple.v1+json"))
    upstream.on("/login/*").fault(LoginPage())
    upstream.on("/wants/*").fault(Status(401, (("www-authenticate", "Basic"),)))
    upstream.on("/refuses/*").fault(Status(403))
    upstream.on("/fails/*").fault(Status(500))
    upstream.on("/busy/*").fault(too_many_requests(60))
    upstream.on("/breaks/*").fault(Reset())
    root = upstream.npm_url.removesuffix("npm/")
    tables = every(upstream.npm_url)["ecosystems"] | {
        "pypi": {"upstream": [{"url": f"{root}{name}/"} for name in UPSTREAMS]}
    }
    report = doctor(settings={"ecosystems": tables})
    found = {entry["text"].partition("/ (")[0].removeprefix(root): entry for entry in report.of("upstream", "pypi")}
    assert report.code == 1
    assert {name: entry["result"] for name, entry in found.items()} == {
        name: word for name, (word, _) in UPSTREAMS.items()
    }
    assert not [entry for name, entry in found.items() if UPSTREAMS[name][1] not in entry["text"]]


def test_an_upstream_where_nobody_listens_is_a_problem(doctor: Doctor, upstream: Upstream) -> None:
    """And one whose name does not exist, in other words."""
    url = upstream.npm_url
    upstream.down()
    tables = every(url)["ecosystems"] | {"pypi": {"upstream": "http://registry.invalid/simple/"}}
    report = doctor(settings={"ecosystems": tables})
    assert {entry["result"] for entry in report.of("upstream")} == {"problem"}
    assert "does not resolve" in report.one("upstream", "pypi")[1]
    assert "cannot be reached" in report.one("upstream", "npm")[1]


def test_a_private_upstream_that_wants_each_callers_credential_is_fine(doctor: Doctor, upstream: Upstream) -> None:
    """The gateway has none to show."""
    upstream.on("*").fault(Status(401))
    private = [{"url": upstream.simple_url, "private": True}]
    tables = every(upstream.npm_url)["ecosystems"] | {"pypi": {"upstream": private}}
    report = doctor(settings={"ecosystems": tables})
    assert report.one("upstream", "pypi")[0] == "ok" and report.one("upstream", "npm")[0] == "problem"


def test_a_name_that_a_private_upstream_claims_is_not_asked_of_another(doctor: Doctor, upstream: Upstream) -> None:
    """Not even the small project that is asked for to see whether a registry answers."""
    probe = ecosystems()["pypi"].probe
    both = [{"url": f"{upstream.simple_url}own/", "namespaces": [probe]}, {"url": upstream.simple_url}]
    tables = every(upstream.npm_url)["ecosystems"] | {"pypi": {"upstream": both}}
    doctor(settings={"ecosystems": tables})
    assert {seen.path for seen in upstream.seen("/simple/*")} == {f"/simple/own/{probe}/", "/simple/"}


def test_a_credential_that_is_missing_is_a_problem_of_its_ecosystem_alone(doctor: Doctor, upstream: Upstream) -> None:
    """The variable is named; the others are asked."""
    wanting = [{"url": upstream.simple_url, "token_env": "NO_SUCH_VARIABLE"}]
    tables = every(upstream.npm_url)["ecosystems"] | {"pypi": {"upstream": wanting}}
    report = doctor(settings={"ecosystems": tables})
    result, text, _ = report.one("upstream", "pypi")
    assert result == "problem" and "NO_SUCH_VARIABLE" in text and report.one("upstream", "npm")[0] == "ok"


class _Missing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Nothing is here, and the time is right."""
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """An upstream with a certificate of a company's authority: its address, and the authority's file."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Missing)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    authority.cert_pem.write_to_path(str(tmp_path / "company.pem"))
    yield f"https://127.0.0.1:{server.server_port}/", str(tmp_path / "company.pem")
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_authority_that_is_not_trusted_is_a_problem_until_it_is_named(
    doctor: Doctor, encrypted: tuple[str, str]
) -> None:
    """By the setting or by the variable, both of which are named."""
    url, authority = encrypted
    report = doctor(settings=every(url))
    result, text, hint = report.one("upstream", "npm")
    assert (report.code, result) == (1, "problem") and "not trusted" in text
    assert "ca_file" in hint and "SSL_CERT_FILE" in hint
    report = doctor(settings={**every(url), "fetch": {"ca_file": authority}})
    assert report.one("upstream", "npm")[0] == "ok" and report.one("clock")[0] == "ok"
    assert doctor(settings=every(url), extra={"SSL_CERT_FILE": authority}).one("upstream", "npm")[0] == "ok"


def test_an_authority_file_that_cannot_be_read_is_a_problem(doctor: Doctor, upstream: Upstream) -> None:
    """serve would not start with it; the upstreams are listed and not asked."""
    report = doctor(settings={**every(upstream.npm_url), "fetch": {"ca_file": "none.pem"}})
    assert report.code == 1 and "fetch.ca_file" in report.of("upstream")[0]["text"]
    assert upstream.seen() == [] and len(report.of("upstream")) == 1 + len(ecosystems())


def test_a_clock_that_is_off_is_found_by_what_upstreams_say(doctor: Doctor, upstream: Upstream) -> None:
    """An hour is a problem."""
    hour_ago = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    upstream.on("*").fault(Status(404, (("date", hour_ago),)))
    report = doctor(settings=every(upstream.npm_url))
    result, text, hint = report.one("clock")
    assert (report.code, result) == (1, "problem") and "ahead of" in text and "NTP" in hint


def test_offline_asks_nobody_and_lists_what_would_be_asked(doctor: Doctor, upstream: Upstream) -> None:
    """No upstream is asked, so no clock is compared."""
    report = doctor("--offline", settings=every(upstream.npm_url))
    assert upstream.seen() == [] and report.of("clock") == []
    assert [upstream.npm_url in entry["text"] for entry in report.of("upstream")] == [True] * len(ecosystems())


def test_in_a_bare_container_every_ecosystem_has_an_upstream(bare: Path, home: Path) -> None:
    """No package manager on PATH, nothing at home, no variable but those two."""
    line = Gateway.command("doctor", "--offline", "--json")
    environ = {"PATH": str(bare), "HOME": str(home)}
    done = subprocess.run(line, env=environ, cwd=home, capture_output=True, text=True, timeout=60)
    found = [entry for entry in json.loads(done.stdout)["checks"] if entry["check"] == "upstream"]
    assert {entry["subject"] for entry in found} == set(ecosystems())
    assert {entry["result"] for entry in found} == {"ok"}
    assert all("(public default)" in entry["text"] and "http" in entry["text"] for entry in found)
    assert os.listdir(home) == []


@pytest.fixture
def homeless(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH with an ecosystem, installed as a plug-in is, that has no default upstream."""
    folder = tmp_path / "plugin"
    (folder / "homeless-1.dist-info").mkdir(parents=True)
    (folder / "homeless-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: homeless\nVersion: 1\n")
    (folder / "homeless-1.dist-info" / "entry_points.txt").write_text(
        "[mainstay.ecosystems]\nhomeless = homeless:Homeless\n"
    )
    (folder / "homeless.py").write_text(
        textwrap.dedent("""
            from mainstay.ecosystems.base import Ecosystem
            from mainstay.model import Index

            class Homeless(Ecosystem):
                id, osv, label, mount, roles = "homeless", "Homeless", "Homeless", "homeless", {"all": ""}

                def default_upstream(self):
                    return ""

                def bases(self, upstream):
                    return {"all": upstream}

                def route(self, request):
                    return Index("demo", "demo", "all", "*/*", "")

                def index_of(self, artifact):
                    return Index("demo", "demo", "all", "*/*", "")

                def open(self, index, source):
                    raise AssertionError("there is nothing to open")

                def path(self, file):
                    return "demo"
        """)
    )
    return folder


def test_an_ecosystem_without_an_upstream_is_answered_with_503_and_listed(
    homeless: Path, doctor: Doctor, serve: Serve, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both name the setting that is missing; everything else works."""
    monkeypatch.setenv("PYTHONPATH", str(homeless))
    report = doctor("--offline", extra={"PYTHONPATH": str(homeless)})
    result, _, hint = report.one("upstream", "homeless")
    assert (report.code, result) == (1, "problem") and "[ecosystems.homeless] upstream" in hint
    gateway = serve(npm=upstream.npm_url)
    got = gateway.fetch("/homeless/demo")
    assert got.status == 503 and "[ecosystems.homeless] upstream" in got.text
    assert gateway.fetch("/npm/demo").status == 404


GATEWAY = "http://127.0.0.1:4480"


def test_where_the_clients_point_and_what_they_may_ask_besides(doctor: Doctor, home: Path) -> None:
    """The gateway, something else, or something else beside it."""
    (home / ".npmrc").write_text(f"registry={GATEWAY}/npm/\n@acme:registry=https://extra.example/npm/\n")
    extra = {"PIP_INDEX_URL": "https://me:hunter2@registry.example/simple/"}
    report = doctor("--offline", settings={"server": {"port": 4480}}, extra=extra)
    assert report.one("client", "npm")[0] == "ok"
    result, text, _ = report.one("fallback", "npm")
    assert result == "warning" and "https://extra.example/npm/" in text and "@acme/*" in text
    result, text, hint = report.one("client", "pypi")
    assert result == "warning" and "https://registry.example/simple/" in text and "PIP_INDEX_URL" in hint
    assert "hunter2" not in json.dumps(report.checks)


def test_an_installed_client_that_is_set_to_nothing_is_said(doctor: Doctor, bare: Path) -> None:
    """It asks its own default; `mainstay setup` is what to type."""
    (bare / "pip").write_text("#!/bin/sh\nexit 0\n")
    (bare / "pip").chmod(0o755)
    result, text, hint = doctor("--offline").one("client", "pypi")
    assert result == "warning" and "pip" in text and "mainstay setup pip" in hint


def test_a_low_limit_of_open_files_is_a_warning(doctor: Doctor) -> None:
    """ulimit -n."""
    shell = str(shutil.which("sh"))
    assert (
        doctor("--offline", prefix=(shell, "-c", 'ulimit -n 256 && exec "$@"', "sh")).one("descriptors")[0] == "warning"
    )


def test_a_person_gets_lines_and_the_sum(
    command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """What was found, what to do below it, and no colour where it is no terminal."""
    (tmp_path / "taken").write_text("")
    done = command("--offline", "--data", str(tmp_path / "taken"))
    assert done.returncode == 1 and "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    [place] = [number for number, line in enumerate(lines) if line.startswith("problem  data ")]
    assert lines[place + 1].startswith("         -> ") and "1 problem" in lines[-1]


@pytest.mark.parametrize("plain", [True, False])
def test_a_terminal_gets_colour_unless_it_is_not_wanted(
    plain: bool, environ: dict[str, str], bare: Path, home: Path
) -> None:
    """NO_COLOR (https://no-color.org)."""
    line = Gateway.command("doctor", "--offline")
    own = {**environ, "PATH": str(bare), "TERM": "xterm"} | ({"NO_COLOR": "1"} if plain else {})
    terminal, other = pty.openpty()
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=other, stderr=other, env=own, cwd=home) as process:
        os.close(other)
        shown = b""
        while b" checks: " not in shown:
            shown += os.read(terminal, 65536)
        process.wait(30)
    os.close(terminal)
    assert (b"\x1b[" in shown) is not plain
