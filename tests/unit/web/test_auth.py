"""Who may read, who may change, and by which right."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from mainstay.access.consumers import issue_token, remove_consumer, revoke_tokens
from mainstay.access.tokens import hash_token, make_token
from mainstay.errors import StoreError
from mainstay.web import auth_attempts, auth_session
from mainstay.web.auth import Guarded, own_path
from mainstay.web.auth_attempts import IN_ALL, KEPT_ADDRESSES, PER_ADDRESS, Attempts
from mainstay.web.auth_headers import HEADERS, TRUSTED_HEADERS
from mainstay.web.auth_session import LIFE_S, SESSION_COOKIE, Sessions
from unit.clock import Clock
from unit.web.visiting import Page, Place, make_place

CLOSED = {"web": {"reading": "closed"}}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A site that is open on the machine itself, as it comes."""
    with make_place(tmp_path) as found:
        yield found


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Place]:
    """A site that only consumers may read."""
    with make_place(tmp_path, **CLOSED) as found:
        yield found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time that the test moves."""
    clock = Clock()
    monkeypatch.setattr(auth_session, "time", clock)
    monkeypatch.setattr(auth_attempts, "time", clock)
    return clock


def problem(page: Page) -> str:
    """The words of a refusal of the API."""
    assert page.headers["content-type"] == "application/problem+json"
    assert page.json["status"] == page.status and page.json["type"] == "about:blank" and page.json["title"]
    detail: str = page.json["detail"]
    return detail


async def test_on_this_machine_everybody_may_read(place: Place) -> None:
    """As the settings come: the gateway listens on loopback."""
    assert (await place.visitor().get("/waste")).text == "page for anybody"
    assert (await place.visitor(base="http://localhost:4480").get("/")).status == 200
    assert (await place.visitor(base="http://[::1]:4480").get("/")).status == 200
    assert (await place.visitor().get("/api/v1/consumers")).status == 200


@pytest.mark.parametrize(
    ("base", "headers"),
    [
        ("http://elsewhere.example:4480", {}),
        ("http://127.0.0.1.elsewhere.example:4480", {}),
        ("http://192.0.2.7:4480", {}),
        ("http://127.0.0.1:4480", {"x-forwarded-for": "192.0.2.7"}),
        ("http://127.0.0.1:4480", {"forwarded": "for=192.0.2.7"}),
        ("http://127.0.0.1:4480", {"via": "1.1 proxy"}),
        ("http://127.0.0.1:4480", {"host": "["}),
        ("http://127.0.0.1:4480", {"host": ""}),
    ],
)
async def test_by_another_name_or_a_proxy_it_is_closed_unless_it_was_opened(
    tmp_path: Path, base: str, headers: dict[str, str]
) -> None:
    """A page elsewhere may have a name of its own lead here, and would read along in its visitor's browser."""
    with make_place(tmp_path / "a") as place:
        assert (await place.visitor(base=base, headers=headers).get("/api/v1/consumers")).status == 401
    with make_place(tmp_path / "b", web={"reading": "open"}) as opened:
        assert (await opened.visitor(base=base, headers=headers).get("/api/v1/consumers")).status == 200


async def test_a_gateway_that_listens_for_others_is_closed(tmp_path: Path) -> None:
    """As long as the settings do not say otherwise."""
    with make_place(tmp_path, server={"host": "0.0.0.0"}) as place:
        assert (await place.visitor().get("/api/v1/consumers")).status == 401


async def test_who_is_not_known_is_sent_to_sign_in_and_back(closed: Place) -> None:
    """A page by a redirect that keeps its whole address, the API by a problem document."""
    visitor, token = closed.visitor(), closed.add("anna")
    sent = await visitor.get("/waste?since=2026-01-01&until=2026-01-31")
    assert sent.status == 303
    assert sent.headers["location"] == "/-/sign-in?next=%2Fwaste%3Fsince%3D2026-01-01%26until%3D2026-01-31"
    form = await visitor.get(sent.headers["location"])
    assert form.status == 200 and 'value="/waste?since=2026-01-01&until=2026-01-31"' in form.text
    back = await visitor.sign_in(token, next="/waste?since=2026-01-01&until=2026-01-31")
    assert (back.status, back.headers["location"]) == (303, "/waste?since=2026-01-01&until=2026-01-31")
    assert (await visitor.get("/waste")).text == "page for anna"
    refused = await closed.visitor().get("/api/v1/consumers")
    assert refused.status == 401 and refused.headers["www-authenticate"] == 'Bearer realm="mainstay"'
    assert "Mainstay-Token" in problem(refused)


