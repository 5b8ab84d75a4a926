"""What the lines of other programs' logs say, and what their addresses are of."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.ecosystems import ecosystems
from mainstay.errors import ConfigError
from mainstay.usage.importers import squid
from mainstay.usage.importers.base import NOTHING, Line, parse_clf_time, parse_epoch, parse_iso_time, parse_time
from mainstay.usage.importers.detect import FORMATS, find_format, open_format
from mainstay.usage.importers.json_lines import outcome_of
from mainstay.usage.importers.places import Known, Places, What
from mainstay.usage.importers.reading import LONGEST_LINE, LogLines, open_log
from mainstay.usage.recognise import recognise

LOGS = Path(__file__).parent / "data" / "logs"
NOON_US = 1_795_262_400_000_000
SECOND_US = 1_000_000
NPM = "npm/11.6.0 node/v24.1.0 linux x64 workspaces/false"
CARGO = "cargo/1.88.0 (873a06493 2025-05-10)"
A, B, V6 = "192.0.2.10", "192.0.2.11", "2001:db8::1"
PY, JS, RS = "https://py.registry.example", "https://js.registry.example", "https://rs.registry.example"
JVM = "https://jvm.registry.example/maven2/com/example/widget"


def at(second: float, *fields: object, **named: object) -> Line:
    """A line of that many seconds after noon."""
    return Line(NOON_US + round(second * SECOND_US), *fields, **named)  # type: ignore[arg-type]


PIP_SAYING_CI = (
    'pip/25.3 {"ci":true,"cpu":"x86_64","implementation":{"name":"CPython","version":"3.12.1"},'
    '"installer":{"name":"pip","version":"25.3"},"system":{"name":"Linux"}}'
)
SAMPLES: dict[str, tuple[str, list[Line]]] = {
    "nginx.log": (
        "nginx",
        [
            at(0, A, "", "GET", "/simple/widget/", "", 200, 1500, PIP_SAYING_CI),
            at(
                1,
                "2001:db8:1:2::7",
                "john doe",
                "GET",
                "/packages/widget/widget-1.0-py3-none-any.whl",
                "",
                206,
                4096,
                "uv/0.9.9",
            ),
            at(2, A, status=400, size_bytes=157),
        ],
    ),
    "nginx.json": (
        "nginx",
        [
            at(0, A, "", "GET", "/widget", JS, 200, 1500, NPM, "revalidated"),
            at(1, B, "build-farm", "GET", "/widget/-/widget-1.0.0.tgz", JS, 200, 90000, "", "hit"),
        ],
    ),
    "apache-vhost.log": (
        "apache",
        [
            at(0, A, "", "GET", "/simple/widget/", f"{PY}:443", 200, 1500, "pip/25.3"),
            at(1, V6, "", "GET", "/simple/", "http://py.registry.example:80", 301, 0, "curl/8.5.0"),
        ],
    ),
    "artifactory-request.log": (
        "artifactory",
        [
            at(0.25, A, "anonymous", "GET", "/api/pypi/mirror/simple/widget/", "", 200, 1500, "pip/25.3"),
            at(
                1.5,
                B,
                "build-farm",
                "GET",
                "/api/pypi/mirror/packages/widget/widget-1.0.tar.gz",
                "",
                200,
                70000,
                "pip/25.3",
            ),
        ],
    ),
    "artifactory-request-out.log": (
        "artifactory",
        [
            at(0.25, "", "anna", "GET", f"{PY}/simple/widget/", "", 200, 1500, "Artifactory"),
            at(1, "", "anna", "HEAD", "https://elsewhere.example/widget", "", 404, 0, "Artifactory"),
        ],
    ),
    "nexus-request.log": (
        "nexus",
        [
            at(0, A, "build-farm", "GET", "/repository/npm-proxy/widget", "", 200, 1500, NPM),
            at(
                1,
                B,
                "",
                "GET",
                "/repository/pypi-proxy/simple/widget/",
                "",
                200,
                2500,
                'pip/25.3 {"ci":null,"cpu":"x86_64"}',
            ),
        ],
    ),
    "nexus-outbound.log": (
        "nexus",
        [
            at(
                0,
                "",
                "anna",
                "GET",
                f"{JVM}/1.0/widget-1.0.pom",
                "",
                200,
                166,
                "Nexus/3.63.0-01 (PRO; Linux; 6.1.0; amd64; 1.8.0_382; pae)",
            ),
            at(
                1,
                "",
                "",
                "GET",
                f"{JVM}/2.0/widget-2.0.pom",
                "",
                404,
                554,
                "Nexus/3.70.0-01 (OSS; Linux; 6.1.0; amd64; 17.0.9)",
            ),
        ],
    ),
    "fastly.json": (
        "fastly",
        [
            at(0, A, "", "GET", "/wi/dg/widget", RS, 200, 1500, CARGO, "hit"),
            at(1.5, V6, "", "GET", "/wi/dg/widget?x=1", RS, 304, 0, "", "miss"),
        ],
    ),
    "cloudfront.log": (
        "cloudfront",
        [
            at(0, A, "", "GET", "/wi/dg/widget", RS, 200, 1890, CARGO, "hit"),
            at(1, V6, "", "GET", "/wi/dg/widget", "https://d111111abcdef8.cdn.example", 499, 390, CARGO, "revalidated"),
        ],
    ),
    "squid.log": (
        "squid",
        [
            at(0.25, A, "build-farm", "GET", f"{PY}/simple/widget/", "", 200, 1890, "", "miss"),
            NOTHING,
            at(2, "192.0.2.12", "", "CONNECT", "js.registry.example:443", "", 200, 543210),
            at(
                3,
                "192.0.2.12",
                "",
                "GET",
                "https://files.example/packages/ab/cd/widget-1.0.tar.gz",
                "",
                499,
                0,
                "",
                "miss",
            ),
        ],
    ),
    "squid-combined.log": (
        "squid",
        [
            at(0, A, "", "GET", f"{PY}/simple/widget/", "", 200, 1890, "pip/25.3", "hit"),
            at(1, B, "", "CONNECT", "js.registry.example:443", "", 200, 777, NPM),
        ],
    ),
}
APACHE = [
    at(0, A, "", "GET", "/com/example/widget/1.0/widget-1.0.jar", "", 200, 2048),
    at(
        1,
        A,
        "",
        "GET",
        "/com/example/widget/maven-metadata.xml",
        "",
        304,
        0,
        "Apache-Maven/3.9.11 (Java 21.0.1; Linux 6.1.0)",
    ),
    at(2, A, "", "GET", "/say%20%22hi%22", "", 404, 196, 'say "hi" \\ bye'),
]
LOCATED = {
    f"{PY}/simple/": ("pypi", "simple/"),
    f"{PY}/": ("pypi", ""),
    "https://files.example/": ("pypi", "files/"),
    f"{JS}/": ("npm", ""),
    "http://127.0.0.1:9000/index/": ("cargo", ""),
}


def read(form: str, name: str) -> list[Line | None]:
    """What a sample says in a format."""
    reader, found = open_format(form), []
    for text in (LOGS / name).read_text("utf-8").splitlines():
        reader.remark(text) if text.startswith("#") else found.append(reader.parse(text))
    return found


@pytest.mark.parametrize("name", SAMPLES)
def test_each_format_is_found_and_read(name: str) -> None:
    """Every field that is kept, of lines such as the program's own documentation has."""
    form, lines = SAMPLES[name]
    assert find_format((LOGS / name).read_text("utf-8").splitlines()) == form
    assert read(form, name) == lines


