from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from mainstay.telemetry.log import configure_logging, get_logger, hide_in_text

SECRET = "hunter2hunter2"


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The JSON lines on standard error."""
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_a_line_is_json_where_standard_error_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Event, fields, level and a UTC time."""
    configure_logging("info")
    get_logger().warning("upstream rests", upstream="https://registry.example/", until=5)
    (line,) = logged(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "upstream rests",
        "level": "warning",
        "upstream": "https://registry.example/",
        "until": 5,
    }


def test_a_line_is_plain_text_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    """Without colours where standard error is no terminal."""
    configure_logging("info", json=False)
    get_logger().info("started", port=4480)
    err = capsys.readouterr().err
    assert "started" in err and "port=4480" in err
    assert "\x1b" not in err


def test_the_level_holds_and_can_be_changed(capsys: pytest.CaptureFixture[str]) -> None:
    """What is below is not written; a logger made before the change follows it."""
    log = get_logger("mainstay.test")
    configure_logging("warning")
    log.info("quiet")
    configure_logging("debug")
    log.debug("loud")
    assert [line["event"] for line in logged(capsys)] == ["loud"]


def test_other_libraries_log_by_the_same_path_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    """One format for all, and their chatter stays out."""
    configure_logging("info")
    logging.getLogger("somelib").info("chatter")
    logging.getLogger("somelib").warning("asked %s", f"https://user:{SECRET}@registry.example/")
    (line,) = logged(capsys)
    assert line["event"] == "asked https://[hidden]@registry.example/"
    assert line["level"] == "warning"


@pytest.mark.parametrize(
    "fields",
    [
        {"Authorization": f"Basic {SECRET}"},
        {"proxy_authorization": SECRET},
        {"npmToken": SECRET},
        {"password": SECRET, "PASSWD": SECRET},
        {"set-cookie": SECRET},
        {"headers": {"Cookie": SECRET, "accept": "*/*"}},
        {"headers": [(b"authorization", SECRET.encode()), (b"accept", b"*/*")]},
        {"deep": [{"x": ({"api-key": SECRET},)}]},
        {"url": f"https://user:{SECRET}@registry.example/simple/"},
        {"url": f"https://{SECRET}@registry.example/simple/"},
        {"url": f"https://user:a@{SECRET}@registry.example/"},
        {"url": f"https://registry.example/x?token={SECRET}&page=2"},
        {"url": f"https://registry.example/x?X-Signature={SECRET}".encode()},
        {"line": f"//registry.example/:_authToken={SECRET}"},
        {"text": f"sent Authorization: Basic {SECRET} and more"},
        {"text": f"{{'authorization': 'Bearer {SECRET}'}}"},
        {"text": f"Bearer {SECRET}"},
        {"text": f"Cookie: a=1; b={SECRET}"},
        {"error": ValueError(f"no route to https://u:{SECRET}@registry.example/")},
        {"event_text": {f"https://u:{SECRET}@registry.example/": 1}},
    ],
)
def test_no_credential_is_written(capsys: pytest.CaptureFixture[str], fields: dict[str, Any]) -> None:
    """By the name of a field in any case and depth, and by what a text looks like; in both formats."""
    for as_json in (True, False):
        configure_logging("info", json=as_json)
        get_logger().info("asked", **fields)
        err = capsys.readouterr().err
        assert SECRET not in err
        assert "[hidden]" in err


def test_no_credential_is_written_in_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """An exception's text is cleaned too, and so is the event itself."""
    configure_logging("info")
    try:
        raise ValueError(f"https://u:{SECRET}@registry.example/ failed")
    except ValueError:
        get_logger().exception(f"failed at https://u:{SECRET}@registry.example/")
    (line,) = logged(capsys)
    assert SECRET not in json.dumps(line)
    assert "ValueError: https://[hidden]@registry.example/ failed" in line["exception"]


def test_of_a_token_of_ours_only_how_it_begins_is_shown() -> None:
    """Wherever it stands: in the path of an address there is no name that says what it is."""
    for text in ("/t/{}/npm/left-pad", "https://gateway.example/t/{}/go", "sent {}, which is no good", "{}"):
        assert hide_in_text(text.format("mst_Ab3x" + "Z9" * 17)) == text.format("mst_Ab3x[hidden]")


@pytest.mark.parametrize(
    "text",
    [
        "https://registry.example/simple/flask/",
        "https://registry.example/@scope/name?tab=1",
        "https://registry.example/-/package/@scope%2fname",
        "Basic authentication is required",
        "mail to a@b.example",
        "tokenizers-0.15.tar.gz",
    ],
)
def test_what_is_no_credential_is_left_alone(text: str) -> None:
    """A scope in a path and a package named like a secret stay readable."""
    assert hide_in_text(text) == text


def test_a_line_break_in_a_value_does_not_make_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A name from outside cannot forge a log line."""
    configure_logging("info")
    get_logger().info("asked", path='x\n{"event": "forged"}\r\x1b[31m')
    (line,) = logged(capsys)
    assert line["event"] == "asked"
