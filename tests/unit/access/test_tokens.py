from __future__ import annotations

import re
import string
import zlib
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.access.tokens import (
    TOKEN_LENGTH,
    TOKEN_PREFIX,
    _checksum,
    find_token,
    hash_token,
    hint_of,
    is_whole,
    make_token,
    split_path,
)
from mainstay.errors import UnknownToken

BODY = TOKEN_PREFIX + string.ascii_letters[:32]
TOKEN = BODY + _checksum(BODY)
"""The same in every process, as it is in the names of tests."""
BASE62 = string.ascii_letters + string.digits
RANDOM = slice(len(TOKEN_PREFIX), 36)


def basic(user: str, password: str) -> str:
    """An Authorization header as clients send it."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def test_a_token_has_its_form_and_is_made_anew_each_time() -> None:
    """Prefix, 32 random characters, checksum; nothing that a URL, a shell or a header would have to quote."""
    tokens = {make_token() for _ in range(200)}
    assert len(tokens) == 200
    for token in tokens:
        assert len(token) == TOKEN_LENGTH and token.startswith(TOKEN_PREFIX)
        assert set(token.removeprefix(TOKEN_PREFIX)) <= set(BASE62)
        assert is_whole(token)
    assert len({character for token in tokens for character in token[RANDOM]}) == 62


def test_the_checksum_is_all_of_a_crc_32() -> None:
    """In base62 with the digits first, the highest place first; so no two sums have one text."""
    digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
    number = sum(digits.index(digit) * 62**place for place, digit in enumerate(reversed(TOKEN[-6:])))
    assert number == zlib.crc32(TOKEN[:-6].encode())


@pytest.mark.parametrize("body", ["", TOKEN_PREFIX, f"{TOKEN_PREFIX}short", "x" * 36, TOKEN_PREFIX + "-" * 32])
def test_a_right_checksum_alone_makes_no_token(body: str) -> None:
    """Prefix, length and alphabet count as well."""
    assert not is_whole(body + _checksum(body))


@given(st.integers(0, TOKEN_LENGTH - 1), st.sampled_from(BASE62 + "_-é"))
def test_any_one_wrong_character_is_a_slip(place: int, character: str) -> None:
    """So is one too many or too few."""
    wrong = TOKEN[:place] + character + TOKEN[place + 1 :]
    assert is_whole(wrong) == (wrong == TOKEN)
    assert not is_whole(TOKEN[:place] + TOKEN[place + 1 :])
    assert not is_whole(TOKEN[:place] + character + TOKEN[place:])


@given(st.integers(RANDOM.start, RANDOM.stop - 2))
def test_neighbours_that_changed_places_are_a_slip(place: int) -> None:
    """The other common one."""
    swapped = TOKEN[:place] + TOKEN[place + 1] + TOKEN[place] + TOKEN[place + 2 :]
    assert is_whole(swapped) == (swapped == TOKEN)


@pytest.mark.parametrize("text", ["", TOKEN_PREFIX, TOKEN_PREFIX + "0" * 38, TOKEN + "\n", f" {TOKEN}", TOKEN.upper()])
def test_what_only_looks_like_a_token_is_none(text: str) -> None:
    """The one of zeros is what stands for a token in kept documents: nobody may be able to have it."""
    assert not is_whole(text)


def test_of_a_token_its_hash_and_its_hint_are_kept() -> None:
    """The hint is short enough to say nothing of the rest, and nothing at all of what is no token."""
    assert len(hash_token(TOKEN)) == 32 != hash_token(make_token())
    assert hint_of(TOKEN) == TOKEN[:8]
    assert hint_of("hunter22-my-password") == hint_of("mst_a b c d e") == hint_of("mst_a") == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"mainstay-token": TOKEN},
        {"mainstay-token": f" {TOKEN} "},
        {"authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer  {TOKEN}"},
        {"authorization": TOKEN},
        {"authorization": basic("token", TOKEN)},
        {"authorization": basic(TOKEN, "")},
        {"authorization": basic(TOKEN, "x-oauth-basic")},
        {"mainstay-token": TOKEN, "authorization": "Bearer for-upstream"},
        {"mainstay-token": TOKEN, "authorization": f"Bearer {make_token()}"},
    ],
)
def test_a_token_is_found_where_clients_put_it(headers: dict[str, str]) -> None:
    """In its own header, as Bearer (npm), bare (cargo), and in either part of Basic (pip, uv, npm's _auth)."""
    assert find_token({"accept": "*/*", **headers}) == TOKEN


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer upstreams-own",
        basic("user", "password"),
        basic("user", f"x{TOKEN}"),
        f"Digest {TOKEN}",
        f"Basic {TOKEN}",
        "Basic äöü",
        "Basic YQ",
        "upstreams-own",
    ],
)
def test_any_other_credential_is_the_clients_own(value: str) -> None:
    """It is for upstream, whatever it is, and no reason to fail."""
    assert find_token({"authorization": value}) is None


