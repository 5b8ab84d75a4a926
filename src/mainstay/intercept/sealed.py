"""The sealed mode: a network namespace whose only way out is the proxy.

A socket stays in the namespace that it was made in. So a small process makes a namespace and a listening socket in it,
passes the socket to the proxy (SCM_RIGHTS, unix(7)), and becomes the command: the proxy accepts from the sealed side
and dials out from the normal one. It keeps a command from going past by accident. It is no prison: files are shared,
and a unix socket (of a container daemon, say) leads out. Linux only; needs user namespaces.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mainstay.errors import MainstayError
from mainstay.intercept import namespace

TIMEOUT_S = 20.0
_HINT = (
    "Run without --sealed, or let this user make user namespaces: see user_namespaces(7), the sysctl"
    " user.max_user_namespaces, and AppArmor's or the container's rules for unshare."
)


@dataclass(slots=True)
class SealedProcess:
    """A process that waits in its namespace for the command. `listener` is its socket on 127.0.0.1, for the proxy."""

    process: Process
    listener: socket.socket
    _channel: socket.socket

    async def release(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Let it become `command`.

        Raises:
            OSError: the command cannot be executed (FileNotFoundError, PermissionError).
        """
        words = [str(len(command)).encode(), *(os.fsencode(word) for word in command)]
        words += [os.fsencode(f"{name}={value}") for name, value in environ.items()]
        payload = b"".join(word + b"\0" for word in words)
        answer = await asyncio.to_thread(self._send, namespace.LENGTH.pack(len(payload)) + payload)
        if answer:
            await self.process.wait()
            number = int(answer.split()[1])
            raise OSError(number, os.strerror(number), command[0])

    def _send(self, payload: bytes) -> bytes:
        with self._channel:
            self._channel.sendall(payload)
            return self._channel.recv(64)

    async def abandon(self) -> None:
        """Give up before `release`: the process ends by itself when its socket closes."""
        self._channel.close()
        await self.process.wait()


async def open_sealed() -> SealedProcess:
    """Start a process in a namespace of its own, with this process's inheritable descriptors.

    Raises:
        MainstayError: not possible here. There is no fallback.
    """
    if sys.platform != "linux":
        raise MainstayError("--sealed needs Linux.", hint="Run without it.")
    here, there = socket.socketpair()
    here.settimeout(TIMEOUT_S)
    there.set_inheritable(True)
    with there:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", namespace.__file__, str(there.fileno()), close_fds=False
        )
    try:
        listener = await asyncio.to_thread(_receive_listener, here, process.pid)
    except BaseException:
        here.close()
        await process.wait()
        raise
    return SealedProcess(process, listener, here)


def _receive_listener(channel: socket.socket, pid: int) -> socket.socket:
    try:
        _expect(channel.recv(128), b"unshared")
        _map_identities(pid)
        channel.sendall(b"mapped")
        message, descriptors, _, _ = socket.recv_fds(channel, 128, 1)
        _expect(message, b"ready")
    except OSError as error:
        raise MainstayError(f"--sealed is not possible here: {error.strerror or error}.", hint=_HINT) from error
    channel.settimeout(None)
    return socket.socket(fileno=descriptors[0])


def _expect(message: bytes, wanted: bytes) -> None:
    if message == wanted:
        return
    words = message.decode().split(" ", 2)
    if words[0] == "failed":
        raise OSError(int(words[1]), f"{os.strerror(int(words[1]))} ({words[2]})")
    raise OSError(errno.EPROTO, "the sealed process ended")


def _map_identities(pid: int) -> None:
    """Keep each user and group what it is.

    The superuser may map all of its own (chown and su then work inside as outside); others map themselves alone, for
    which the kernel wants setgroups switched off first (user_namespaces(7)).
    """
    folder = Path(f"/proc/{pid}")
    try:
        for name in ("uid_map", "gid_map"):
            (folder / name).write_text(_identity(Path(f"/proc/self/{name}").read_text("ascii")), "ascii")
    except PermissionError:
        (folder / "setgroups").write_text("deny", "ascii")
        (folder / "uid_map").write_text(f"{os.geteuid()} {os.geteuid()} 1\n", "ascii")
        (folder / "gid_map").write_text(f"{os.getegid()} {os.getegid()} 1\n", "ascii")


def _identity(own_map: str) -> str:
    """A map line (`inside outside count`) for each range that exists here, onto itself."""
    ranges = [line.split() for line in own_map.splitlines()]
    return "".join(f"{first} {first} {count}\n" for first, _, count in ranges)
