"""Bodies that the upstream double serves: the same bytes on every run, made from their names alone."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import random
import re
from collections.abc import Iterator
from typing import Any

BLOCK_BYTES = 1 << 20
SAMPLE = "sample"
SAMPLE_FILE_BYTES = 100_000
SAMPLE_VERSIONS = 15
WIDGET = "widget"
WIDGET_VERSIONS = 55
BIG_VERSIONS = 8_000
PLACEHOLDER = "0.0.0-placeholder"
SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
SIMPLE_HTML = "text/html; charset=utf-8"
ABBREVIATED = "application/vnd.npm.install-v1+json"

_SIZED = re.compile(r"f([0-9]+)-([0-9]+)")
_BIG = re.compile(r"big-[0-9]+")


def sized_project(size_bytes: int, number: int) -> str:
    """The name of a project whose only file has `size_bytes`; a different `number` gives different bytes."""
    return f"f{size_bytes}-{number}"


def filenames(project: str) -> list[tuple[str, int]]:
    """(filename, size in bytes) of each file of a Python project; empty where there is no such project."""
    if project == SAMPLE:
        names = [
            name
            for n in range(SAMPLE_VERSIONS)
            for name in (f"sample-2.{n}.0-py3-none-any.whl", f"sample-2.{n}.0.tar.gz")
        ]
        return [(name, SAMPLE_FILE_BYTES) for name in names]
    match = _SIZED.fullmatch(project)
    return [(f"{project.replace('-', '_')}-1.0-py3-none-any.whl", int(match[1]))] if match else []


def file_pieces(filename: str, size_bytes: int) -> Iterator[bytes]:
    """The bytes of a file, in pieces of up to 1 MiB, no two pieces alike."""
    block = _block(filename)
    for number, start in enumerate(range(0, size_bytes, BLOCK_BYTES)):
        yield (number.to_bytes(8, "big") + block)[: min(BLOCK_BYTES, size_bytes - start)]


@functools.lru_cache(maxsize=64)
def _block(filename: str) -> bytes:
    return random.Random(filename).randbytes(BLOCK_BYTES - 8)


@functools.lru_cache(maxsize=256)
def file_sha256(filename: str, size_bytes: int) -> str:
    """Lower-case hex digest of a file's bytes."""
    digest = hashlib.sha256()
    for piece in file_pieces(filename, size_bytes):
        digest.update(piece)
    return digest.hexdigest()


@functools.lru_cache(maxsize=256)
def render_index(project: str, base_url: str, media_type: str) -> bytes:
    """The simple index of a project (PEP 503, PEP 691), links absolute as the public index has them."""
    files = [_file_entry(base_url, name, size) for name, size in filenames(project)]
    if media_type == SIMPLE_JSON:
        versions = sorted({name.split("-")[1].removesuffix(".tar.gz") for name, _ in filenames(project)})
        document = {
            "meta": {"_last-serial": 29_876_543, "api-version": "1.4"},
            "name": project,
            "project-status": {"status": "active"},
            "versions": versions,
            "files": files,
        }
        return json.dumps(document).encode()
    links = "".join(
        f'<a href="{entry["url"]}#sha256={entry["hashes"]["sha256"]}" '
        f'data-requires-python="{html.escape(entry["requires-python"])}">{entry["filename"]}</a><br />\n'
        for entry in files
    )
    return f"<!DOCTYPE html>\n<html><head><title>{project}</title></head><body>\n{links}</body></html>".encode()


def _file_entry(base_url: str, name: str, size_bytes: int) -> dict[str, Any]:
    digest = file_sha256(name, size_bytes)
    return {
        "core-metadata": False,
        "data-dist-info-metadata": False,
        "filename": name,
        "hashes": {"sha256": digest},
        "provenance": None,
        "requires-python": ">=3.9",
        "size": size_bytes,
        "upload-time": "2026-01-05T09:41:23.123456Z",
        "url": f"{base_url}/packages/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{name}",
        "yanked": False,
    }


def packument_versions(name: str) -> int:
    """How many versions an npm package has; 0 where there is no such package."""
    return WIDGET_VERSIONS if name == WIDGET else BIG_VERSIONS if _BIG.fullmatch(name) else 0


def packument_pieces(name: str, base_url: str, abbreviated: bool) -> Iterator[bytes]:
    """An npm packument in pieces of about a megabyte: the small one has 50 KB abbreviated, a big one 40 MB full."""
    count = packument_versions(name)
    around = re.split(f"({PLACEHOLDER}|@integrity@)", json.dumps(_version(name, base_url, abbreviated, count)))
    template = [part.encode() for part in around]
    numbers = [f"1.{n // 100}.{n % 100}" for n in range(count)]
    tags = json.dumps({"latest": numbers[-1]})
    head = (
        f'{{"name":"{name}","modified":"2026-01-05T09:41:23.123Z",'
        if abbreviated
        else (
            f'{{"_id":"{name}","name":"{name}","description":"A widget.","readme":"{"Words. " * 300}",'
            f'"time":{_times(numbers)},'
        )
    )
    yield f'{head}"dist-tags":{tags},"versions":{{'.encode()
    for start in range(0, count, 200):
        group = b",".join(_entry(template, name, version) for version in numbers[start : start + 200])
        yield group if start == 0 else b"," + group
    yield b"}}"


def _entry(template: list[bytes], name: str, version: str) -> bytes:
    values = {PLACEHOLDER.encode(): version.encode(), b"@integrity@": _integrity(name, version)}
    return b'"%s":' % version.encode() + b"".join([values.get(part, part) for part in template])


def _times(numbers: list[str]) -> str:
    stamp = "2026-01-05T09:41:23.123Z"
    return json.dumps({"created": stamp, "modified": stamp} | dict.fromkeys(numbers, stamp))


def _integrity(name: str, version: str) -> bytes:
    return b"sha512-" + base64.b64encode(hashlib.sha512(f"{name}@{version}".encode()).digest())


def _version(name: str, base_url: str, abbreviated: bool, count: int) -> dict[str, Any]:
    dist = {
        "shasum": "0" * 40,
        "integrity": "@integrity@",
        "fileCount": 7,
        "unpackedSize": 31_415,
        "tarball": f"{base_url}/npm/{name}/-/{name}-{PLACEHOLDER}.tgz",
        "signatures": [{"keyid": "SHA256:benchmark-key", "sig": "MEUCIQD" + "A" * 80}],
    }
    short = {
        "name": name,
        "version": PLACEHOLDER,
        "engines": {"node": ">=18"},
        "dist": dist,
        "dependencies": {f"dependency-{n}": f"^{n}.4.2" for n in range(14)},
    }
    if abbreviated:
        return short
    extra = 127 if count == BIG_VERSIONS else 2
    return short | {
        "description": "A widget that does what widgets do.",
        "license": "MIT",
        "main": "index.js",
        "author": {"name": "A. Maker", "email": "maker@registry.example"},
        "_id": f"{name}@{PLACEHOLDER}",
        "repository": {"type": "git", "url": "git+https://forge.example/maker/widget.git"},
        "devDependencies": {f"development-{n}": f"~{n}.0.1" for n in range(extra)},
        "scripts": {"test": "node --test", "build": "node build.js"},
        "_nodeVersion": "20.1.0",
        "_npmVersion": "10.2.0",
    }
