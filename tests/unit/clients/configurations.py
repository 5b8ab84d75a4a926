"""Configuration files as people write them: any spacing, comments, line ends, and settings that stand in our way."""

from __future__ import annotations

import tomllib

from hypothesis import strategies as st

ENDS = st.sampled_from(["\n", "\n", "\r\n"])
GAP = st.sampled_from(["", " ", "  ", "\t"])
WORD = st.text("abcxyzäß0-9._/:@%&$", min_size=1, max_size=12)
URL = st.sampled_from(["https://corp.example/simple", "http://u:p@corp.example:8/x", "https://[::1]/a"])
COMMENT = st.builds(
    lambda mark, text: f"{mark}{text}", st.sampled_from(["#", "# ", "##"]), st.text("ab-> <=['\"é", max_size=12)
)


@st.composite
def texts(draw, pieces, mark=True):
    """A file of such pieces, each one or more lines; the last line may lack its end, and a byte order mark may lead."""
    end = draw(ENDS)
    lines = [line for piece in draw(st.lists(pieces, max_size=10)) for line in piece.split("\n")]
    text = end.join(lines)
    if lines and draw(st.booleans()):
        text += end
    lead = "\ufeff" if mark and draw(st.integers(0, 9)) == 0 else ""
    return (lead + text).encode()


@st.composite
def flat_pieces(draw, settings, sections=()):
    """A line of a file that is a list of settings."""
    return draw(st.one_of(settings, settings, COMMENT, GAP, st.sampled_from([*sections, ""])))


NPMRC = texts(
    flat_pieces(
        st.builds(
            lambda lead, key, gap, value: f"{lead}{key}{gap}={gap}{value}",
            GAP,
            st.sampled_from(
                ["registry", '"registry"', "@acme:registry", "//corp.example/:_authToken", "cache", "registry[]"]
            ),
            GAP,
            URL | WORD,
        ),
        ["[section]", "registry", "; registry=x"],
    )
)
ENV = texts(
    flat_pieces(
        st.builds(
            "{}={}".format, st.sampled_from(["GOPROXY", "GOFLAGS", "GOPRIVATE", "goproxy", " GOPROXY"]), URL | WORD
        ),
        ["junk"],
    ),
    mark=False,
)
YARNRC = texts(
    flat_pieces(
        st.builds(
            '{} "{}"'.format, st.sampled_from(["registry", '"registry"', "cafile", "--install.x"]), URL | st.just("x")
        )
    )
)
YAML = texts(
    flat_pieces(
        st.builds(
            "{}:{}{}".format,
            st.sampled_from(
                ["npmRegistryServer", '"npmRegistryServer"', "nodeLinker", "npmScopes", "unsafeHttpWhitelist"]
            ),
            st.sampled_from([" ", "  "]),
            st.sampled_from(['"https://corp.example"', "pnp # why", '[a.example, "b.example"]']),
        )
        | st.sampled_from(
            [
                "unsafeHttpWhitelist:\n  - a.example\n\n  # why\n  - 'b.example' # so",
                "unsafeHttpWhitelist:\n- a.example",
                "npmScopes:\n  acme:\n    npmRegistryServer: https://corp.example",
                "packageExtensions:\n  x@*:\n    dependencies: {\n    }",
                "npmRegistryServer:\n  https://corp.example",
            ]
        ),
        ["---"],
    )
)


@st.composite
def _ini_option(draw):
    lead, gap = draw(GAP), draw(GAP)
    key = draw(
        st.sampled_from(["index-url", "index_url", "--index-url", "INDEX-URL", "timeout", "trusted-host", "cert", "x"])
    )
    lines = [f"{lead}{key}{gap}{draw(st.sampled_from('=:'))}{gap}{draw(URL | WORD)}"]
    below = draw(st.lists(st.sampled_from(["", "more", "# note", "https://two.example"]), max_size=3))
    lines += [f"{lead}   {more}" if more and not more.startswith("#") else more for more in below]
    return "\n".join(lines)


