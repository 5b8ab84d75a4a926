"""What is particular to the Python index: paths, negotiation, discovery, metadata from wheels.

The contract suite holds what every adapter owes; the documents are in `test_pypi_pages`.
"""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.ecosystems import ecosystems
from mainstay.errors import NotAcceptable, NotFound
from mainstay.model import Artifact, Found, Index, Passthrough, Redirect, Request, Sidecar, Upload

ECOSYSTEM = ecosystems()["pypi"]
JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
TEXT = "text/html"
WHEEL = "widget_tool-7.7.7-py3-none-any.whl"
ARTIFACT = Artifact("widget-tool", "7.7.7", WHEEL, "", "files")


def form_of(accept: str | None, query: str = "") -> str:
    """The representation that a page is answered in."""
    headers = {} if accept is None else {"accept": accept}
    resource = ECOSYSTEM.route(Request("simple/flask/", query=query, headers=headers))
    assert isinstance(resource, Index)
    return resource.form


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, TEXT),
        ("*/*", TEXT),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),
        (f"{JSON}, {HTML}; q=0.1, text/html; q=0.01", JSON),
        (f"{JSON}, {HTML};q=0.2, text/html;q=0.01", JSON),
        (f"{JSON};q=0.1, {HTML}", HTML),
        (f"text/html, {JSON}", JSON),
        (f"*/*, {JSON};q=0", TEXT),
        ("application/*", JSON),
        ("text/*;q=0.5, image/png", TEXT),
        ("application/vnd.pypi.simple.latest+json", JSON),
        ("application/vnd.pypi.simple.latest+html;q=0.9, text/html;q=0.3", HTML),
        ("TEXT/HTML;Q=1", TEXT),
        (f"{JSON};q=nonsense, text/html;q=0.1", TEXT),
    ],
)
def test_accept_header_chooses_the_representation(accept: str | None, form: str) -> None:
    """Quality decides, then how exactly a type was named, then JSON; who does not care gets HTML."""
    assert form_of(accept) == form


@pytest.mark.parametrize(
    "accept", ["image/png", "application/json", f"{JSON};q=0", "application/vnd.pypi.simple.v2+json"]
)
def test_unknown_representation_is_not_acceptable(accept: str) -> None:
    """A client that takes none of the three is told so."""
    with pytest.raises(NotAcceptable):
        form_of(accept)


def test_format_parameter_goes_before_accept() -> None:
    """PEP 691 lets a person ask by address; a plus sign that was not encoded is forgiven."""
    assert form_of("text/html", "format=application/vnd.pypi.simple.v1%2Bjson") == JSON
    assert form_of("text/html", "format=application/vnd.pypi.simple.latest+json") == JSON
    with pytest.raises(NotAcceptable):
        form_of("text/html", "format=text/csv")


@pytest.mark.parametrize("path", ["simple/Flask/", "simple/flask", "simple/FLASK", "simple/flask/"])
def test_project_has_one_address(path: str) -> None:
    """Any other spelling, or a missing slash, is redirected to the normalised name (PEP 503)."""
    resource = ECOSYSTEM.route(Request(path))
    if path == "simple/flask/":
        assert isinstance(resource, Index)
        assert (resource.project, resource.path, resource.role) == ("flask", "flask/", "simple")
    else:
        assert resource == Redirect("simple/flask/")


def test_names_are_normalised_before_anything_else() -> None:
    """Runs of separators become one dash."""
    assert ECOSYSTEM.route(Request("simple/Zope.__Interface/")) == Redirect("simple/zope-interface/")
    assert ECOSYSTEM.route(Request("simple")) == Redirect("simple/")


def test_upstream_is_asked_the_same_whatever_the_client_accepts() -> None:
    """One stored document serves every client, and JSON is preferred because HTML has no upload times."""
    resources = [ECOSYSTEM.route(Request("simple/flask/", headers={"accept": accept})) for accept in (JSON, TEXT)]
    accepts = {resource.accept for resource in resources if isinstance(resource, Index)}
    assert len(resources) == 2
    assert accepts == {f"{JSON}, {HTML};q=0.2, text/html;q=0.01"}


