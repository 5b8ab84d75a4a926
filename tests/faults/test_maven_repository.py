"""What Maven and Gradle are given: probing for what is not there, and checksums that always fit the bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from doubles.claims import assert_right
from doubles.faults import Answer, Status
from doubles.gateway import Gateway, serving
from doubles.registry import content
from doubles.stand import MavenStand
from doubles.upstream import Upstream, wait_until

pytestmark = pytest.mark.faults

ALGORITHMS = ("sha1", "md5", "sha256", "sha512")
PROBED = 24


@pytest.fixture(scope="module")
def gateways(shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Gateway]]:
    """Two workers each: one that remembers for longer than any test takes, and one that forgets at once."""
    memories = {"long": (600, 600), "short": (0, 1)}
    with serving(tmp_path_factory.mktemp("repositories")) as start:
        yield {
            name: start(
                maven=shared_upstream.maven_url,
                workers=2,
                cache={"document_ttl_s": document_s, "negative_ttl_s": negative_s},
            )
            for name, (document_s, negative_s) in memories.items()
        }


@pytest.fixture
def patient(shared_upstream: Upstream, gateways: dict[str, Gateway]) -> Iterator[MavenStand]:
    """An artifact of the test's own behind the gateway that remembers."""
    own = MavenStand(shared_upstream, gateways["long"])
    yield own
    own.heal()


@pytest.fixture
def forgetful(shared_upstream: Upstream, gateways: dict[str, Gateway]) -> Iterator[MavenStand]:
    """An artifact of the test's own behind the gateway that forgets."""
    own = MavenStand(shared_upstream, gateways["short"])
    yield own
    own.heal()


def hex_of(algorithm: str, body: bytes) -> str:
    """What a checksum file says."""
    return hashlib.new(algorithm, body, usedforsecurity=False).hexdigest()


def everywhere(stand: MavenStand, path: str) -> set[bytes]:
    """What is answered, over connections enough for either worker to be asked."""
    with ThreadPoolExecutor(8) as pool:
        replies = [*pool.map(lambda _: stand.fetch(path), range(16))]
    assert {got.status for got in replies} == {200}, path
    return {got.body for got in replies}


def is_everywhere(stand: MavenStand, path: str, body: bytes) -> bool:
    """Whether both workers answer with these bytes."""
    return everywhere(stand, path) == {body}


