"""What the upstream double has for cargo, Go and Maven: one project each, the same bytes on every run."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import random
import zipfile
from dataclasses import dataclass

CRATE_VERSIONS = 200
FILE_BYTES = 1_000_000
CRATE_PATH = "sa/mp/sample"
GO_MODULE, GO_VERSION = "forge.example/maker/sample", "v1.4.0"
GO_ZIP_PATH = f"{GO_MODULE}/@v/{GO_VERSION}.zip"
JAR_PATH = "example/forge/sample/1.4.0/sample-1.4.0.jar"
CREATED = "2026-01-05T09:41:23Z"
_ZIP_DATE = (2026, 1, 5, 9, 41, 22)


@dataclass(frozen=True)
class Found:
    """A body and what it is."""

    media_type: str
    body: bytes


def find(path: str, base_url: str) -> Found | None:
    """What there is at `/cargo/...`, `/go/...` or `/maven/...`; None where there is nothing."""
    if path == "/cargo/config.json":
        description = {"dl": f"{base_url}/crates/{{crate}}/{{version}}/download", "api": base_url}
        return Found("application/json", json.dumps(description).encode())
    return _fixed().get(path)


def missing_maven_path(number: int) -> str:
    """A path below `/maven/` at which there is nothing, as a build asks for: descriptions and jars of many projects."""
    name, kind = f"absent-{number // 2}", ("pom", "jar")[number % 2]
    return f"example/forge/{name}/2.{number % 10}.0/{name}-2.{number % 10}.0.{kind}"


@functools.cache
def _fixed() -> dict[str, Found]:
    module, jar = f"/go/{GO_MODULE}/@v", f"/maven/{JAR_PATH}"
    info = json.dumps({"Version": GO_VERSION, "Time": CREATED}).encode()
    jar_body = _zip({"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\r\n\r\n"}, "sample.bin")
    return {
        f"/cargo/{CRATE_PATH}": Found("text/plain", render_crate_entry("sample", CRATE_VERSIONS)),
        f"{module}/list": Found("text/plain", f"{GO_VERSION}\n".encode()),
        f"{module}/{GO_VERSION}.info": Found("application/json", info),
        f"{module}/{GO_VERSION}.mod": Found("text/plain", _go_mod()),
        f"{module}/{GO_VERSION}.zip": Found("application/zip", _go_zip()),
        jar: Found("application/java-archive", jar_body),
        f"{jar}.sha1": Found("text/plain", hashlib.sha1(jar_body).hexdigest().encode()),
    }


def render_crate_entry(name: str, versions: int) -> bytes:
    """A sparse index entry: one JSON line for each release, about 500 bytes each."""
    return b"".join(
        json.dumps(_crate_release(name, f"1.{n // 10}.{n % 10}"), separators=(",", ":")).encode() + b"\n"
        for n in range(versions)
    )


def _crate_release(name: str, version: str) -> dict[str, object]:
    needed = {"optional": False, "default_features": True, "target": None, "kind": "normal"}
    return {
        "name": name,
        "vers": version,
        "deps": [{"name": f"need-{n}", "req": f"^{n}.4", "features": [], **needed} for n in range(3)],
        "cksum": hashlib.sha256(f"{name}-{version}".encode()).hexdigest(),
        "features": {"default": ["std"], "std": []},
        "yanked": version.endswith(".7"),
        "pubtime": CREATED,
    }


def _go_mod() -> bytes:
    return f"module {GO_MODULE}\n\ngo 1.21\n".encode()


def _go_zip() -> bytes:
    """As the module reference has it: every file below `MODULE@VERSION/`."""
    folder = f"{GO_MODULE}@{GO_VERSION}"
    return _zip({f"{folder}/go.mod": _go_mod(), f"{folder}/sample.go": b"package sample\n"}, f"{folder}/sample.bin")


def _zip(files: dict[str, bytes], filling: str) -> bytes:
    """An archive of about `FILE_BYTES`, most of it random bytes in the file `filling`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, body in {**files, filling: random.Random(filling).randbytes(FILE_BYTES)}.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), body)
    return out.getvalue()
