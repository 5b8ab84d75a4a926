from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.gateway.conditional import Unsatisfiable, accepts_gzip, matches, parse_range, range_applies

SIZES = st.integers(0, 50)
ETAGS = st.text(st.characters(codec="latin-1", exclude_characters='",\\', exclude_categories=("Cc", "Zs")), max_size=8)


def naive(header: str, body: bytes) -> bytes | None:
    """What a range gives, worked out byte by byte; None where it is outside. The whole where it makes no sense."""
    unit, _, spec = header.partition("=")
    first, dash, last = spec.partition("-")
    numbers = all(text.isdigit() for text in (first, last) if text)
    if unit != "bytes" or not dash or not (first or last) or not numbers or (first and last and int(last) < int(first)):
        return body
    if first:
        stop = int(last) if last else len(body)
        part = bytes(byte for at, byte in enumerate(body) if int(first) <= at <= stop)
        return part or None
    return bytes(byte for at, byte in enumerate(body) if at >= len(body) - int(last)) or None


@given(
    SIZES,
    st.builds("bytes={}-{}".format, st.integers(0, 60) | st.just(""), st.integers(0, 60) | st.just(""))
    | st.sampled_from(["", "bytes", "bytes=", "bytes=a-b", "lines=1-2", "bytes=1-2,4-5", "bytes=--1", "bytes= 1-2"]),
)
def test_a_range_gives_what_a_naive_reading_gives(size: int, header: str) -> None:
    """For every size and range, the empty body included; nonsense and several ranges give the whole."""
    body = bytes(range(size))
    expected = naive(header, body)
    try:
        span = parse_range(header, size)
    except Unsatisfiable:
        assert expected is None
        return
    got = body if span is None else body[span.start : span.end]
    assert got == expected
    if span is not None:
        assert span.length == len(got) > 0
        assert span.content_range == f"bytes {span.start}-{span.end - 1}/{size}"


@given(st.text(max_size=40), SIZES)
def test_no_range_header_is_a_defect(header: str, size: int) -> None:
    """Whatever a client writes gives the whole, a part within it, or word that it is outside."""
    try:
        span = parse_range(header, size)
    except Unsatisfiable:
        return
    assert span is None or 0 <= span.start < span.end <= span.total == size


@pytest.mark.parametrize("digits", [4299, 5000, 100_000])
def test_a_number_of_thousands_of_digits_is_no_range(digits: int) -> None:
    """Python would refuse to read it, and take its time over those that it reads."""
    for header in (f"bytes={'9' * digits}-", f"bytes=0-{'9' * digits}", f"bytes=-{'9' * digits}"):
        assert parse_range(header, 10) is None


@given(st.lists(ETAGS, max_size=4), ETAGS, st.booleans(), st.sampled_from([",", ", ", " ,", " , "]))
def test_if_none_match_fits_when_the_tag_is_listed(listed: list[str], tag: str, weak: bool, comma: str) -> None:
    """Weak comparison: the prefix W/ does not count on either side."""
    header = comma.join(f'W/"{one}"' if weak else f'"{one}"' for one in listed)
    for own in (f'"{tag}"', f'W/"{tag}"'):
        assert matches(header, own) == (tag in listed)
    assert matches("*", f'"{tag}"')


@pytest.mark.parametrize(
    ("if_range", "applies"),
    [
        ("", True),
        ('"a"', True),
        ('"b"', False),
        ('W/"a"', False),
        ("Sat, 21 Nov 2026 12:00:00 GMT", True),
        ("Sat, 21 Nov 2026 12:00:01 GMT", False),
        ("nonsense", False),
    ],
)
def test_if_range_needs_the_very_same_file(if_range: str, applies: bool) -> None:
    """A strong tag or the exact date (RFC 9110, 13.1.5)."""
    assert range_applies(if_range, '"a"', "Sat, 21 Nov 2026 12:00:00 GMT") == applies


def test_if_range_never_fits_what_has_no_validator() -> None:
    """Empty is not equal to empty."""
    assert not range_applies('""', "", "")
    assert not range_applies("Sat, 21 Nov 2026 12:00:00 GMT", "", "")


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True), ("GZIP", True), ("x-gzip", True), ("*", True), ("br, gzip", True), ("gzip;q=0.001", True),
        ("gzip ; q=1.0", True), ("gzip;q=1", True), ("deflate;q=1, gzip;q=0.5", True), ("*;q=0.1", True),
        ("", False), ("identity", False), ("br", False), ("gzip;q=0", False), ("gzip;q=0.0", False),
        ("gzip; q=0.000", False), ("gzip;Q=0", False), ("gzip;q=0, *", False), ("*;q=0", False), ("gzipped", False),
        ("identity, *;q=0", False), ("*;q=0, gzip", True),
    ],
)  # fmt: skip
def test_gzip_is_sent_only_to_those_who_take_it(header: str, accepted: bool) -> None:
    """RFC 9110, 12.5.3: what is named counts more than the star, and a weight of zero is a no."""
    assert accepts_gzip(header) == accepted


@given(st.binary(max_size=200))
def test_headers_of_any_bytes_are_read(data: bytes) -> None:
    """As they come off the wire."""
    text = data.decode("latin-1")
    for result in (accepts_gzip(text), matches(text, '"a"'), range_applies(text, '"a"', "b")):
        assert isinstance(result, bool)
