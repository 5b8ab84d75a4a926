from __future__ import annotations

import json

import pytest

from mainstay import errors
from mainstay.ecosystems import ecosystems
from mainstay.errors import AuthorizationRequired, MainstayError, MethodRefused, NotFound, UpstreamRefused
from mainstay.gateway.refuse import refusal
from mainstay.gateway.reply import Bytes, Note
from mainstay.telemetry.metrics import OUTCOMES

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, MainstayError)]


def make(kind: type[MainstayError]) -> MainstayError:
    """One error of that class."""
    if issubclass(kind, UpstreamRefused):
        return kind("words for a person.", upstream_status=500, hint="Do this.")
    return kind("words for a person.", hint="Do this.")


def headers(reply: Bytes) -> dict[str, str]:
    """By name."""
    assert len(dict(reply.headers)) == len(reply.headers), "no header twice"
    return dict(reply.headers)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("ecosystem", [None, *ecosystems()])
def test_every_error_is_told_with_its_status_words_and_hint(kind: type[MainstayError], ecosystem: str | None) -> None:
    """In the form of the ecosystem's client, never cached, and noted by name with an outcome that metrics know."""
    note = Note()
    reply = refusal(make(kind), ecosystems()[ecosystem] if ecosystem else None, note)
    assert reply.status == kind.status and 400 <= reply.status < 600
    assert b"words for a person. Do this." in reply.body
    assert headers(reply)["cache-control"] == "no-store" and headers(reply)["content-type"]
    assert note.error == kind.__name__ and note.outcome in OUTCOMES
    assert note.outcome not in ("hit", "miss"), "a refusal is counted as one"
    if "json" in headers(reply)["content-type"]:
        assert json.loads(reply.body)


def test_a_missing_credential_names_how_to_give_one() -> None:
    """Upstream's own challenge where there is one, else Basic, which every client knows."""
    own = refusal(AuthorizationRequired("no.", challenge='Bearer realm="x"'), None, Note())
    assert headers(own)["www-authenticate"] == 'Bearer realm="x"'
    assert headers(refusal(AuthorizationRequired("no."), None, Note()))["www-authenticate"].startswith("Basic ")


def test_a_wait_is_told_in_whole_seconds_and_never_as_none() -> None:
    """RFC 9110, 10.2.3; zero would have the client come back at once."""
    for seconds, told in ((0.0, "1"), (0.2, "1"), (1.5, "2"), (60.0, "60")):
        error = errors.UpstreamUnavailable("resting.", retry_after_s=seconds)
        assert headers(refusal(error, None, Note()))["retry-after"] == told
    assert "retry-after" not in headers(refusal(NotFound("no."), None, Note()))


def test_a_refused_method_names_those_there_are() -> None:
    """RFC 9110, 15.5.6."""
    assert headers(refusal(MethodRefused("PUT is refused."), None, Note()))["allow"] == "GET, HEAD"