def test_apache_has_the_format_of_nginx_where_it_has_no_virtual_host() -> None:
    """Both read it alike, so it makes no difference which it is taken for."""
    assert read("apache", "apache.log") == read("nginx", "apache.log") == APACHE
    assert read("apache", "nginx.log") == read("nginx", "nginx.log")
    assert find_format((LOGS / "apache.log").read_text("utf-8").splitlines()) == "nginx"


@pytest.mark.parametrize("name", ["nginx.log", "nexus-request.log"])
def test_what_pip_says_of_itself_is_read_however_its_quotes_are_written(name: str) -> None:
    """nginx writes them as hexadecimal digits, Nexus as they are."""
    client = next(
        recognise(line.user_agent) for line in read(SAMPLES[name][0], name) if line and "{" in line.user_agent
    )
    assert (client.name, client.version, client.arch) == ("pip", "25.3", "x86_64")
    assert client.ci is (name == "nginx.log")


@pytest.mark.parametrize("form", FORMATS)
def test_no_format_reads_the_lines_of_another_as_something_else(form: str) -> None:
    """But for those of which one is a part of the other."""
    shared = {"nginx": {"apache.log"}, "apache": {"nginx.log", "apache.log"}, "fastly": {"nginx.json"}}
    for name, (own, _) in SAMPLES.items():
        if own != form and name not in shared.get(form, ()):
            assert not any(read(form, name)), name


