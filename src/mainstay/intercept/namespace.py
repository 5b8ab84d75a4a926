"""Runs as a process of its own: makes a network namespace, hands its listening socket out, becomes the command.

It is started by path with the bare interpreter (`python -I -S`), so that it is up in milliseconds and nothing of the
user's environment changes it: standard library only, no import of this package. `sealed.py` holds the other end.

The talk on the socket, from here: `unshared` (then waits for `mapped`), `ready` with the listening socket, and after
the command line came, nothing when the command runs (the socket closes) or `exec <errno>`. Any failure before that is
`failed <errno> <step>`.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1
LENGTH = struct.Struct("!Q")


def main(descriptor: int) -> None:
    """Seal this process and become the command that arrives on socket `descriptor`."""
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    _restore_signals()
    step = "making the namespace"
    try:
        _unshare(CLONE_NEWUSER | CLONE_NEWNET)
        channel.sendall(b"unshared")
        if channel.recv(16) != b"mapped":
            sys.exit(3)
        step = "bringing its loopback up"
        _raise_loopback()
        step = "listening in it"
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    except OSError as error:
        channel.sendall(f"failed {error.errno} {step}".encode())
        sys.exit(3)
    socket.send_fds(channel, [b"ready"], [listener.fileno()])
    listener.close()
    command, environ = _receive_command(channel)
    try:
        os.execvpe(command[0], command, environ)  # noqa: S606  the user's own command, as typed
    except OSError as error:
        channel.sendall(f"exec {error.errno}".encode())
        sys.exit(127)


def _unshare(flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def _restore_signals() -> None:
    """Undo what the interpreter changed: the command must find the dispositions that a shell would give it."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _receive_command(channel: socket.socket) -> tuple[list[bytes], dict[bytes, bytes]]:
    """The command and its environment: a length, then fields ended by NUL: the number of words, the words, `k=v`."""
    (size,) = LENGTH.unpack(_receive(channel, LENGTH.size))
    fields = _receive(channel, size).split(b"\0")[:-1]
    count = int(fields[0])
    environ = dict(field.split(b"=", 1) for field in fields[count + 1 :])
    return fields[1 : count + 1], environ


def _receive(channel: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        piece = channel.recv(size - len(received))
        if not piece:
            sys.exit(3)  # the run was called off before the command started
        received += piece
    return received


if __name__ == "__main__":
    main(int(sys.argv[1]))