INI = texts(
    st.one_of(
        _ini_option(),
        _ini_option(),
        st.sampled_from(["[global]", "[install]", " [download]", "[global] ; x", "[DEFAULT]", "; note", "", "   "]),
        COMMENT,
    ),
    mark=False,
).map(lambda body: body if _starts_well(body) else b"[list]\n" + body)


def _starts_well(body: bytes) -> bool:
    """pip stops at a setting without a section."""
    first = next((line for line in body.decode().splitlines() if line.strip() and line.strip()[0] not in "#;"), "[")
    return first.strip().startswith("[")


def is_toml(body: bytes) -> bool:
    """Most mixtures of these pieces name a table twice."""
    try:
        return bool(tomllib.loads(body.decode().removeprefix("\ufeff"))) or True
    except tomllib.TOMLDecodeError:
        return False


_TOML_VALUE = st.sampled_from(
    [
        '"https://corp.example/simple"',
        "'x'",
        "true",
        "[\n  1, # one\n  2,\n]",
        '"""\nregistry = 1\n[source.crates-io]\n"""',
        "{ a = 1 }",
    ]
)
TOML = texts(
    st.one_of(
        st.builds("{}{} = {}{}".format, GAP, st.sampled_from("abcde"), _TOML_VALUE, st.sampled_from(["", " # why"])),
        st.builds(
            "{} = {}".format, st.sampled_from(["index-url", "pip.index-url", "registry", "url", "verify"]), _TOML_VALUE
        ),
        st.sampled_from(
            [
                "[source.crates-io]",
                '[source."crates-io"]',
                "[source.crates-io]\nreplace-with = 'corp'",
                "source.crates-io.replace-with = 'corp'",
                "[source]",
                "crates-io = { replace-with = 'corp' }",
                "[source.corp]\nregistry = 'https://corp.example'",
                "[ source . mainstay ] # mine",
                "[build]",
                "[pip]\nindex-url = 'https://corp.example'",
                "[pypi]",
                "[pypi]\nverify_ssl = false",
                "[[index]]\nurl = 'https://corp.example'\ndefault = true",
                "[[index]]\nname = 'more'\nurl = 'https://more.example'",
                "[[index]]\ndefault = true\n[index.deep]\nx = 1",
                "index = [{ url = 'https://corp.example', default = true }]",
                "",
            ]
        ),
        COMMENT,
    )
).filter(is_toml)

_XML_GAP = st.sampled_from(["", "\n", "\n  ", "\r\n", " <!-- a > b -->\n"])
_XML_CHILD = st.sampled_from(
    [
        "<mirrors/>",
        "<mirrors />",
        '<mirrors a="x>y--" />',
        "<mirrors></mirrors>",
        "<mirrors>\n  <mirror><id>corp</id><mirrorOf>central</mirrorOf><url>https://corp.example</url></mirror>\n</mirrors>",
        "<offline>false</offline>",
        "<servers><server><id>é</id><mirrors/></server></servers>",
        "<!-- <mirrors> -->",
        "<x><![CDATA[<mirrors>]]></x>",
    ]
)


@st.composite
def _xml(draw):
    head = draw(st.sampled_from(["", '<?xml version="1.0" encoding="UTF-8"?>', "\ufeff", "<!-- mine -->"]))
    if draw(st.integers(0, 5)) == 0:
        return (
            head
            + draw(_XML_GAP)
            + draw(st.sampled_from(["<settings/>", '<settings a=">"\n />', "<settings></settings>"]))
        ).encode()
    body = "".join(child + draw(_XML_GAP) for child in draw(st.lists(_XML_CHILD, max_size=4)))
    tail = draw(st.sampled_from(["", "\n"]))
    return f'{head}<settings xmlns="urn:x">{draw(_XML_GAP)}{body}</settings>{tail}'.encode()


XML = _xml() | st.sampled_from([b"", b"\n"])