async def test_what_a_page_needs_to_be_seen_is_for_everybody(closed: Place) -> None:
    """The style sheet of the page on which one signs in; it may be kept, and has a policy of its own."""
    style = await closed.visitor().get("/-/style.css")
    assert (style.status, style.headers["cache-control"]) == (200, "public")
    assert style.headers["content-security-policy"] == "sandbox"


@pytest.mark.parametrize("way", ["mainstay-token", "authorization", "basic"])
async def test_a_token_in_a_header_is_enough(closed: Place, way: str) -> None:
    """Wherever clients put theirs."""
    token = closed.add("anna")
    basic = "Basic " + b64encode(f"token:{token}".encode()).decode()
    headers = {
        "mainstay-token": {"mainstay-token": token},
        "authorization": {"authorization": f"Bearer {token}"},
        "basic": {"authorization": basic},
    }[way]
    assert (await closed.visitor(headers=headers).get("/")).text == "page for anna"


async def test_a_token_that_is_not_in_force_is_refused_in_words(closed: Place) -> None:
    """Though reading may be open: who shows one means to be somebody."""
    token = closed.add("anna")
    revoke_tokens(closed.config, "anna", None)
    for text, words in ((token, "revoked"), (make_token(), "not known"), (token[:-1], "mistyped")):
        page = await closed.visitor(headers={"mainstay-token": text}).get("/")
        assert page.status == 401 and words in problem(page)
        assert 'error="invalid_token"' in page.headers["www-authenticate"]
        assert text not in page.text


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(closed: Place) -> None:
    """And goes over TLS only where the gateway is reached by it."""
    token = closed.add("anna")
    plain = (await closed.visitor().sign_in(token)).headers["set-cookie"]
    value, *marks = plain.split("; ")
    assert marks == ["Path=/", f"Max-Age={12 * 3600}", "HttpOnly", "SameSite=Strict"]
    assert value.startswith(f"{SESSION_COOKIE}=") and token not in plain and hash_token(token).hex() not in plain
    secure = (await closed.visitor(base="https://mirror.example").sign_in(token)).headers["set-cookie"]
    assert secure.endswith("; Secure")


async def test_a_session_ends_with_its_time(closed: Place, clock: Clock) -> None:
    """Twelve hours after it began."""
    visitor = closed.visitor()
    await visitor.sign_in(closed.add("anna"))
    clock.advance(LIFE_S - 2)
    assert (await visitor.get("/")).status == 200
    clock.advance(3)
    assert (await visitor.get("/")).status == 303


@pytest.mark.parametrize("how", ["revoked", "removed"])
async def test_a_session_ends_with_its_token(closed: Place, how: str) -> None:
    """With the next request, in whatever process that was done; another token of the same consumer is not enough."""
    visitor, token = closed.visitor(), closed.add("anna")
    await visitor.sign_in(token)
    assert (await visitor.get("/")).status == 200
    issue_token(closed.config, "anna")
    if how == "revoked":
        revoke_tokens(closed.config, "anna", token[:8])
    else:
        remove_consumer(closed.config, "anna")
    assert (await visitor.get("/")).status == 303


