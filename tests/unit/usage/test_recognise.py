"""What program calls, by its User-Agent."""

from __future__ import annotations

import json
import re
import time
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mainstay.ecosystems import ecosystems
from mainstay.upstream.client import user_agent as own_user_agent
from mainstay.usage import recognise as module
from mainstay.usage.event import Client
from mainstay.usage.recognise import LOOKED_AT, REMEMBERED, WORDS_LOOKED_AT, recognise

CASES: list[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "user_agents.toml").read_text("utf-8"))["case"]
KINDS = {"person", "ci", "mirror", "scanner", "updater", "agent", "unknown"}
WORD = re.compile(r"(?:[a-z0-9][a-z0-9_+-]{0,31})?", re.ASCII)
VERSION = re.compile(r"(?:[0-9][A-Za-z0-9._+-]{0,63})?", re.ASCII)
ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
PIECES = [
    *"pip/ uv/ npm/ Mozilla/5.0 bundler/ Ruby, NuGet Nexus/ Gradle/ Coursier Claude-User Dependency-Track".split(),
    *'{ } [ ] " : ( ) ; , / @ - . = é \0 \ud800 \n'.split(" "),
    *'"ci" true null "installer" "system" "name" "user_data" "implementation" ci/ agent/ ci= agent= CI'.split(),
    *"linux x86_64 x86_64-linux Java 17.0.1 10.0.0.7 host.corp.example jane@corp.example /srv/jobs v1.2.3-rc.1".split(),
    " ", "9" * 400, "a" * 400, "[" * 400, "((" * 200, "a/" * 200,
]  # fmt: skip
ADVERSARIAL = [
    (head + piece * (100_000 // len(piece)))[:100_000] + tail
    for head in ("", "npm/9 ", "pip/24 ", "Mozilla/5.0 ", "Nexus/3 (", "Gradle/8 (", "Coursier/2 ", "NuGet ", "Bazel/")
    for piece in (
        "a",
        " ",
        "1",
        "/",
        "(",
        "a ",
        "a;",
        "a/ ",
        "1.",
        "-1",
        "[",
        '{"a":',
        "a-",
        "sbt",
        "ci/a ",
        ") (",
        "é",
    )
    for tail in ("", '"}')
]


def clean(client: Client) -> bool:
    """Whether every field is a plain word or a version. Only a name from the table may have a dot."""
    words = (client.runtime, client.system, client.arch, client.ci_vendor, client.agent)
    versions = (client.version, client.runtime_version)
    return (
        client.kind in KINDS
        and all(WORD.fullmatch(word) for word in words)
        and all(VERSION.fullmatch(version) and not ADDRESS.search(version) for version in versions)
        and bool(WORD.fullmatch(client.name) or client.name in names())
        and (client.ci or not client.ci_vendor)
    )


def names() -> set[str]:
    """Every name in the table."""
    return {program.name for programs in module._table().opening.values() for program in programs}


@pytest.mark.parametrize("case", CASES, ids=[case["agent"][:60] for case in CASES])
def test_a_real_string_is_read_as_expected(case):
    """All fields, also those that must be empty."""
    found = recognise(case["agent"])
    assert found == Client(**case["is"])
    assert clean(found)


def test_the_table_of_strings_covers_every_class_and_says_where_each_is_from():
    """At least sixty strings, each once."""
    assert len({case["agent"] for case in CASES}) == len(CASES) >= 60
    assert all(case["from"] for case in CASES)
    assert {recognise(case["agent"]).kind for case in CASES} == KINDS


def test_what_the_gateway_itself_sends_is_a_mirror():
    """One gateway may ask another."""
    found = recognise(own_user_agent("ops@corp.example"))
    assert (found.name, found.kind) == ("mainstay", "mirror")


def test_each_program_of_the_table_is_found_by_each_of_its_openings():
    """In any case, and with its own name where no pattern asks for more; what is carried in a browser's string too."""
    for opening, programs in module._table().opening.items():
        for program in programs:
            if not program.facts.pattern:
                assert recognise(f"{opening.upper()}/1.2").name == program.name
                assert recognise(opening).name == program.name
            if program.facts.inside:
                text = f"Mozilla/5.0 (X11; Linux x86_64) {opening}/1.2 Safari/537.36"
                assert (recognise(text).name, recognise(text).kind) == (program.name, program.kind)


def test_the_table_has_a_row_for_the_clients_of_every_ecosystem():
    """Go's command and yarn 4 are known by their library; the others by themselves."""
    wanted = {client.name for ecosystem in ecosystems().values() for client in ecosystem.clients} - {"go"}
    assert wanted
    assert not {name for name in wanted if name not in names()}


@pytest.mark.parametrize(
    ("ci", "kind"), [("true", "ci"), ("null", "person"), ("false", "person"), ('"yes"', "person"), ("1", "person")]
)
def test_null_is_a_person_and_only_true_is_ci(ci, kind):
    """pip and uv send null where they do not know to be in CI."""
    found = recognise(f'pip/24.0 {{"ci":{ci},"installer":{{"name":"pip"}}}}')
    assert (found.kind, found.ci) == (kind, kind == "ci")


@pytest.mark.parametrize(
    "rest",
    [
        "",
        " {",
        ' {"ci":null',
        " []",
        ' "ci"',
        " {}",
        ' {"installer":{}}',
        " " + "[" * 1900,
        ' {"ci":' + "[" * 1900 + "}",
    ],
)
def test_without_a_whole_object_that_speaks_of_ci_nothing_is_known_of_ci(rest):
    """A broken, cut off or older string has its name and version and is neither a person nor CI."""
    assert recognise("pip/24.0" + rest) == Client(name="pip", version="24.0")


def test_fields_of_other_types_than_expected_are_passed_over():
    """Whatever JSON holds at their places."""
    said = {"ci": None, "implementation": [], "system": {"name": 7}, "cpu": {"a": 1}, "user_data": ["ci=gitlab"]}
    assert recognise(f"uv/0.5.0 {json.dumps(said)}") == Client(name="uv", version="0.5.0", kind="person")


def test_free_text_of_pip_is_read_for_two_words_and_never_kept():
    """PIP_USER_AGENT_USER_DATA with `ci=` and `agent=`, and much else."""
    said = {"ci": None, "user_data": "jane@corp.example on build-7.corp.example, ci=gitlab-ci; agent=claude team=web"}
    found = recognise(f"pip/24.0 {json.dumps(said)}")
    assert found == Client(name="pip", version="24.0", kind="agent", ci=True, ci_vendor="gitlab", agent="claude-code")


def test_what_a_user_adds_to_the_string_is_read():
    """npm and pnpm 9 take `user-agent` as a setting, Bundler appends `user_agent`: `ci/NAME` and `agent/NAME`."""
    found = recognise("pnpm/9.15.9 npm/? node/v20.20.2 linux x64 ci/drone agent/codex@2")
    assert (found.kind, found.ci_vendor, found.agent) == ("agent", "drone", "codex")
    assert recognise("pnpm/9.15.9 npm/? node/v20.20.2 linux x64 ci/custom").kind == "ci"


def test_only_a_package_manager_may_say_that_it_is_in_ci():
    """A scanner or a program that is not known cannot become ci by a word that looks like it."""
    assert recognise("trivy/0.55.0 ci/drone (CI)") == Client(name="trivy", version="0.55.0", kind="scanner")
    assert recognise("acme/1.0 ci/drone agent/codex") == Client(name="acme", version="1.0")


@pytest.mark.parametrize(
    "secret",
    ["10.20.30.40", "build-7.corp.example", "jane@corp.example", "/srv/jobs/7", "C:\\jobs", "fe80::1", "x" * 70],
)
@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{}/1.0",
        "{} (Linux)",
        "npm/10.0.0 node/{} linux x64 ci/{} agent/{}",
        "npm/{} node/v20.0.0 {} {} workspaces/false ci/{}",
        "bundler/2.4.0 ruby/3.2.2 ({}) command/{} options/mirror.{},path ci/{} {}",
        'pip/{} {{"ci":true,"cpu":"{}","system":{{"name":"{}"}},"user_data":"ci={} agent={} {}"}}',
        'uv/1.0 {{"ci":true,"implementation":{{"name":"{}","version":"{}"}}}}',
        "Apache-Maven/{} (Java {}; {} {})",
        "Gradle/8.5 ({};{};{}) ({};{};{})",
        "Nexus/3.0 ({}; {}; {}; {}; {})",
        "NuGet {}/{} ({})",
        "Claude-User (claude-code/{}; +{})",
        "Mozilla/5.0 ({}; Claude-User/{}) {}bot/{}",
        "Dependency-Track v{} (amd64; Linux; 5) ManagedHttpClient/{}",
        "devpi-server/{} (py{}; {})",
    ],
)
def test_no_host_address_path_or_person_gets_through(text, secret):
    """Wherever one stands in a string."""
    found = recognise(text.replace("{}", secret).replace("{{", "{").replace("}}", "}"))
    assert clean(found)
    kept = [str(value) for value in msgspec.structs.asdict(found).values()]
    assert not [value for value in kept if secret in value or "corp" in value or "jane" in value]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1.2.3", "1.2.3"),
        ("v20.10.0", "20.10.0"),
        ("24", "24"),
        ("6.8.0.131", "6.8.0"),
        ("10.20.30.40", "10.20.30"),
        ("9.0.0-rc.1", "9.0.0-rc.1"),
        ("3.13.0rc2", "3.13.0rc2"),
        ("2.0.dev1+gdeadbee", "2.0.dev1+gdeadbee"),
        ("21-ea+35", "21-ea+35"),
        ("17.0.9+9-Debian-1", "17.0.9+9"),
        ("1.0-SNAPSHOT", "1.0-SNAPSHOT"),
        ("1.2.3-alpha.corp.example", "1.2.3-alpha"),
        ("1.corp.example", "1"),
        ("1.2-10.0.0.7", "1.2"),
        ("latest", ""),
        ("?", ""),
        ("", ""),
        ("9" * 40, "9" * 12),
        ("1.2+" + "a" * 40 + "+" + "b" * 40, "1.2+" + "a" * 40 + "+" + "b" * 19),
    ],
)
def test_a_version_ends_where_it_is_no_longer_one(text, version):
    """Three numbers, pre-release words, build numbers and a commit."""
    assert recognise(f"cargo/{text}").version == version