@pytest.mark.parametrize(
    ("path", "project", "version", "role", "below"),
    [
        ("files/flask/flask-3.0.0-py3-none-any.whl", "flask", "3.0.0", "files", "flask/flask-3.0.0-py3-none-any.whl"),
        ("files/packages/aa/bb/cc/Flask-0.1.tar.gz", "flask", "0.1", "files", "packages/aa/bb/cc/Flask-0.1.tar.gz"),
        ("files/packages/aa/bb/foo-bar-1.0-1.zip", "foo-bar", "1.0.post1", "files", "packages/aa/bb/foo-bar-1.0-1.zip"),
        (
            "files/zope/zope.interface-5.0-py2.7.egg",
            "zope-interface",
            "5.0",
            "files",
            "zope/zope.interface-5.0-py2.7.egg",
        ),
        ("files/x/foo-1.0.win32-py2.7.exe", "foo", "1.0", "files", "x/foo-1.0.win32-py2.7.exe"),
        ("files/py-3/py-3-2.zip", "py-3", "2", "files", "py-3/py-3-2.zip"),
        ("files/odd/-/weird.zip", "odd", "weird", "files", "odd/-/weird.zip"),
        ("simple/flask/flask-3.0.0.tar.gz", "flask", "3.0.0", "simple", "flask/flask-3.0.0.tar.gz"),
        ("root/x/+f/1a2/b3c/flask-3.0.0.tar.gz", "flask", "3.0.0", "root", "root/x/+f/1a2/b3c/flask-3.0.0.tar.gz"),
        (
            "files/torch/torch-2.0+cu118-cp311-cp311-linux_x86_64.whl",
            "torch",
            "2.0+cu118",
            "files",
            "torch/torch-2.0+cu118-cp311-cp311-linux_x86_64.whl",
        ),
    ],
)
def test_a_file_is_known_by_its_last_segment(path: str, project: str, version: str, role: str, below: str) -> None:
    """The folder may be anything: the gateway's own, the registry's hashes, or that of another server."""
    artifact = ECOSYSTEM.route(Request(path))
    assert artifact == Artifact(project, version, path.rpartition("/")[2], below, role)
    assert isinstance(artifact, Artifact)
    assert ECOSYSTEM.index_of(artifact).path == f"{project}/"


@pytest.mark.parametrize("suffix", [".metadata", ".asc"])
def test_sidecar_belongs_to_its_artifact(suffix: str) -> None:
    """PEP 658 metadata and signatures are at the file's address with a suffix."""
    resource = ECOSYSTEM.route(Request(f"files/widget-tool/{WHEEL}{suffix}"))
    assert isinstance(resource, Sidecar)
    assert (resource.suffix, resource.artifact.filename, resource.artifact.version) == (suffix, WHEEL, "7.7.7")


@pytest.mark.parametrize(
    "path",
    ["", "simple//", "simple/-flask/", "simple/fl ask/", "files/", "files/readme.txt", "files/flask/.whl", "legacy/",
     "pypi", "pypi/flask", "pypi/flask/json/", "pypi/flask/../json", "files/a/b%2fc-1.0.zip", "files/weird.zip",
     "integrity/flask/1.0/readme.txt/provenance", "files/a/c-1.0.zip/", "files/a/c-1.0.tar.gz.asc.asc"],
)  # fmt: skip
def test_what_the_protocol_does_not_have_is_not_found(path: str) -> None:
    """No path is guessed at."""
    with pytest.raises(NotFound):
        ECOSYSTEM.route(Request(path))


def test_legacy_and_provenance_paths_are_below_the_index_folder() -> None:
    """Tools ask the folder above the index for JSON documents and for attestations."""
    document = ECOSYSTEM.route(Request("pypi/Widget.Tool/1.0/json"))
    assert isinstance(document, Index)
    assert (document.project, document.path, document.role) == ("widget-tool", "pypi/widget-tool/1.0/json", "root")
    assert ECOSYSTEM.link_base_of(document) is None
    provenance = ECOSYSTEM.route(Request(f"integrity/widget-tool/7.7.7/{WHEEL}/provenance"))
    assert isinstance(provenance, Passthrough)
    assert provenance.path == f"integrity/widget-tool/7.7.7/{WHEEL}/provenance"
    assert (provenance.project, provenance.role) == ("widget-tool", "root")
    assert provenance.ttl_s > 0


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [("POST", "legacy/", "publish"), ("POST", "pypi", "XML-RPC"), ("DELETE", "simple/flask/", "publish")],
)
def test_writes_are_uploads(method: str, path: str, what: str) -> None:
    """Whatever is not read is refused in words by the gateway."""
    assert ECOSYSTEM.route(Request(path, method=method)) == Upload(what)


def test_bases_have_a_root_only_where_the_index_is_called_simple() -> None:
    """An index elsewhere has no known place for the older documents."""
    assert ECOSYSTEM.bases("https://registry.example/a/simple") == {
        "simple": "https://registry.example/a/simple/",
        "root": "https://registry.example/a/",
    }
    assert ECOSYSTEM.bases("https://registry.example/+simple/") == {"simple": "https://registry.example/+simple/"}


def test_default_upstream_is_the_one_that_the_library_carries() -> None:
    """The address read from the library's source is the one that importing it gives."""
    from pypi_simple import PYPI_SIMPLE_ENDPOINT

    assert ECOSYSTEM.default_upstream() == PYPI_SIMPLE_ENDPOINT
    assert "simple" in ECOSYSTEM.bases(PYPI_SIMPLE_ENDPOINT)


def wheel(members: dict[str, bytes]) -> io.BytesIO:
    """A zip archive."""
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    blob.seek(0)
    return blob


def test_metadata_comes_from_the_wheel_itself() -> None:
    """The project's own `.dist-info` folder at the top, byte for byte."""
    blob = wheel({
        "vendored/other-1.dist-info/METADATA": b"wrong depth",
        "other-1.dist-info/METADATA": b"another project",
        "Widget.Tool-7.7.7.dist-info/METADATA": b"Metadata-Version: 2.1\nName: Widget.Tool\n",
    })  # fmt: skip
    assert ECOSYSTEM.derivable(ARTIFACT, ".metadata")
    assert ECOSYSTEM.derive_sidecar(ARTIFACT, ".metadata", blob) == b"Metadata-Version: 2.1\nName: Widget.Tool\n"
    assert ECOSYSTEM.derive_sidecar(ARTIFACT, ".asc", blob) is None


