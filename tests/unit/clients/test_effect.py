"""What setup writes is what the client's own parser then reads, and what it cannot write it refuses."""

from __future__ import annotations

import configparser
import tomllib
from xml.etree import ElementTree as ET

import pytest

from mainstay.clients.edit import put_in, take_out
from mainstay.clients.marks import Refusal
from mainstay.clients.wanted import render_wanted
from mainstay.ecosystems import ecosystems

URL = "http://gateway.example:8080/mount"
CLIENTS = {client.name: client for adapter in ecosystems().values() for client in adapter.clients}


def put(name, body, url=URL, number=0):
    """The file of a client after setup, or why it is refused."""
    return put_in(body.encode(), render_wanted(CLIENTS[name].files[number], url), None)


def ini(body):
    """As pip reads it."""
    parser = configparser.RawConfigParser()
    parser.read_string(body.decode())
    return parser


@pytest.mark.parametrize(
    "before",
    [
        "",
        "[global]",
        "[global]\nindex-url = https://corp.example\n",
        "[global]\n  INDEX_URL : https://corp.example\n    more\n\n  # why\n    more\n  timeout = 5\n",
        "[global]\n  timeout = 5\n",
        "# mine\n  [install]\n--index-url = https://corp.example",
        "[DEFAULT]\nindex-url = https://corp.example\n[download]\nx = 1\n",
    ],
)
def test_pip_reads_our_index_and_no_other(before):
    """In whatever section the user's own one stands, since a command's section goes before [global]."""
    parser = ini(put("pip", before))
    assert parser["global"]["index-url"] == f"{URL}/simple/"
    named = {(section, key) for section in parser.sections() for key in parser[section] if "index" in key}
    assert named == {("global", "index-url")}
    if "timeout" in before:
        assert parser["global"]["timeout"] == "5"


def test_pip_trusts_a_plain_http_host_beside_those_of_the_user():
    """It would refuse the address otherwise. Loopback it takes as it is."""
    before = "[global]\ntrusted-host = a.example\n    b.example\n[install]\ntrusted_host=c.example\n"
    parser = ini(put("pip", before))
    assert parser["global"]["trusted-host"] == "gateway.example a.example b.example c.example"
    assert not parser.has_option("install", "trusted_host")
    for url in ("https://gateway.example/m", "http://127.0.0.1:4480/m", "http://localhost/m", "http://[::1]:8/m"):
        assert ini(put("pip", before, url))["global"]["trusted-host"] == "a.example\nb.example"


@pytest.mark.parametrize(
    "before",
    [
        "",
        'index-url = "https://corp.example"\n[pip]\nindex-url = "https://corp.example"\nverify-hashes = true\n',
        '[[index]]\nname = "corp"\nurl = "https://corp.example"\ndefault = true\n[index.deep]\nx = 1',
        'index = [\n  { url = "https://corp.example", default = true },\n]\n',
    ],
)
def test_uv_reads_our_index_as_its_only_default(before):
    """Other settings of the same tables stay."""
    tree = tomllib.loads(put("uv", before).decode())
    assert tree["index"] == [{"name": "mainstay", "url": f"{URL}/simple/", "default": True}]
    assert "index-url" not in tree and "index-url" not in tree.get("pip", {})
    assert tree.get("pip", {}).get("verify-hashes") is (True if "verify" in before else None)


def test_uv_keeps_the_users_other_indexes():
    """They do not take the place of the default."""
    tree = tomllib.loads(
        put("uv", '[[index]]\nname = "more"\nurl = "https://more.example"\ndefault = false\n').decode()
    )
    assert [index["name"] for index in tree["index"]] == ["more", "mainstay"]


@pytest.mark.parametrize(
    "before",
    [
        "",
        'paths = ["/x"]\n[build]\njobs = 1',
        "[source.crates-io] # mine\nreplace-with = 'corp'\n\n[source.corp]\nregistry = 'sparse+https://corp.example/'\n",
        "[source.'crates-io']\nreplace-with = 'corp'\n",
        "source.crates-io.replace-with = 'corp'\n",
        "[source]\ncrates-io = { replace-with = 'corp' }\n",
        "[source.mainstay]\ndirectory = 'vendor'\n",
        "[registries.mainstay]\nindex = 'sparse+https://old.example/'\n",
        'x = """\n[source.crates-io]\nreplace-with = 1\n"""\n',
    ],
)
def test_cargo_reads_our_source_in_place_of_the_public_one(before):
    """However the user has spelled his own, whose other tables stay."""
    tree = tomllib.loads(put("cargo", before).decode())
    assert tree["source"]["crates-io"] == {"replace-with": "mainstay"}
    assert tree["registries"]["mainstay"] == {"index": f"sparse+{URL}/"}
    assert "mainstay" not in tree["source"]
    expected = tomllib.loads(before)
    assert tree["source"].get("corp") == expected.get("source", {}).get("corp")
    assert {key: tree.get(key) for key in ("build", "paths", "x")} == {
        key: expected.get(key) for key in ("build", "paths", "x")
    }


