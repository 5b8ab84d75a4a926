"""What is asked for: each subject's address on each server, and the check that all serve the same thing."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import bodies
import packages
from servers import CARGO, GO, MAVEN, NPM, SIMPLE, Server

FILE_20M_BYTES = 20_000_000
WARMING_REQUESTS = 8
WARMING_FAILURES = 20
WARMING_PAUSE_S = 0.25

Content = str | set[tuple[str, str]]


@dataclass(frozen=True)
class Subject:
    """One thing to ask for. `path` is below the server's registry of that protocol; where `filename` is given, `path`
    is an index and the address of that file stands in it."""

    name: str
    protocol: str
    path: str
    filename: str = ""
    accept: str = "*/*"
    is_file: bool = False
    """Whether it is a file of a release."""


def listed_file(name: str, project: str) -> Subject:
    """The first file of a Python project."""
    return Subject(name, SIMPLE, f"{project}/", bodies.filenames(project)[0][0], is_file=True)


INDEX = Subject("index", SIMPLE, f"{bodies.SAMPLE}/", accept=bodies.SIMPLE_JSON)
FILE_100K = listed_file("file 100 KB", bodies.SAMPLE)
FILE_20M = listed_file("file 20 MB", bodies.sized_project(FILE_20M_BYTES, 0))
PACKUMENT = Subject("abbreviated packument", NPM, bodies.WIDGET, accept=bodies.ABBREVIATED)
CRATE_ENTRY = Subject("cargo index entry", CARGO, packages.CRATE_PATH)
GO_ZIP = Subject("Go zip 1 MB", GO, packages.GO_ZIP_PATH, is_file=True)
JAR = Subject("Maven jar 1 MB", MAVEN, packages.JAR_PATH, is_file=True)
SUBJECTS = (INDEX, FILE_100K, FILE_20M, PACKUMENT, CRATE_ENTRY, GO_ZIP, JAR)


class Unequal(Exception):
    """A server does not serve the subject as upstream has it."""


@dataclass(frozen=True)
class Timed:
    """A whole reply. `first_byte_s` is until the first byte of the body, both times from before the connection."""

    status: int
    body: bytes
    headers: dict[str, str]
    first_byte_s: float
    total_s: float


def fetch(url: str, accept: str = "*/*", **headers: str) -> Timed:
    """One GET on a connection of its own; redirects are not followed."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    started = time.perf_counter()
    connection.request("GET", parts.path, headers={"Accept": accept, **headers})
    reply = connection.getresponse()
    first = reply.read(1)
    first_byte_s = time.perf_counter() - started
    rest = reply.read()
    total_s = time.perf_counter() - started
    body = first + rest
    connection.close()
    return Timed(reply.status, body, {k.lower(): v for k, v in reply.getheaders()}, first_byte_s, total_s)


def count_requests(upstream: Server) -> int:
    """How many requests the upstream double has answered."""
    return int(fetch(f"{upstream.root}/requests").body)


def find_url(server: Server, subject: Subject) -> str:
    """The subject's address on the server; a file's is found in the index that the server gives."""
    index_url = server.url(subject.protocol) + subject.path
    if not subject.filename:
        return index_url
    reply = fetch(index_url, bodies.SIMPLE_JSON)
    if reply.status != 200:
        raise Unequal(f"{server.name} answers {reply.status} for {index_url}: {reply.body[:200]!r}")
    links: dict[str, str] = {entry["filename"]: entry["url"] for entry in json.loads(reply.body)["files"]}
    url = urljoin(index_url, links[subject.filename]).partition("#")[0]
    return url.replace(server.moved, server.root) if server.moved else url


def check_and_warm(server: Server, subject: Subject, url: str, expected: Content) -> tuple[int, int]:
    """Ask until every process has it, and compare with upstream. Returns the body's bytes and how often it failed.

    A peer may fail while it fills (devpi does when the same file is asked for again at once), so that is counted.

    Raises:
        Unequal: it keeps failing, other bytes of a file, other releases in an index.
    """
    failures = good = body_bytes = 0
    while good < WARMING_REQUESTS:
        reply = fetch(url, subject.accept)
        if reply.status == 200:
            good, body_bytes = good + 1, len(reply.body)
            if content(subject, reply.body) != expected:
                raise Unequal(f"{server.name} serves something else than upstream for {url}")
            continue
        failures += 1
        if failures > WARMING_FAILURES:
            raise Unequal(f"{server.name} answers {reply.status} for {url}: {reply.body[:200]!r}")
        time.sleep(WARMING_PAUSE_S)
    return body_bytes, failures


def content(subject: Subject, body: bytes) -> Content:
    """What must be the same on every server: the digest of a file, and of an index that nobody rewrites, or else (name,
    digest) of everything that an index lists."""
    if subject.is_file or subject.protocol == CARGO:
        return hashlib.sha256(body).hexdigest()
    document = json.loads(body)
    if subject.protocol == NPM:
        return {(version, entry["dist"]["integrity"]) for version, entry in document["versions"].items()}
    return {(entry["filename"], entry["hashes"]["sha256"]) for entry in document["files"]}