async def test_signing_out_ends_the_session_also_where_the_cookie_was_copied(closed: Place) -> None:
    """It is taken away from the browser, and no longer taken, not by the next process either; another one goes on."""
    visitor, token = closed.visitor(), closed.add("anna")
    await visitor.sign_in(token)
    other = closed.visitor()
    await other.sign_in(token)
    copied = dict(visitor.cookies)
    code = (await visitor.get("/-/sign-in")).code
    done = await visitor.post("/-/sign-out", csrf=code)
    assert (done.status, done.headers["location"], visitor.session) == (303, "/-/sign-in", "")
    assert "Max-Age=0" in done.headers["set-cookie"]
    again = Guarded(closed.app._app, closed.site)
    for app in (closed.app, again):
        assert (await closed.visitor(app=app, cookies=copied).get("/")).status == 303
        assert (await closed.visitor(app=app, cookies=other.cookies).get("/")).status == 200


async def test_a_cookie_that_was_tampered_with_is_none(closed: Place) -> None:
    """Whatever byte of it is another, or missing; nor is one from another gateway taken."""
    visitor, token = closed.visitor(), closed.add("anna")
    await visitor.sign_in(token)
    value = b64decode(visitor.session, b"-_")
    wrong = [value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :] for at in range(len(value))]
    wrong += [value[:-1], value + b"\0", b"", value[:40], Sessions(b"other" * 8).begin(hash_token(token)).encode()]
    for other in wrong:
        cookies = {SESSION_COOKIE: b64encode(other, b"-_").decode()}
        assert (await closed.visitor(cookies=cookies).get("/")).status == 303
    for text in ("", "x", "é" * 96, "=" * 96, visitor.session[:-1]):
        assert (await closed.visitor(cookies={SESSION_COOKIE: text}).get("/")).status == 303


@given(st.text(max_size=120) | st.binary(max_size=90).map(lambda it: b64encode(it, b"-_").decode()))
def test_no_text_is_taken_for_a_session(text: str) -> None:
    """And none makes the reading fail."""
    assert Sessions(b"secret" * 8).load(text) is None


async def test_a_wrong_token_is_told_beside_the_field_and_not_shown_again(closed: Place) -> None:
    """Nor is it in the log."""
    visitor, never = closed.visitor(), make_token()
    with capture_logs() as logs:
        page = await visitor.sign_in(never, next="/waste")
    assert page.status == 401 and "is not known to this gateway" in page.text and never not in page.text
    assert 'aria-invalid="true"' in page.text and 'value="/waste"' in page.text
    assert not visitor.cookies
    assert [entry["event"] for entry in logs] == ["a sign-in failed"] and never not in str(logs)
    empty = await visitor.sign_in("")
    assert empty.status == 401 and "Paste a token" in empty.text


@pytest.mark.parametrize(
    "wanted",
    [
        "https://elsewhere.example/",
        "//elsewhere.example/",
        "/\\elsewhere.example",
        "\\\\elsewhere.example",
        "/\t/elsewhere.example",
        " //elsewhere.example",
        "/a\r\nset-cookie: a=b",
        "javascript:alert(1)",
        "waste",
        "",
        "/" + "a" * 3000,
        "/é",
        "/-/sign-in?next=/",
    ],
)
async def test_one_is_sent_nowhere_else_after_signing_in(closed: Place, wanted: str) -> None:
    """Only to a page of this site; to the first one where the address is none."""
    token = closed.add("anna")
    done = await closed.visitor().sign_in(token, next=wanted)
    assert (done.status, done.headers["location"]) == (303, "/")


@given(st.text(max_size=40) | st.text("/\\.:@?# \t\r\nab", max_size=20))
def test_an_address_that_is_kept_stays_on_this_site(text: str) -> None:
    """As a browser reads it: backslashes are slashes, blanks at the ends and line ends are nothing."""
    kept = own_path(text)
    read = "".join(sign for sign in kept.strip() if sign not in "\t\r\n").replace("\\", "/")
    assert read == kept and read.startswith("/") and not read.startswith("//") and read.isascii()


async def test_below_a_path_of_a_proxy_the_way_back_has_it_too(tmp_path: Path) -> None:
    """The gateway's own paths begin below it."""
    with make_place(tmp_path, **CLOSED) as closed:
        visitor = closed.visitor(base="https://tools.example/mirror")
        assert (await visitor.get("/waste")).headers["location"] == "/mirror/-/sign-in?next=%2Fwaste"
        token = closed.add("anna")
        assert (await visitor.sign_in(token, next="/waste")).headers["location"] == "/mirror/waste"


