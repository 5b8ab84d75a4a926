"""The sealed mode: the only way out is the proxy."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import mainstay

CURL = ("curl", "--silent", "--show-error", "--max-time", "20")
ASK_DIRECTLY = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
except OSError as error:
    print(type(error).__name__, error)
    sys.exit(7)
print("connected")
"""


def test_a_client_that_uses_the_proxy_works(session):
    """Names need not be resolved in the namespace: the proxy does that."""
    done = session(*CURL, "https://registry.example/x", sealed=True)
    assert json.loads(done.stdout)["origin"] == "https://registry.example"


def test_a_client_that_ignores_the_proxy_fails(session, forge):
    """Unsealed it connects and nobody sees it; sealed it cannot."""
    command = (sys.executable, "-c", ASK_DIRECTLY, "127.0.0.2", str(forge.server_port))
    assert session(*command).stdout == b"connected\n"
    done = session(*command, sealed=True)
    assert done.returncode == 7, done.stdout
    outside = session(sys.executable, "-c", ASK_DIRECTLY, "192.0.2.1", "443", sealed=True)
    assert b"unreachable" in outside.stdout


def test_a_cleared_environment_fails_instead_of_going_past(session):
    """`env -i` takes the variables away, and with them the way."""
    done = session("env", "-i", *CURL, "https://registry.example/", sealed=True)
    assert done.returncode in (6, 7)


def test_a_host_that_is_no_registry_is_tunnelled(session, forge, forge_ca, receipt):
    """The proxy dials out from the normal network, also for what the user excepted from a proxy."""
    url = f"https://127.0.0.2:{forge.server_port}/page"
    extra = {"NO_PROXY": "127.0.0.2", "SSL_CERT_FILE": str(forge_ca)}
    done = session(*CURL, url, sealed=True, extra=extra)
    assert done.stdout == b"the forge answers /page", done.stderr
    assert any("past the gateway" in row for row in receipt(done))


def test_a_server_of_the_commands_own_works_inside(session):
    """Test suites talk to themselves over loopback."""
    program = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); "
        "c = socket.create_connection(s.getsockname()); print('talked')"
    )
    assert session(sys.executable, "-c", program, sealed=True).stdout == b"talked\n"


def test_the_environment_and_identity_are_unchanged(session):
    """The same variables as unsealed but for the addresses of this run, the same user, groups of files kept."""
    plain, sealed = (session("env", sealed=mode, extra={"ODD": "a=b\nc \udcff"}).stdout for mode in (False, True))
    assert _without_run(sealed) == _without_run(plain)
    identity = [session("id", "-u", sealed=mode).stdout for mode in (False, True)]
    assert identity[0] == identity[1]


def test_the_superuser_can_still_change_owners(session, tmp_path):
    """Archives are unpacked with their owners when root does it (npm in a container)."""
    if os.geteuid() != 0:
        # An ordinary user could not do it unsealed either: the expectation is then a refusal in both.
        stranger = os.geteuid() + 1
        assert session("chown", f"{stranger}:{stranger}", str(tmp_path), sealed=True).returncode != 0
        return
    (tmp_path / "file").touch()
    done = session("chown", "1000:1000", str(tmp_path / "file"), sealed=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").stat().st_uid == 1000


def test_a_kernel_that_forbids_it_is_told_in_words_and_nothing_runs(arguments, environ, tmp_path):
    """Never a silent fallback: here a limit of zero network namespaces stands for all the ways to forbid it."""
    limited = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    script = 'echo 0 > /proc/sys/user/max_net_namespaces; exec "$@"'
    command = [*limited, script, "sh", *arguments(sealed=True), "touch", str(tmp_path / "ran")]
    done = subprocess.run(command, capture_output=True, env=environ, timeout=60)
    assert done.returncode == 3, done.stderr
    assert b"--sealed is not possible here" in done.stderr
    assert b"making the namespace" in done.stderr
    assert b"Run without --sealed" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_an_ordinary_user_can_seal(arguments, environ):
    """No privilege is needed; as root this test becomes somebody else."""
    command = [*arguments(sealed=True), *CURL, "https://registry.example/x"]
    if os.geteuid() != 0:
        done = subprocess.run(command, capture_output=True, env=environ, timeout=60)
    else:
        with tempfile.TemporaryDirectory(prefix="nobody-") as folder:
            done = _run_as_nobody(command, environ, Path(folder))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["origin"] == "https://registry.example"


def _run_as_nobody(command: list[str], environ: dict[str, str], folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a session as the user `nobody`, from a copy of what it imports: the checkout may be in root's home."""
    folder.chmod(0o755)
    listing = (
        "import session_double, sys; print(*{m.__file__ for m in sys.modules.values() if getattr(m, '__file__', 0)})"
    )
    here = Path(command[1]).parent
    shown = subprocess.run([command[0], "-c", listing], capture_output=True, cwd=here, check=True, timeout=60)
    packages = (Path(sysconfig.get_path("platlib")), Path(mainstay.__file__).parent.parent)
    for file in (Path(name) for name in shown.stdout.decode().split()):
        for root in packages:
            if file.is_relative_to(root):
                _copy(root / file.relative_to(root).parts[0], folder)
    _copy(Path(command[1]), folder)
    mine = {"HOME": str(folder), "TMPDIR": "/tmp", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [_interpreter(), str(folder / Path(command[1]).name), *command[2:]],
        capture_output=True,
        env=environ | mine,
        cwd="/",
        timeout=60,
        user=65534,
        group=65534,
        extra_groups=[],
    )


def _copy(source: Path, folder: Path) -> None:
    target = folder / source.name
    if target.exists():
        return
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


def _interpreter() -> str:
    """A Python of this version that everybody may run: this one, or the system's."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [Path(sys.base_prefix) / "bin" / version, Path("/usr/bin") / version]
    for path in candidates:
        if path.exists() and all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents)):
            return str(path)
    raise AssertionError(f"no Python {version} that an ordinary user may run: looked at {candidates}")


def _without_run(text: bytes) -> list[bytes]:
    run_only = (b"mainstay-run-", b"127.0.0.1")
    return sorted(line for line in text.splitlines() if not any(mark in line for mark in run_only))