@settings(max_examples=150, deadline=None)
@given(text=st.text(min_size=1, max_size=300).filter(lambda text: "\n" not in text))
def test_no_line_makes_a_format_raise(text: str) -> None:
    """Whatever it is."""
    for name in FORMATS:
        reader = open_format(name)
        reader.remark(f"#Fields: {text}")
        line = reader.parse(text)
        assert line is None or isinstance(line, Line)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_change_of_a_sound_line_makes_its_format_raise(data: st.DataObject) -> None:
    """A few characters that are lost, or come in between, where they hurt."""
    name = data.draw(st.sampled_from([*SAMPLES]))
    text = data.draw(st.sampled_from((LOGS / name).read_text("utf-8").splitlines()))
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
    changed = text[:start] + data.draw(st.text(max_size=4)) + text[end:]
    if changed:
        for form in FORMATS:
            line = open_format(form).parse(changed)
            assert line is None or (line.status != 0 and line.size_bytes < 2**63) or line is NOTHING


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [
        ("21/Nov/2026:12:00:00 +0000", NOON_US),
        ("21/Nov/2026:17:30:00 +0530", NOON_US),
        ("21/Nov/2026:04:00:00 -0800", NOON_US),
        ("32/Nov/2026:04:00:00 -0800", None),
        ("21/Foo/2026:04:00:00 -0800", None),
        ("21/Nov/2026:04:00:00 +9999", None),
        ("01/Jan/1969:00:00:00 +0000", None),
        ("2026-11-21T12:00:00.250Z", NOON_US + 250_000),
        ("2026-11-21 12:00:00", NOON_US),
        ("2026-11-21T12:00:00UTC", NOON_US),
        ("2026-11-21T12:00:00+0000", NOON_US),
        ("2026-11-41T12:00:00Z", None),
        ("1795262400", NOON_US),
        ("1795262400.25", NOON_US + 250_000),
        ("1795262400250", NOON_US + 250_000),
        ("1795262400250000", NOON_US + 250_000),
        ("99999999999999999999", None),
        ("soon", None),
        ("", None),
    ],
)
def test_times_are_read_in_every_spelling(text: str, expected_us: int | None) -> None:
    """In microseconds of UTC."""
    assert parse_time(text) == expected_us
    assert expected_us in {parse_clf_time(text), parse_iso_time(text), parse_epoch(text)}


@pytest.mark.parametrize(
    ("tag", "outcome"),
    [
        ("TCP_HIT", "hit"),
        ("TCP_MEM_HIT_ABORTED", "hit"),
        ("TCP_IMS_HIT", "hit"),
        ("TCP_MISS", "miss"),
        ("TCP_SWAPFAIL_MISS", "miss"),
        ("TCP_REFRESH_UNMODIFIED", "revalidated"),
        ("TCP_REFRESH_MODIFIED", "miss"),
        ("TCP_REFRESH_FAIL_OLD", "stale"),
        ("TCP_REFRESH_FAIL_ERR", "error"),
        ("TCP_CF_MISS", "collapsed"),
        ("TCP_DENIED", "refused"),
        ("TCP_TUNNEL", ""),
        ("NONE_NONE", ""),
    ],
)
def test_squids_tags_have_our_words(tag: str, outcome: str) -> None:
    """As Squid explains them."""
    assert squid.outcome_of(tag) == outcome


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("HIT", "hit"),
        ("HIT-STALE-CLUSTER", "stale"),
        ("HIT-SYNTH", ""),
        ("MISS-WAIT", "miss"),
        ("PASS", "miss"),
        ("ERROR", "error"),
        ("BG-ERROR-PASS", ""),
        ("EXPIRED", "miss"),
        ("updating", "stale"),
        ("REVALIDATED", "revalidated"),
        ("", ""),
    ],
)
def test_states_of_nginx_and_fastly_have_our_words(state: str, outcome: str) -> None:
    """The first word counts, but for those that say where the answer came from."""
    assert outcome_of(state) == outcome


def test_a_log_in_no_known_format_names_the_flag() -> None:
    """And what it may say."""
    with pytest.raises(ConfigError) as caught:
        find_format(["It was a dark night.", "The wind blew."])
    assert "--format" in caught.value.hint and "squid" in caught.value.hint
    with pytest.raises(ConfigError, match="--format iis"):
        open_format("iis")