def test_an_unknown_program_has_the_plain_word_that_its_string_begins_with():
    """In lower case. A long one, or one that may be more than a name, is not kept, and its version neither."""
    assert recognise("Acme-Fetch/2.0") == Client(name="acme-fetch", version="2.0")
    assert recognise("acme 2.0 (Linux; aarch64)") == Client(name="acme", version="2.0", system="linux", arch="aarch64")
    for text in ("", " ", "(null)", "/", "é/1", "a.b/1", "me@corp.example", "x" * 33 + "/1", "-/1", "\ud800", "?/1"):
        assert recognise(text) == Client(), text


@given(
    st.text()
    | st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
    | st.binary().map(lambda b: b.decode("latin-1"))
)
@example("a /")
@example("npm/1 -")
@example("npm/1 -/ /")
@example("Mozilla/5.0 (-bot/1; _bot/2)")
@example("cargo/1.2" + "-rc111111111111" * 6)
@example('pip/1 {"ci":true,"system":{"name":"\ud800"}}')
def test_any_string_is_read_to_clean_fields(text):
    """Made up of anything: it never raises."""
    assert clean(recognise(text))
    assert recognise(text) == recognise(text)


def test_no_string_takes_more_than_a_millisecond():
    """Hundreds of strings of 100 kB made to take long: the fastest of some tries counts, in time of this thread."""
    assert len(ADVERSARIAL) >= 200
    recognise("warm")
    slow = {text[:40]: took for text in ADVERSARIAL if (took := least_seconds(text)) > 0.001}
    assert not slow