@pytest.mark.parametrize("suffix", [".pom", ".jar", "-sources.jar.asc"])
def test_a_storm_of_questions_for_what_is_not_there_reaches_upstream_once_each(
    suffix: str, patient: MavenStand
) -> None:
    """A build with several repositories asks each of them for everything: upstream hears each question once, whichever
    worker is asked, while the answer is remembered."""
    folder = f"/maven/example/demo/{patient.word}"
    paths = [f"{folder}/{number}.0/{patient.word}-{number}.0{suffix}" for number in range(PROBED)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            assert {got.status for got in pool.map(patient.fetch, paths)} == {404}
    assert sorted(seen.path for seen in patient.seen()) == sorted(paths), "nor is a checksum asked for of nothing"


def test_a_storm_of_questions_for_artifacts_that_are_not_there_reaches_upstream_once_each(patient: MavenStand) -> None:
    """The same for metadata."""
    words = [f"{patient.word}y{number}" for number in range(PROBED)]
    paths = [f"/maven/example/demo/{word}/maven-metadata.xml" for word in words]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            assert {got.status for got in pool.map(patient.fetch, paths)} == {404}
    assert sorted(seen.path for seen in patient.seen()) == sorted(paths)


def test_what_was_not_there_is_asked_for_again_when_that_is_forgotten(forgetful: MavenStand) -> None:
    """The answer of a moment ago is not the answer for ever."""
    assert forgetful.fetch(forgetful.file).status == 404
    wait_until(
        lambda: forgetful.fetch(forgetful.file).status == 404 and len(forgetful.seen_file()) > 1, "a new question"
    )
    forgetful.release("1.0")
    wait_until(lambda: forgetful.fetch(forgetful.file).status == 200, "the file")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_checksum_of_metadata_fits_the_bytes_though_upstream_has_changed(algorithm: str, patient: MavenStand) -> None:
    """It is made from the bytes that are served, by either worker: upstream's own may already be of newer ones."""
    patient.release("1.0")
    (served,) = everywhere(patient, patient.index)
    patient.release("2.0")
    assert everywhere(patient, f"{patient.index}.{algorithm}") == {hex_of(algorithm, served).encode()}
    assert everywhere(patient, patient.index) == {served}
    assert patient.upstream.seen(f"{patient.index}.*") == []


def test_checksums_fit_while_upstream_keeps_changing(forgetful: MavenStand) -> None:
    """Each one that is handed out is of metadata that is handed out, and when nothing changes any more they agree."""
    forgetful.release("0.0")
    bodies: set[bytes] = set()
    sums: set[str] = set()
    for number in range(1, 8):
        forgetful.release(f"{number}.0")
        bodies |= everywhere(forgetful, forgetful.index)
        sums |= {body.decode() for body in everywhere(forgetful, f"{forgetful.index}.sha1")}
        bodies |= everywhere(forgetful, forgetful.index)
    wait_until(lambda: forgetful.listed_here("7.0"), "the last release")
    bodies |= everywhere(forgetful, forgetful.index)
    assert sums <= {hex_of("sha1", body) for body in bodies}
    assert {hex_of("sha1", body).encode() for body in everywhere(forgetful, forgetful.index)} == everywhere(
        forgetful, f"{forgetful.index}.sha1"
    )


def test_checksums_fit_metadata_that_a_takedown_or_its_end_has_rewritten(forgetful: MavenStand) -> None:
    """What a person wants back is listed in bytes that upstream never had: their checksums are ours to make."""
    forgetful.release("1.0").release("2.0")
    assert forgetful.listed_here("1.0")
    assert forgetful.fetch(forgetful.file).status == 200
    forgetful.release("3.0").remove("1.0")
    wait_until(lambda: forgetful.fetch(forgetful.file).status == 403, "the takedown")
    fits(forgetful, lists=False)
    assert forgetful.gateway.run("unblock", forgetful.purl("1.0")).returncode == 0
    wait_until(lambda: forgetful.listed_here("1.0"), "the release to be listed")
    fits(forgetful, lists=True)


def fits(stand: MavenStand, *, lists: bool) -> None:
    """Both workers serve the same metadata, with or without 1.0, and its checksums."""
    wait_until(lambda: len(everywhere(stand, stand.index)) == 1, "both workers to agree")
    (served,) = everywhere(stand, stand.index)
    assert (stand.mark("1.0").encode() in served) == lists
    assert served != stand.honest().body or not lists
    for algorithm in ALGORITHMS:
        assert everywhere(stand, f"{stand.index}.{algorithm}") == {hex_of(algorithm, served).encode()}


@pytest.mark.parametrize("summed", [True, False], ids=["upstream has them", "upstream has none"])
@pytest.mark.parametrize("first", ["jar", "checksum"])
def test_checksums_of_a_file_are_those_of_its_bytes(first: str, summed: bool, patient: MavenStand) -> None:
    """Whichever is asked for first, and whether or not upstream has any: .sha1 is upstream's own where it has one, the
    others are made here, so that upstream is not asked."""
    right = content(50_000, seed=6)
    patient.release("1.0", right)
    patient.upstream.coordinates(patient.name).summed = summed
    if first == "jar":
        assert_right(patient.fetch(patient.file), right)
    else:
        assert patient.fetch(f"{patient.file}.sha1").text == hex_of("sha1", right)
    for algorithm in ALGORITHMS:
        assert everywhere(patient, f"{patient.file}.{algorithm}") == {hex_of(algorithm, right).encode()}
    assert_right(patient.fetch(patient.file), right)
    assert [seen.path for seen in patient.seen()].count(f"{patient.file}.sha1") == 1
    assert {seen.path for seen in patient.seen()} == {patient.file, f"{patient.file}.sha1"}


def test_a_signature_is_a_file_of_its_own(patient: MavenStand) -> None:
    """Passed on as it is, with a checksum made here; none is made up."""
    patient.release("1.0")
    patient.on(f"{patient.file}.asc").fault(Answer(b"-----BEGIN PGP", "text/plain"))
    assert_right(patient.fetch(f"{patient.file}.asc"), b"-----BEGIN PGP")
    assert patient.fetch(f"{patient.file}.asc.sha1").text == hex_of("sha1", b"-----BEGIN PGP")
    assert patient.fetch(f"{patient.index}.asc").status == 404


def test_a_snapshot_without_its_time_may_change_and_its_checksum_with_it(forgetful: MavenStand) -> None:
    """It is a document, not a file for ever; a failing upstream leaves the last one in service."""
    path = f"/maven/example/demo/{forgetful.word}/1.0-SNAPSHOT/{forgetful.word}-1.0-SNAPSHOT.jar"
    for body in (content(5000, seed=1), content(5000, seed=2)):
        forgetful.heal()
        forgetful.on(path).fault(Answer(body, "application/java-archive"))
        wait_until(partial(is_everywhere, forgetful, path, body), "the newer snapshot")
        assert everywhere(forgetful, f"{path}.sha1") == {hex_of("sha1", body).encode()}
    forgetful.heal()
    forgetful.on(path).fault(Status(500))
    assert everywhere(forgetful, path) == {content(5000, seed=2)}