def test_a_log_that_two_formats_read_differently_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessing would keep something else than what happened."""

    class Odd(FORMATS["squid"]):  # type: ignore[misc]
        """Reads squid's lines with another size."""

        def parse(self, text: str) -> Line | None:
            line = super().parse(text)
            return line and line._replace(size_bytes=7)

    monkeypatch.setitem(FORMATS, "odd", Odd)
    with pytest.raises(ConfigError, match="squid, odd") as caught:
        find_format((LOGS / "squid.log").read_text("utf-8").splitlines())
    assert "--format" in caught.value.hint


@pytest.fixture(scope="module")
def known() -> Known:
    """Registries of three ecosystems, two of them on one host."""

    def locate(url: str):  # type: ignore[no-untyped-def]
        base = max((base for base in LOCATED if url.startswith(base)), key=len, default=None)
        if base is None:
            return None
        name, prefix = LOCATED[base]
        return ecosystems()[name], prefix + url[len(base) :], base

    hosts = {
        ("py.registry.example", 443): frozenset({("pypi", f"{PY}/simple/")}),
        ("files.example", 443): frozenset({("pypi", f"{PY}/simple/")}),
        ("js.registry.example", 443): frozenset({("npm", f"{JS}/")}),
        ("127.0.0.1", 9000): frozenset({("cargo", "http://127.0.0.1:9000/index/")}),
        ("both.example", 443): frozenset({("npm", "https://both.example/a/"), ("pypi", "https://both.example/b/")}),
    }
    return Known(hosts, locate, (f"{PY}/simple/", f"{JS}/"))


@pytest.mark.parametrize(
    ("method", "target", "what"),
    [
        ("GET", f"{PY}/simple/Widget", What("pypi", "index", "widget", upstream=f"{PY}/simple/")),
        (
            "GET",
            "HTTP://user:secret@PY.registry.example:80/simple/widget/?a=b#c",
            What("pypi", "index", "widget", upstream=f"{PY}/simple/"),
        ),
        ("HEAD", f"{JS}:443/@acme%2fwidget", What("npm", "index", "@acme/widget", upstream=f"{JS}/")),
        (
            "GET",
            f"{JS}/widget/-/widget-1.2.3.tgz",
            What("npm", "artifact", "widget", "1.2.3", "widget-1.2.3.tgz", f"{JS}/"),
        ),
        (
            "GET",
            "https://files.example/packages/aa/bb/cc/widget-1.0-py3-none-any.whl.metadata",
            What("pypi", "sidecar", "widget", "1.0", "widget-1.0-py3-none-any.whl.metadata", "https://files.example/"),
        ),
        ("POST", f"{JS}/-/npm/v1/security/advisories/bulk", What("npm", "passthrough", upstream=f"{JS}/")),
        ("GET", f"{JS}/-/v1/search?text=secret", What("npm", "passthrough", upstream=f"{JS}/")),
        ("PUT", f"{JS}/widget", What("npm", "passthrough", upstream=f"{JS}/")),
        ("GET", f"{PY}/..%2f..%2fetc/passwd", What("pypi", "passthrough", upstream=f"{PY}/simple/")),
        (
            "GET",
            "http://127.0.0.1:9000/index/wi/dg/widget",
            What("cargo", "index", "widget", upstream="http://127.0.0.1:9000/index/"),
        ),
        ("GET", "http://127.0.0.1:9001/index/wi/dg/widget", None),
        ("CONNECT", "js.registry.example:443", What("npm", upstream=f"{JS}/")),
        ("CONNECT", "JS.registry.example:443", What("npm", upstream=f"{JS}/")),
        ("CONNECT", "js.registry.example:8443", None),
        ("CONNECT", "[2001:db8::1]:443", None),
        ("CONNECT", "both.example:443", What("")),
        ("GET", "https://elsewhere.example/simple/widget/", None),
        ("GET", "/simple/widget/", None),
        ("GET", "error:transaction-end-before-headers", None),
        ("", "", None),
    ],
)
def test_a_request_is_of_what_its_address_says(known: Known, method: str, target: str, what: What | None) -> None:
    """Registry, kind, project, version and file, without query and credentials."""
    assert Places(known, ()).find(method, "", target) == what


def test_the_host_beside_a_path_says_of_what_it_is(known: Known) -> None:
    """As virtual hosts and CDNs log it."""
    places = Places(known, ())
    assert places.find("GET", JS, "/widget") == What("npm", "index", "widget", upstream=f"{JS}/")
    assert places.find("GET", "https://elsewhere.example", "/widget") is None


