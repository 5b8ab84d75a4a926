"""What setup writes takes effect, and undo leaves what would be there had setup never run."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.clients.edit import put_in, take_out
from mainstay.clients.marks import Refusal
from mainstay.clients.wanted import render_wanted
from mainstay.ecosystems import ecosystems
from unit.clients import configurations as texts

GATEWAYS = ("http://127.0.0.1:4480", "https://gateway.example/base", "http://gateway.example:8080")
# On a busy machine making the texts takes its time, and many mixtures of TOML are not valid.
FUZZED = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
BY_FORM = {
    "ini": texts.INI,
    "npmrc": texts.NPMRC,
    "env": texts.ENV,
    "yarnrc": texts.YARNRC,
    "yaml": texts.YAML,
    "toml": texts.TOML,
    "xml": texts.XML,
    "script": texts.YARNRC,
}
FILES = [
    pytest.param(file, adapter.mount, id=f"{client.name}-{number}")
    for adapter in ecosystems().values()
    for client in adapter.clients
    for number, file in enumerate(client.files)
]


def edited(body, file, url, folders=None):
    """The file after setup, None where setup refuses it."""
    after = put_in(body, render_wanted(file, url), folders)
    return None if isinstance(after, Refusal) else after


@pytest.mark.parametrize(("file", "mount"), FILES)
def test_undo_restores_every_byte(file, mount):
    """For files of any spacing, comments and line ends, with settings of the same name in any place."""
    counts = {"edited": 0, "refused": 0}

    @given(body=BY_FORM[file.form], gateway=st.sampled_from(GATEWAYS))
    @FUZZED
    def restores(body, gateway):
        after = edited(body, file, f"{gateway}/{mount}")
        counts["edited" if after else "refused"] += 1
        if after is None:
            return
        assert f"{gateway}/{mount}".encode() in after
        left, found = take_out(after, file.form)
        assert left == body
        assert found.found and not found.edited and found.folders is None

    restores()
    assert counts["edited"] >= 10, counts


@pytest.mark.parametrize(("file", "mount"), FILES)
def test_setup_twice_changes_nothing_and_another_gateway_only_our_lines(file, mount):
    """What a second run finds is what a first one would have written."""

    @given(body=BY_FORM[file.form])
    @FUZZED
    def repeats(body):
        first, other = (edited(body, file, f"{gateway}/{mount}", folders=2) for gateway in GATEWAYS[:2])
        if first is None or other is None:
            return
        base, found = take_out(first, file.form)
        assert found.folders == 2
        assert edited(base, file, f"{GATEWAYS[0]}/{mount}", found.folders) == first
        assert edited(base, file, f"{GATEWAYS[1]}/{mount}", found.folders) == other

    repeats()


@pytest.mark.parametrize(("file", "mount"), [param for param in FILES if param.values[0].form != "xml"])
def test_undo_keeps_what_was_edited_around_our_lines(file, mount):
    """Setup, then lines inserted and deleted elsewhere, then undo: as if only the lines had been edited."""

    @given(body=BY_FORM[file.form], data=st.data())
    @FUZZED
    def keeps(body, data):
        after = edited(body, file, f"{GATEWAYS[0]}/{mount}")
        lines = body.splitlines(keepends=True)
        if after is None or b"\xef\xbb\xbf" in body:
            return
        written = after.splitlines(keepends=True)
        first = next(number for number, line in enumerate(written) if b">>> mainstay" in line)
        last = next(number for number, line in enumerate(written) if b"<<< mainstay" in line)
        ours = last - first + 1

        def place(number):
            return number if number <= first else number + ours

        more = data.draw(st.sampled_from([b"# mine\n", b"x\r\ny\n", b"\n"]))
        whole = [number for number, line in enumerate(lines) if line.endswith(b"\n")]
        if whole and data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(whole))
            del lines[gone]
            del written[gone if gone < first else gone + ours]
            first -= gone < first
        at = data.draw(st.sampled_from([n for n in range(len(lines) + 1) if n == 0 or lines[n - 1].endswith(b"\n")]))
        written.insert(place(at), more)
        lines.insert(at, more)
        assert take_out(b"".join(written), file.form)[0] == b"".join(lines)

    keeps()


@given(body=texts.XML, data=st.data())
@FUZZED
def test_undo_keeps_what_was_edited_around_our_elements(body, data):
    """In settings.xml, anything inserted outside our marks stays."""
    file, mount = next(param.values for param in FILES if param.values[0].form == "xml")
    after = edited(body, file, f"{GATEWAYS[0]}/{mount}")
    if after is None or b", was " in after:
        return
    start = after.index(b"<!-- >>> mainstay")
    tail = len(after) - after.index(b"setup -->", start + 20) - len(b"setup -->")
    at = data.draw(st.integers(0, start) | st.integers(len(after) - tail, len(after)))
    changed = after[:at] + b"<!-- mine -->" + after[at:]
    before = at if at <= start else at - (len(after) - len(body))
    assert take_out(changed, file.form)[0] == body[:before] + b"<!-- mine -->" + body[before:]