async def test_attempts_from_one_address_are_limited(closed: Place, clock: Clock) -> None:
    """Also with the right token, or it would tell; another address is not held back, nor is this one for ever."""
    visitor, token = closed.visitor(address="192.0.2.7"), closed.add("anna")
    for _ in range(PER_ADDRESS.attempts):
        assert (await visitor.sign_in(make_token())).status == 401
    held = await visitor.sign_in(token)
    assert held.status == 429 and 0 < int(held.headers["retry-after"]) <= PER_ADDRESS.refill_s
    assert "Too many attempts" in held.text and not visitor.cookies
    assert (await closed.visitor(address="192.0.2.8").sign_in(token)).status == 303
    clock.advance(PER_ADDRESS.refill_s + 0.1)
    assert (await visitor.sign_in(token)).status == 303


async def test_signing_in_does_not_count(closed: Place) -> None:
    """However often somebody does."""
    token = closed.add("anna")
    for _ in range(PER_ADDRESS.attempts * 2):
        assert (await closed.visitor().sign_in(token)).status == 303


def test_attempts_are_limited_in_all_and_by_site(clock: Clock) -> None:
    """An IPv6 caller has a /64; and what is remembered is bounded."""
    attempts = Attempts()
    for number in range(PER_ADDRESS.attempts):
        assert attempts.take(f"2001:db8:1:1::{number:x}") == 0
    assert attempts.take("2001:db8:1:1:ffff::1") > 0
    assert attempts.take("2001:db8:1:2::1") == 0
    taken = PER_ADDRESS.attempts + 1
    for number in range(IN_ALL.attempts - taken):
        assert attempts.take(f"10.0.{number // 250}.{number % 250}") == 0
    assert 0 < attempts.take("192.0.2.1") <= IN_ALL.refill_s
    clock.advance(IN_ALL.refill_s * 10_000_000)
    for number in range(KEPT_ADDRESSES + 10):
        attempts.take(f"172.16.{number // 250}.{number % 250}")
        clock.advance(IN_ALL.refill_s)
    assert len(attempts._used) == KEPT_ADDRESSES


async def test_every_reply_tells_the_browser_to_trust_nothing_else(closed: Place) -> None:
    """Pages, redirects, refusals, the API; a copy is kept of none."""
    visitor, token = closed.visitor(), closed.add("anna", is_admin=True)
    pages = [await visitor.get("/"), await visitor.get("/-/sign-in"), await visitor.get("/api/v1/consumers")]
    pages += [await visitor.sign_in(make_token()), await visitor.sign_in(token), await visitor.get("/")]
    pages += [
        await visitor.get("/admin/consumers"),
        await visitor.post("/admin/consumers"),
        await visitor.get("/api/x"),
    ]
    assert [page.status for page in pages] == [303, 200, 401, 401, 303, 200, 200, 403, 404]
    for page in pages:
        assert page.headers.items() >= (HEADERS | TRUSTED_HEADERS).items()
    assert (await closed.visitor(base="https://mirror.example").get("/")).headers.items() >= TRUSTED_HEADERS.items()
    plain = await closed.visitor(base="http://mirror.example").get("/")
    assert plain.headers.items() >= HEADERS.items() and not plain.headers.keys() & TRUSTED_HEADERS.keys()
    assert "script-src 'self'" in HEADERS["content-security-policy"] and "unsafe" not in str(HEADERS)


