"""Runs the user's command as a shell would: same streams, same terminal, same signals, its own exit code."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from mainstay.intercept.sealed import SealedProcess

NOT_EXECUTABLE = 126
NOT_FOUND = 127
_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
_FORWARDED = (*_FROM_TERMINAL, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Child:
    """The command while it runs.

    It stays in this process's group, so that it is in the terminal's foreground exactly when we are, and job control
    (Ctrl-Z, fg) stops and continues both. Ctrl-C then reaches it from the terminal itself; a signal that was sent to
    this process alone is passed on.
    """

    def __init__(self) -> None:
        self._process: Process | None = None
        self._caught: list[int] = []
        self._early: list[int] = []
        self._waiting: asyncio.Task[Any] | None = None

    @property
    def called_off_by(self) -> int:
        """The signal that came before the command was started, 0 where none did."""
        return self._early[0] if self._early else 0

    def catch_signals(self) -> None:
        """From now on signals are for the command. One that was ignored before (nohup) stays ignored in both.

        One that comes before the command is started cancels the calling task, so that what it prepared is put away.
        """
        self._waiting = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in _FORWARDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._pass_on, number)
                self._caught.append(number)

    def release_signals(self) -> None:
        """The command is over: signals are for this process again."""
        loop = asyncio.get_running_loop()
        for number in self._caught:
            loop.remove_signal_handler(number)
        self._caught.clear()

    async def run(self, command: Sequence[str], environ: Mapping[str, str], sealed: SealedProcess | None) -> int:
        """Run `command` and give its exit code, 128 + n where signal n ended it.

        It has this process's inheritable descriptors, as `mainstay run -- cat <(...)` needs; none of our own is one.

        Raises:
            OSError: it cannot be executed.
        """
        self._waiting = None
        if sealed is None:
            self._process = await asyncio.create_subprocess_exec(*command, env=dict(environ), close_fds=False)
            for number in self._early:  # it runs before this call returns, and a signal may be as quick
                self._pass_on(number)
        else:
            self._process = sealed.process
            await sealed.release(command, environ)
        code = await self._process.wait()
        return 128 - code if code < 0 else code

    def _pass_on(self, number: int) -> None:
        if self._process is None:
            self._early.append(number)
            if self._waiting is not None:
                self._waiting.cancel()
            return
        if number in _FROM_TERMINAL and _is_foreground():
            return  # the terminal sent it to the whole group: a second one would mean "at once"
        with suppress(ProcessLookupError):  # it ended in this very moment
            self._process.send_signal(number)


def describe(error: OSError, command: str) -> tuple[int, str]:
    """The exit code that a shell gives for a command that cannot be executed, and words."""
    if isinstance(error, FileNotFoundError):
        return NOT_FOUND, f"{command}: command not found"
    return NOT_EXECUTABLE, f"{command}: cannot be executed: {error.strerror}"


def _is_foreground() -> bool:
    """Whether we have a terminal and are in its foreground."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # no terminal: a service, a CI job
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)