def least_seconds(text: str) -> float:
    """The time of reading it anew, without what was remembered; of up to five tries the shortest."""
    least = float("inf")
    for _ in range(5):
        begun = time.thread_time()
        module._recognise.__wrapped__(text[:LOOKED_AT])
        least = min(least, time.thread_time() - begun)
        if least < 0.001:
            break
    return least


def test_every_pattern_of_the_table_takes_linear_time():
    """A string of twice the length, made of its own letters, does not take it more than some three times as long."""
    patterns = [program.pattern for rows in module._table().opening.values() for program in rows if program.pattern]
    assert patterns
    for pattern in set(patterns):
        opening = re.split(r"[^A-Za-z -]", pattern.pattern.lstrip("(?:"))[0]
        for piece in ("a", " ", "/", "(", ";", ") (", " sbt", "1."):
            text = opening + piece * 4000
            begun = time.thread_time()
            pattern.match(text)
            assert time.thread_time() - begun < 0.05, (pattern.pattern, piece)


def test_what_is_remembered_is_bounded():
    """A client that sends another string each time cannot fill the memory: neither their number nor their length."""
    for number in range(REMEMBERED + 100):
        recognise(f"acme/{number}")
    assert module._recognise.cache_info().currsize <= REMEMBERED
    assert recognise("acme/1" + " " * LOOKED_AT + "a") == recognise("acme/1" + " " * LOOKED_AT + "b")
    before = module._recognise.cache_info().misses
    recognise("acme/1" + " " * LOOKED_AT + "c")
    assert module._recognise.cache_info().misses == before


def test_what_is_behind_the_part_looked_at_does_not_count():
    """Also where it cuts a JSON object: then nothing is known of CI."""
    assert recognise("npm/10.0.0 " + "a " * (WORDS_LOOKED_AT - 3) + "ci/drone").ci
    assert not recognise("npm/10.0.0 " + "a " * WORDS_LOOKED_AT + "ci/drone").ci
    said = json.dumps({"user_data": "x" * LOOKED_AT, "ci": True})
    assert recognise(f"pip/24.0 {said}") == Client(name="pip", version="24.0")