@pytest.mark.parametrize(
    "before", ["", "[pypi]\nurl = 'https://corp.example'\nverify_ssl = false\n", "pypi.url = 'x'\n"]
)
def test_pdm_reads_our_index_beside_its_other_settings(before):
    """In the table that is there, since a second one of its name would not be valid."""
    tree = tomllib.loads(put("pdm", before).decode())
    assert tree["pypi"]["url"] == f"{URL}/simple"
    assert tree["pypi"].get("verify_ssl") is (False if "verify" in before else None)


@pytest.mark.parametrize(
    "before",
    [
        "",
        "<settings/>",
        '<settings xmlns="http://maven.example/1.2"\n  a=">" />',
        "<settings><mirrors /></settings>",
        "<settings><!-- <mirrors> --><servers/><mirrors>\n  <mirror><id>corp</id></mirror></mirrors></settings>",
        '<?xml version="1.0" encoding="ISO-8859-1"?>\r\n<settings>\r\n</settings>',
    ],
)
def test_maven_reads_our_mirrors_first(before):
    """One of the public repository's own name, which would go before one of all, and one of all."""
    root = ET.fromstring(put("maven", before))
    [mirrors] = [child for child in root if child.tag.endswith("mirrors")]
    told = [[element.text for element in mirror] for mirror in mirrors]
    assert told[:2] == [["mainstay-central", "central", f"{URL}/"], ["mainstay", "*", f"{URL}/"]]
    assert ["corp"] in told or "corp" not in before


def test_yarn_lists_a_plain_http_host_beside_those_of_the_user():
    """yarn 4 refuses loopback too."""
    before = "---\nunsafeHttpWhitelist:\n- a.example # why\n\n- 'b.example'\nnodeLinker: pnp\n"
    after = put("yarn", before, number=2).decode()
    assert after.startswith("---\n# >>> mainstay")
    block = (
        f'npmRegistryServer: "{URL}"\nunsafeHttpWhitelist:\n  - "gateway.example"\n  - "a.example"\n  - "b.example"\n'
    )
    assert block in after
    flow = put("yarn", "unsafeHttpWhitelist: [a.example, 'b.example']\n", number=2).decode()
    assert block in flow
    assert "Whitelist" not in put("yarn", "", "https://gateway.example/m", number=2).decode()


def test_go_gets_no_carriage_return_into_its_value():
    """It would take it for a part of the address."""
    assert f"\nGOPROXY={URL}\n".encode() in put("go", "GOFLAGS=-x\r\n")


def test_go_asks_nobody_else():
    """No `direct` behind the gateway: what it refuses is not fetched past it."""
    assert b"direct" not in put("go", "")


@pytest.mark.parametrize(
    ("name", "number", "before", "reason"),
    [
        ("pip", 0, "index-url = x\n", "pip itself stops at it"),
        ("pip", 0, "[global]\n[global]\n", "pip itself stops at it"),
        ("pip", 0, "\ufeff[global]\n", "byte order mark"),
        ("pip", 0, "[global]\rx = 1\r", "LF or CRLF"),
        ("npm", 0, "r\0e\0g\0", "plain text"),
        ("uv", 0, "x = \n", "not valid TOML"),
        ("uv", 0, "index = [{ url = 'https://more.example' }]\n", "does not fit"),
        (
            "cargo",
            0,
            "source = { crates-io = { replace-with = 'c' }, corp = { directory = 'd' } }\n",
            "another setting",
        ),
        ("yarn", 2, "{ npmRegistryServer: x }\n", "form of YAML"),
        ("yarn", 2, "a: 1\n---\nb: 1\n", "form of YAML"),
        ("yarn", 2, "unsafeHttpWhitelist: &hosts\n  - a.example\n", "form of YAML"),
        ("maven", 0, "<project/>", "root element is not <settings>"),
        ("maven", 0, "<settings>", "not well-formed"),
        ("maven", 0, "<!DOCTYPE settings [<!ENTITY a 'b'>]><settings/>", "document type"),
    ],
)
def test_a_file_that_cannot_be_edited_safely_is_refused(name, number, before, reason):
    """With the reason, and nothing is written."""
    refused = put(name, before, number=number)
    assert isinstance(refused, Refusal)
    assert reason in refused.reason


@pytest.mark.parametrize("name", ["pip", "npm", "maven", "gradle"])
def test_an_edit_between_our_marks_is_noticed(name):
    """Undo takes it out all the same, and says so."""
    file = CLIENTS[name].files[0]
    after = put(name, "").replace(b"gateway.example", b"elsewhere.example", 1)
    left, found = take_out(after, file.form)
    assert left == b""
    assert found.edited


@pytest.mark.parametrize("name", ["npm", "maven"])
@pytest.mark.parametrize("mark", [b">>> mainstay", b"<<< mainstay"])
def test_a_file_with_half_of_our_marks_is_left_alone(name, mark):
    """What is ours is not clear any more."""
    lines = put(name, "").splitlines(keepends=True)
    body = b"".join(line for line in lines if mark not in line)
    assert isinstance(take_out(body, CLIENTS[name].files[0].form), Refusal)


def test_the_line_end_that_an_editor_adds_is_the_editors():
    """A file without one has none after undo, unless somebody wrote on below our lines."""
    after = put("uv", "x = 1")
    assert take_out(after, "toml")[0] == b"x = 1"
    assert take_out(after + b"\ny = 2\n", "toml")[0] == b"x = 1\ny = 2\n"