def test_base_says_what_paths_are_below(known: Known) -> None:
    """An address or an ecosystem, for all of them or by their beginning, of which the longest counts."""
    whole = Places(known, [f"{PY}/simple"])
    assert whole.find("GET", "", "/widget/?x") == What("pypi", "index", "widget", upstream=f"{PY}/simple/")
    parts = Places(known, [f"/repository/js={JS}", "/repository/js/own=pypi", "/go/=golang"])
    assert parts.find("GET", "https://mirror.example", "/repository/js/widget") == What(
        "npm", "index", "widget", upstream=f"{JS}/"
    )
    assert parts.find("GET", "", "/repository/js/own/simple/widget/") == What("pypi", "index", "widget")
    assert parts.find("GET", "", "/go/registry.example/widget/@v/list") == What(
        "golang", "index", "registry.example/widget"
    )
    assert parts.find("GET", "", "/repository/js/own/favicon.ico") is None
    assert parts.find("GET", "", "/health") is None
    assert parts.find("GET", "", f"{JS}/widget") == What("npm", "index", "widget", upstream=f"{JS}/")


@pytest.mark.parametrize("base", ["https://elsewhere.example/", "/repository/", "nothing", "/a=", "/a=nothing"])
def test_a_base_that_leads_nowhere_is_refused(known: Known, base: str) -> None:
    """With what is allowed."""
    with pytest.raises(ConfigError, match="--base") as caught:
        Places(known, [base])
    assert f"{JS}/" in caught.value.hint and "pypi" in caught.value.hint


@settings(max_examples=100, deadline=None)
@given(target=st.text(max_size=80), method=st.sampled_from(["GET", "HEAD", "POST", "CONNECT", "PUT", ""]))
def test_no_address_makes_the_search_raise(known: Known, method: str, target: str) -> None:
    """Below a registry, at its door, or anywhere."""
    places = Places(known, ["/js/=npm", "/go/=golang", "/mvn/=maven", "/rs/=cargo", "/py/=pypi"])
    for address in (
        target,
        f"{JS}/{target}",
        f"{PY}/{target}",
        *(f"/{mount}/{target}" for mount in "js go mvn rs py".split()),
    ):
        places.find(method, "", address)


def test_endless_targets_are_not_remembered(known: Known) -> None:
    """A log of them would fill the memory."""
    places = Places(known, ())
    for end in ("/widget", "/" + "x" * 100_000):
        places.find("GET", JS, end)
    assert places._remembering.cache_info().currsize == 1


def chunks(content: bytes) -> list[str]:
    """The lines of a log."""
    return [text for lines in LogLines(io.BytesIO(content), "a log").chunks() for text in lines]  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(lines=st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line and b"\r" not in line), max_size=8))
def test_lines_are_those_between_line_ends(lines: list[bytes]) -> None:
    """Of either kind, and without one in the end."""
    texts = [line.decode("utf-8", "replace") for line in lines]
    for end in (b"\n", b"\r\n"):
        assert [text for text in chunks(end.join(lines)) if text] == [text for text in texts if text]
        assert chunks(b"".join(line + end for line in lines)) == texts


def test_a_line_without_end_takes_no_memory() -> None:
    """It is known as too long, and the next one is whole."""
    first, second = chunks(b"x" * 2_000_000 + b"\nnext\n")
    assert LONGEST_LINE < len(first) < LONGEST_LINE * 6
    assert second == "next"


def test_a_packed_log_is_the_same_log(tmp_path: Path) -> None:
    """Also of several parts, as rotation that appends makes it."""
    content = (LOGS / "squid.log").read_bytes()
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "packed").write_bytes(gzip.compress(content[:100]) + gzip.compress(content[100:]))
    found = []
    for name in ("plain", "packed"):
        with open_log(str(tmp_path / name)) as log:
            found.append(([text for lines in log.chunks() for text in lines], log.digest))
    assert found[0] == found[1]


@pytest.mark.parametrize("damage", [lambda packed: packed[:-20], lambda packed: packed[:30] + b"\0\0\0" + packed[33:]])
def test_a_damaged_packed_log_is_an_error(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    """Half of it would look like all of it."""
    path = tmp_path / "log.gz"
    path.write_bytes(damage(gzip.compress((LOGS / "squid.log").read_bytes())))
    with pytest.raises(ConfigError, match="cannot be read to its end"), open_log(str(path)) as log:
        list(log.chunks())
