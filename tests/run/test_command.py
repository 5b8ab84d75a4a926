"""The command behaves as if no session were around it: streams, exit code, signals, environment."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# os.write, because a signal may interrupt a print, and print does not nest.
WAIT_FOR_SIGNALS = """
import os, signal, sys, time
def note(number, frame):
    os.write(1, signal.Signals(number).name.encode() + b" ")
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, note)
os.write(1, b"ready\\n")
time.sleep(1)
sys.exit(40)
"""


@pytest.mark.parametrize("code", [0, 1, 3, 42, 255])
def test_the_exit_code_is_the_commands_own(session, code):
    """Whatever the command ends with, the session ends with."""
    assert session("sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("sealed", [False, True])
def test_a_command_ended_by_a_signal_gives_what_a_shell_gives(session, sealed):
    """128 and the signal's number."""
    assert session("sh", "-c", "kill -9 $$", sealed=sealed).returncode == 137


@pytest.mark.parametrize("sealed", [False, True])
def test_an_unknown_command_is_127_with_words(session, sealed):
    """As in a shell, and the words name the command."""
    done = session("no-such-command-here", sealed=sealed)
    assert done.returncode == 127
    assert b"no-such-command-here: command not found" in done.stderr


@pytest.mark.parametrize("sealed", [False, True])
def test_a_file_that_is_no_program_is_126_with_words(session, tmp_path, sealed):
    """As in a shell."""
    (tmp_path / "data").write_text("not a program")
    done = session(str(tmp_path / "data"), sealed=sealed)
    assert done.returncode == 126
    assert b"cannot be executed" in done.stderr


@pytest.mark.parametrize("sealed", [False, True])
def test_standard_streams_pass_byte_for_byte(session, sealed):
    """Every byte value, both ways, and nothing of ours on standard output."""
    content = bytes(range(256)) * 4096
    done = session("cat", stdin=content, sealed=sealed)
    assert done.stdout == content
    assert done.stderr.startswith(b"mainstay: receipt\n")