@pytest.mark.parametrize(
    ("headers", "is_taken"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:4480"}, False),
        ({"origin": "http://127.0.0.1:4480"}, True),
        ({"origin": "http://127.0.0.1:4481"}, False),
        ({"origin": "http://elsewhere.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://["}, False),
    ],
)
async def test_a_form_of_another_site_is_refused(place: Place, headers: dict[str, str], *, is_taken: bool) -> None:
    """By what the browser says of where it comes from; signing in, changing, and with a token alike."""
    visitor = await place.admin()
    code = (await visitor.get("/admin/consumers")).code
    done = await visitor.post("/admin/consumers", headers, csrf=code, name="one")
    assert done.status == (201 if is_taken else 403)
    token = place.add("anna", is_admin=True)
    assert (await place.visitor(headers=headers).sign_in(token)).status == (303 if is_taken else 403)
    program = place.visitor(headers={"mainstay-token": token, **headers})
    assert (await program.send("POST", "/api/v1/consumers", {"name": "two"})).status == (201 if is_taken else 403)


async def test_a_form_without_its_code_is_refused(place: Place) -> None:
    """Or with that of another session; the API takes the code in a header."""
    visitor = await place.admin()
    other = place.visitor()
    await other.sign_in(place.add("ben", is_admin=True))
    theirs = (await other.get("/admin/consumers")).code
    for code in ("", "x", "é", theirs):
        refused = await visitor.post("/admin/consumers", csrf=code, name="one")
        assert refused.status == 403 and "out of date" in refused.text
        assert (await visitor.post("/-/sign-out", csrf=code)).status == 403
        assert (await visitor.send("POST", "/api/v1/consumers", {"name": "one"})).status == 403
    own = (await visitor.get("/admin/consumers")).code
    done = await visitor.send("POST", "/api/v1/consumers", {"name": "one"}, **{"mainstay-csrf": own})
    assert done.status == 201


async def test_changes_are_for_administrators(place: Place) -> None:
    """Though reading may be open: who is not signed in is asked to, who is none is told how to become one."""
    anybody, token = place.visitor(), place.add("anna")
    assert (await anybody.get("/admin/consumers")).headers["location"] == "/-/sign-in?next=%2Fadmin%2Fconsumers"
    assert (await anybody.post("/admin/consumers", name="x")).headers["location"] == "/-/sign-in?next=%2Fadmin"
    assert (await anybody.send("POST", "/api/v1/consumers", {"name": "x"})).status == 401
    anna = place.visitor()
    await anna.sign_in(token)
    refused = await anna.get("/admin/consumers")
    assert refused.status == 403 and "mainstay consumer change anna --admin" in refused.text
    code = (await anna.get("/-/sign-in")).code
    assert (await anna.post("/admin/consumers", csrf=code, name="x")).status == 403
    program = place.visitor(headers={"mainstay-token": token})
    said = await program.send("DELETE", "/api/v1/consumers/anna", None)
    assert said.status == 403 and "administrators" in problem(said)


async def test_a_body_larger_than_any_form_is_refused(place: Place) -> None:
    """Before anything of it is looked at."""
    visitor = await place.admin()
    assert (await visitor.post("/admin/consumers", name="x" * 70_000)).status == 413
    assert (await place.visitor().post("/-/sign-in", token="x" * 70_000)).status == 413


async def test_a_database_that_fails_is_told(closed: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """In words, to whoever shows a token or a session; nobody is let in by it."""
    visitor, token = closed.visitor(), closed.add("anna")
    await visitor.sign_in(token)

    async def fail(*_: object) -> None:
        raise StoreError("The database failed: it is locked.")

    monkeypatch.setattr(closed.site.database, "read", fail)
    for who in (visitor, closed.visitor(headers={"mainstay-token": token})):
        page = await who.get("/")
        assert page.status == 500 and "it is locked" in problem(page)


async def test_what_is_set_from_outside_does_not_make_a_viewer(closed: Place) -> None:
    """A scope that came with a state of its own, say."""
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "scheme": "http"}
    await closed.app({**scope, "state": {"viewer": "root"}}, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 303


async def test_looking_at_a_page_costs_little_more_than_the_page(closed: Place) -> None:
    """A session is read and looked up in well under a millisecond or two."""
    visitor = closed.visitor()
    await visitor.sign_in(closed.add("anna"))
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        await visitor.get("/")
        best = min(best, time.perf_counter() - started)
    print(f"{best * 1000:.2f} ms")
    assert best < 0.02
