"""The process of the pages: started when somebody looks, one for all workers, of no consequence to package managers."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from doubles.gateway import Gateway, Serve, descendants, kill
from doubles.upstream import Upstream, wait_until

pytestmark = pytest.mark.faults


def site_pids(gateway: Gateway) -> list[int]:
    """The processes of the pages below a server."""
    return [pid for pid in descendants(gateway.process.pid) if b"mainstay.web.process" in _command_line(pid)]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_nothing_of_it_runs_until_somebody_looks_and_one_process_serves_all_workers(serve: Serve) -> None:
    """Sixteen look at the same time, at both workers: what several of them start, a lock makes one of."""
    gateway = serve(workers=2)
    assert site_pids(gateway) == []

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: gateway.fetch("/").status, range(16)))

    assert statuses == [200] * 16
    wait_until(lambda: len(site_pids(gateway)) == 1, "one process of the pages")


def test_it_ends_with_the_gateway(serve: Serve) -> None:
    """A normal stop leaves neither the process nor its socket."""
    gateway = serve()
    assert gateway.fetch("/").status == 200
    (pid,) = site_pids(gateway)

    gateway.stop()

    assert _command_line(pid) == b""
    assert not (gateway.data / "site.sock").exists()


def test_it_ends_when_its_worker_is_killed_and_another_worker_starts_one(serve: Serve) -> None:
    """kill -9 of a worker: its pipe to the process closes, which is the sign to end."""
    gateway = serve(workers=2)
    assert gateway.fetch("/").status == 200
    (pid,) = site_pids(gateway)
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    kill(parent)

    wait_until(lambda: _command_line(pid) == b"", "the end of its process of the pages")
    assert gateway.fetch("/").status == 200


def test_a_killed_one_is_replaced_by_the_next_request(serve: Serve) -> None:
    """kill -9 of the process itself: nobody sees an error."""
    gateway = serve()
    assert gateway.fetch("/").status == 200
    (pid,) = site_pids(gateway)

    kill(pid)

    assert gateway.fetch("/").status == 200
    assert site_pids(gateway) not in ([], [pid])


def test_packages_are_served_while_it_hangs(upstream: Upstream, serve: Serve) -> None:
    """SIGSTOP: requests for pages wait, those for packages do not notice."""
    upstream.project("demo").release("1.0", {"demo-1.0.tar.gz": b"demo"})
    gateway = serve(pypi=upstream.simple_url)
    assert gateway.fetch("/").status == 200
    (pid,) = site_pids(gateway)
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(4) as pool:
        pages = [pool.submit(gateway.fetch, "/", timeout_s=30) for _ in range(4)]

        assert gateway.fetch("/pypi/simple/demo/").status == 200
        assert gateway.fetch("/pypi/files/demo/demo-1.0.tar.gz").body == b"demo"

        os.kill(pid, signal.SIGCONT)
        assert [page.result().status for page in pages] == [200] * 4


def test_a_body_over_the_cap_is_refused_before_it_gets_there(serve: Serve) -> None:
    """413, and no process is started for it."""
    gateway = serve(server={"max_body": "1 kB"})

    reply = gateway.fetch("/-/sign-in", method="POST", body=b"x" * 2000)

    assert reply.status == 413
    assert site_pids(gateway) == []


def test_new_settings_are_those_of_the_next_page(serve: Serve) -> None:
    """A reload replaces the process with the workers."""
    gateway = serve(web={"reading": "open"})
    assert gateway.fetch("/consumers").status == 200
    (pid,) = site_pids(gateway)
    gateway.config.write_text(gateway.config.read_text().replace('"open"', '"closed"'))

    gateway.process.send_signal(signal.SIGHUP)

    wait_until(lambda: gateway.fetch("/consumers").status == 303, "the sign-in")
    assert site_pids(gateway) != [pid]


def test_a_data_folder_with_a_very_long_name_has_pages_too(serve: Serve, tmp_path: Path) -> None:
    """The address of a Unix socket has room for 107 bytes (unix(7))."""
    gateway = serve()
    gateway.stop()
    gateway.data = tmp_path / ("long-" * 40) / ("name-" * 40)
    gateway.restart()

    assert gateway.fetch("/").status == 200