def test_nothing_is_derived_from_a_damaged_wheel() -> None:
    """Noise, a truncated archive, one without metadata and a metadata file of absurd size give nothing."""
    whole = wheel({"widget_tool-7.7.7.dist-info/METADATA": b"x" * 1000}).getvalue()
    broken = bytearray(whole)
    broken[60:70] = b"\xff" * 10
    for content in (b"noise", whole[:-40], bytes(broken), wheel({"a.py": b""}).getvalue()):
        assert ECOSYSTEM.derive_sidecar(ARTIFACT, ".metadata", io.BytesIO(content)) is None
    bomb = wheel({"widget_tool-7.7.7.dist-info/METADATA": b"\0" * (16 * 2**20 + 1)})
    assert ECOSYSTEM.derive_sidecar(ARTIFACT, ".metadata", bomb) is None
    sdist = Artifact("widget-tool", "7.7.7", "widget_tool-7.7.7.zip", "", "files")
    assert not ECOSYSTEM.derivable(sdist, ".metadata")


def test_a_wheel_cannot_unpack_into_memory() -> None:
    """An archive that understates its metadata by a factor of 100,000 costs no more than the cap."""
    bomb = bytearray(wheel({"widget_tool-7.7.7.dist-info/METADATA": b"\0" * 100_000_000}).getvalue())
    stated = bomb.rindex(b"PK\x01\x02") + 24
    bomb[stated : stated + 4] = (1000).to_bytes(4, "little")
    tracemalloc.start()
    try:
        assert ECOSYSTEM.derive_sidecar(ARTIFACT, ".metadata", io.BytesIO(bomb)) is None
        assert tracemalloc.get_traced_memory()[1] < 64_000_000
    finally:
        tracemalloc.stop()


@given(
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
    st.integers(0, 400),
    st.binary(min_size=1, max_size=12),
)
def test_a_harmed_wheel_gives_its_metadata_or_nothing(compression: int, at: int, noise: bytes) -> None:
    """Whatever is wrong with it, and however it is packed: no other bytes, and no error of the reader's."""
    blob, metadata = io.BytesIO(), b"Metadata-Version: 2.1\nName: Widget.Tool\n" * 4
    with zipfile.ZipFile(blob, "w", compression) as archive:
        archive.writestr("widget_tool-7.7.7.dist-info/METADATA", metadata)
    content = bytearray(blob.getvalue())
    content[at : at + len(noise)] = noise
    assert ECOSYSTEM.derive_sidecar(ARTIFACT, ".metadata", io.BytesIO(content)) in (None, metadata)


def test_indexes_are_found_in_the_clients_own_settings() -> None:
    """Each file and variable in its own language; what replaces the default comes first, what is unclear is ignored."""
    found = ECOSYSTEM.find_upstreams({
        "pip config list": (
            "global.index-url='https://mirror.example/simple'\n"
            "install.extra-index-url='https://one.example/simple/ http://two.example:8080/simple/'\n"
            ":env:.index-url='https://${USER}:${TOKEN}@env.example/simple/'\n"
            "global.timeout='60'\nglobal.extra-index-url='broken\n"
        ),
        "UV_INDEX": "corp=https://corp.example/simple https://[bad",
        "UV_DEFAULT_INDEX": "https://uv.example/simple/",
        "PIP_EXTRA_INDEX_URL": "ftp://no.example/ not-a-url",
        "uv.toml": 'index-url = "https://toml.example/simple"\n[[index]]\nurl = "https://extra.example/"\n',
        "pyproject.toml": (
            '[[tool.uv.index]]\nurl = "https://project.example/simple"\ndefault = true\n'
            '[[tool.poetry.source]]\nname = "x"\nurl = "https://poetry.example/simple"\npriority = "explicit"\n'
            '[[tool.pdm.source]]\nname = "pypi"\nurl = "https://pdm.example/simple"\n'
        ),
        "~/.config/uv/uv.toml": "not [ toml",
        "requirements.txt": "flask\n--index-url https://req.example/simple\n--extra-index-url=https://req2.example/s\n",
    })  # fmt: skip
    assert {item.url for item in found if not item.extra} == {
        "https://mirror.example/simple/",
        "https://env.example/simple/",
        "https://uv.example/simple/",
        "https://toml.example/simple/",
        "https://project.example/simple/",
        "https://pdm.example/simple/",
        "https://req.example/simple/",
    }
    assert {item.url for item in found if item.extra} == {
        "https://one.example/simple/",
        "http://two.example:8080/simple/",
        "https://corp.example/simple/",
        "https://extra.example/",
        "https://poetry.example/simple/",
        "https://req2.example/s/",
    }
    assert found[0] == Found("https://uv.example/simple/", why="UV_DEFAULT_INDEX")