@pytest.mark.parametrize("sealed", [False, True])
def test_descriptors_of_the_shell_are_the_commands_too(arguments, environ, tmp_path, sealed):
    """`mainstay run -- pip install -r <(...)` names /dev/fd/63; nothing of ours is among them."""
    with (tmp_path / "requirements").open("w+") as file:
        file.write("left==1.0")
        file.flush()
        number = str(file.fileno())
        script = f"cat /dev/fd/{number}; echo; ls /proc/self/fd"
        done = subprocess.run(
            [*arguments(sealed=sealed), "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environ,
            pass_fds=(file.fileno(),),
            timeout=60,
        )
    content, *numbers = done.stdout.decode().split()
    assert content == "left==1.0", done.stderr
    assert set(numbers) - {"0", "1", "2", number} <= {"3", "4"}  # the folder that `ls` reads, at the first free number
    assert len(numbers) == 5


@pytest.mark.parametrize("sink", ["full", "closed"])
@pytest.mark.parametrize(("command", "code"), [(("sh", "-c", "exit 5"), 5), (("no-such-command-here",), 127)])
def test_the_exit_code_is_kept_where_nobody_reads_the_receipt(arguments, environ, sink, command, code):
    """A full disk under the log, or a reader that had enough."""
    if sink == "full":
        end = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, end = os.pipe()
        os.close(reader)
    try:
        done = subprocess.run([*arguments(), *command], stderr=end, env=environ, timeout=60)
    finally:
        os.close(end)
    assert done.returncode == code


def test_no_command_is_a_usage_error(session):
    """Nothing to run is exit 2, in words."""
    done = session()
    assert done.returncode == 2
    assert b"No command to run" in done.stderr


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_session_reaches_the_command_once(arguments, environ, number, sealed):
    """The command handles it in its own way, the session waits for it and prints the receipt."""
    command = [*arguments(sealed=sealed), sys.executable, "-c", WAIT_FOR_SIGNALS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.read().split() == [number.name.encode()]
        assert b"mainstay: receipt" in process.stderr.read()
    assert process.returncode == 40


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_gateway_opens_calls_the_run_off(arguments, environ, tmp_path, number):
    """What was prepared is put away, the command never starts, and the code is a shell's."""
    command = [*arguments(stuck=True), "touch", str(tmp_path / "ran")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"opening\n"
        process.send_signal(number)
        try:
            assert process.communicate(timeout=30) == (b"put away\n", b"")
        finally:
            process.kill()
    assert process.returncode == 128 + number
    assert not (tmp_path / "ran").exists()


def test_a_signal_that_was_ignored_before_stays_ignored(arguments, environ):
    """Under nohup a hang-up ends neither the run nor the command."""
    script = 'trap "" HUP; exec "$@"'
    program = "echo ready; read line; kill -HUP $$; echo alive"
    command = ["sh", "-c", script, "sh", *arguments(), "sh", "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGHUP)
        process.stdin.write(b"go on\n")
        process.stdin.close()
        assert process.stdout.read() == b"alive\n"
    assert process.returncode == 0


def test_ctrl_c_in_a_terminal_reaches_the_command_once(arguments, environ):
    """The terminal tells the whole foreground group, so the session must not tell the command again."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [*arguments(), sys.executable, "-c", WAIT_FOR_SIGNALS], environ)
    _read_until(terminal, b"ready")
    os.write(terminal, b"\x03")
    assert _read_until(terminal, b"receipt").count(b"SIGINT") == 1
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 40


def test_the_command_has_the_terminal(arguments, environ):
    """Under a terminal the command sees one, on all three streams, and may read from it."""
    program = "import os; print([os.isatty(n) for n in (0, 1, 2)], input('name? '), os.tcgetpgrp(0) == os.getpgrp())"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [*arguments(), sys.executable, "-c", program], environ)
    _read_until(terminal, b"name? ")
    os.write(terminal, b"ada\n")
    assert b"[True, True, True] ada True" in _read_until(terminal, b"receipt")
    os.waitpid(pid, 0)
    os.close(terminal)


def test_the_folder_of_the_run_is_gone_afterwards(session, environ):
    """Also when the command failed."""
    done = session("sh", "-c", 'dirname "$SSL_CERT_FILE"; ls "$(dirname "$SSL_CERT_FILE")"; exit 9')
    folder, *names = done.stdout.decode().split()
    assert done.returncode == 9
    # The machine's own npm settings decide whether there is a file for `cafile`.
    expected = {"bundle.pem", "openssl.pem", "node-extra.pem", "truststore.p12", "wgetrc"}
    assert set(names) - {"node-cafile.pem"} == expected
    assert Path(folder).parent == Path(environ["TMPDIR"])
    assert os.listdir(environ["TMPDIR"]) == []


def test_the_folder_of_the_run_is_gone_after_sigterm(arguments, environ):
    """A command that dies of the signal leaves nothing behind either."""
    command = [*arguments(), "sh", "-c", "echo ready; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
    assert os.listdir(environ["TMPDIR"]) == []


def test_no_private_key_is_in_the_folder_or_in_an_open_file(arguments, environ, tmp_path):
    """The keys of the run are in memory only: looked for while a certificate is in use."""
    script = (
        "curl -s https://registry.example/ > /dev/null; "
        'cat "$(dirname "$SSL_CERT_FILE")"/*; echo; for file in /proc/$PPID/fd/*; do '
        'readlink "$file"; case "$(readlink "$file")" in /memfd*|*.pem|*leaf*) cat "$file";; esac; done'
    )
    done = subprocess.run([*arguments(), "sh", "-c", script], capture_output=True, env=environ, timeout=60)
    assert b"BEGIN CERTIFICATE" in done.stdout
    assert b"socket:" in done.stdout
    assert b"PRIVATE" not in done.stdout
    assert b"memfd" not in done.stdout


def _read_until(terminal: int, wanted: bytes) -> bytes:
    deadline = time.monotonic() + 30
    text = b""
    while wanted not in text:
        assert time.monotonic() < deadline, text
        if select.select([terminal], [], [], 1)[0]:
            try:
                text += os.read(terminal, 65536)
            except OSError:  # the last program on the terminal is gone
                break
    assert wanted in text
    return text