@given(st.text(st.characters(codec="latin-1"), max_size=80))
def test_no_header_makes_the_search_fail(value: str) -> None:
    """Only what begins as a token is ever taken from Authorization."""
    for header in (value, f"Basic {value}", f"Bearer {value}", basic(value, value)):
        found = find_token({"authorization": header})
        assert found is None or found.startswith(TOKEN_PREFIX)


def test_what_the_header_of_ours_holds_counts_as_a_token() -> None:
    """It can be meant for nobody else: a slip there is told, not passed over."""
    assert find_token({"mainstay-token": "t0ken"}) == "t0ken"
    assert find_token({"mainstay-token": ""}) is find_token({"mainstay-token": " "}) is None


@pytest.mark.parametrize(
    ("path", "split"),
    [
        (f"/t/{TOKEN}/npm/left-pad", (TOKEN, "/npm/left-pad")),
        (f"/t/{TOKEN}/npm/@acme%2ftool", (TOKEN, "/npm/@acme%2ftool")),
        (f"/t/{TOKEN}//x", (TOKEN, "//x")),
        (f"/t/{TOKEN}/", (TOKEN, "/")),
        (f"/t/{TOKEN}", (TOKEN, "/")),
        ("/t/mst_slip/go/", ("mst_slip", "/go/")),
        ("/t/", ("", "/t/")),
        ("/t/other/go/", ("", "/t/other/go/")),
        (f"/npm/t/{TOKEN}/x", ("", f"/npm/t/{TOKEN}/x")),
        (f"/npm/x?token={TOKEN}", ("", f"/npm/x?token={TOKEN}")),
    ],
)
def test_a_path_is_parted_into_its_token_and_the_rest(path: str, split: tuple[str, str]) -> None:
    """What begins as one counts, so that a slip is told; a query holds none."""
    assert split_path(path) == split


def test_a_token_is_found_where_the_documentation_tells_to_put_it() -> None:
    """Each line of the table of clients, as that client sends it."""
    page = (Path(__file__).parents[3] / "docs" / "consumers.md").read_text("utf-8")
    rows = [row for row in page.splitlines() if row.startswith("| ") and "mst_..." in row]
    assert len(rows) >= 7
    for row in rows:
        line = row.split("|")[3].replace("mst_...", TOKEN)
        if user := re.search(r"https://([^:/]+):([^@/]+)@", line):
            found = find_token({"authorization": basic(user[1], user[2])})
        elif path := re.search(r"mainstay\.example(/t/[^\s\"`]+)", line):
            found = split_path(path[1])[0]
        elif bearer := re.search(r"_authToken=([^`]+)`", line):
            found = find_token({"authorization": f"Bearer {bearer[1]}"})
        else:
            header = re.search("<name>([^<]+)</name><value>([^<]+)</value>", line)
            assert header is not None, row
            found = find_token({header[1].lower(): header[2]})
        assert found == TOKEN, row


def test_the_error_is_an_answer_that_a_client_understands() -> None:
    """401 with the challenge that RFC 9110 wants."""
    error = UnknownToken("The Mainstay token was revoked.")
    assert error.status == 401 and 'error="invalid_token"' in error.challenge
    assert "mainstay consumer token" in error.diagnostics()
