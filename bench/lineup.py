"""Who takes part in a run, started together and ended together."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from install import TOOLS
from peers import start_athens, start_devpi, start_proxpi, start_simple_repository, start_verdaccio
from processes import stop
from servers import Server, start_mainstay, start_nginx, start_upstream

Starter = Callable[[Path, Server, int], Server]
STARTERS: Mapping[str, Starter] = {
    "mainstay": start_mainstay,
    "nginx": start_nginx,
    "devpi": start_devpi,
    "proxpi": start_proxpi,
    "simple-repository-server": start_simple_repository,
    "verdaccio": start_verdaccio,
    "athens": start_athens,
}


@contextmanager
def running(
    names: Sequence[str],
    workers: int,
    *,
    delay_ms: float = 0,
    rate_mib: float = 0,
    upstream_nice: int = 0,
    starters: Mapping[str, Starter] = STARTERS,
) -> Iterator[tuple[Server, list[Server]]]:
    """A fresh upstream and fresh servers in a temporary folder; their logs are kept where something fails."""
    with TemporaryDirectory(prefix="bench-") as name:
        folder, started = Path(name), []
        try:
            upstream = start_upstream(folder, delay_ms=delay_ms, rate_mib=rate_mib, nice=upstream_nice)
            started.append(upstream)
            for peer in names:
                (folder / peer).mkdir()
                started.append(starters[peer](folder / peer, upstream, workers))
            yield upstream, started[1:]
        except BaseException:
            _keep_logs(folder)
            raise
        finally:
            for server in reversed(started):
                stop(server.process)


def _keep_logs(folder: Path) -> None:
    shutil.rmtree(TOOLS / "logs", ignore_errors=True)
    for log in folder.rglob("*.log"):
        kept = TOOLS / "logs" / log.relative_to(folder)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(log, kept)
    print(f"logs of the failed run: {TOOLS / 'logs'}", file=sys.stderr)
