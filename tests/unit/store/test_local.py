from __future__ import annotations

import errno
import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.errors import DataFolderError, StoreError, StoreFull
from mainstay.store.local import LocalStore
from unit.children import child, names, run

SAVE_FOREVER = """
import sys
from pathlib import Path
from mainstay.store.local import LocalStore
store = LocalStore(Path(sys.argv[1]))
store.save(b"first")
print("ready", flush=True)
for number in range(10**9):
    store.save(number.to_bytes(8, "big") * 50_000)
"""
SAVE_OVER_LIMIT = """
import resource, sys
from pathlib import Path
from mainstay.errors import StoreFull
from mainstay.store.local import LocalStore
store = LocalStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    store.save(b"x" * 5000)
except StoreFull as error:
    print(error.status, error.diagnostics())
store.close()
"""
FORK = """
import os, sys
from pathlib import Path
from mainstay.store.local import LocalStore
store = LocalStore(Path(sys.argv[1]))
mine = store.temporary()
mine.touch()
if os.fork() == 0:
    store.temporary().touch()
    os.abort()
os.wait()
print(store.sweep(), mine.exists(), len(list(store.fills.glob("*.tmp"))))
store.close()
"""


@given(st.text() | st.from_regex(r"sha256:.*", fullmatch=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_names_a_file_outside_the_blobs(tmp_path: Path, digest: str) -> None:
    """Any text is a path below `blobs/` or is refused."""
    store = LocalStore(tmp_path / "data")
    try:
        path = store.path(digest)
    except StoreError:
        pass
    else:
        assert path.resolve().is_relative_to(store.blobs.resolve())
    finally:
        store.close()


def test_a_folder_that_cannot_be_written_is_refused_with_words(tmp_path: Path) -> None:
    """The message names the folder, the hint says what to do, the exit code is 3."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataFolderError, match="file/data cannot be written") as caught:
        LocalStore(tmp_path / "file" / "data")
    assert "--data" in caught.value.hint
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("harmed", [b"wh", b"\0\0\0\0\0"])
def test_a_harmed_blob_is_replaced_by_a_whole_one(harmed: bytes, tmp_path: Path) -> None:
    """A file that lost its end or its bytes in a power cut does not stay because its name is taken."""
    store = LocalStore(tmp_path)
    digest = store.save(b"whole")
    store.path(digest).write_bytes(harmed)
    store.save(b"whole")
    assert store.path(digest).read_bytes() == b"whole"
    store.close()


def test_publishing_what_is_there_counts_as_use(tmp_path: Path) -> None:
    """The blob's time moves on, so that an eviction under way spares it."""
    store = LocalStore(tmp_path)
    path = store.path(store.save(b"body"))
    os.utime(path, (1, 1))
    store.save(b"body")
    assert path.stat().st_mtime > time.time() - 60
    store.close()


def test_a_process_killed_while_saving_leaves_only_whole_blobs(tmp_path: Path) -> None:
    """After kill -9 every blob has its digest, and a sweep empties `fills/`."""
    with child(SAVE_FOREVER, tmp_path) as process:
        while len(list(tmp_path.glob("blobs/*/*"))) < 20:
            assert process.poll() is None
        process.kill()
        process.wait()
    store = LocalStore(tmp_path)
    for digest, _, _ in store.scan():
        assert "sha256:" + hashlib.sha256(store.path(digest).read_bytes()).hexdigest() == digest
    store.sweep()
    assert [name for name in names(store.fills) if name.endswith(".tmp")] == []
    store.close()
    assert names(store.fills) == []


def test_a_full_disk_while_writing_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """A real write over the limit becomes StoreFull with a hint; no temporary file stays."""
    out = run(SAVE_OVER_LIMIT, tmp_path)
    assert out.startswith("507 Could not write sha256:")
    assert "Free space" in out
    assert names(tmp_path / "fills") == []
    assert list(tmp_path.glob("blobs/*/*")) == []


def test_a_full_disk_while_publishing_keeps_the_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Space may be freed and the same part published again."""
    store = LocalStore(tmp_path)
    part = store.temporary()
    part.write_bytes(b"body")
    digest = "sha256:" + hashlib.sha256(b"body").hexdigest()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreFull):
            store.publish(part, digest)
    assert part.read_bytes() == b"body"
    assert not store.has(digest)
    store.publish(part, digest)
    assert store.has(digest)
    store.close()


def test_bytes_and_names_are_on_disk_before_publish_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part, its new folder and that folder's folder are synced, in this order; nothing is without `sync`."""
    store = LocalStore(tmp_path)
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    part = store.temporary()
    part.write_bytes(b"body")
    digest = "sha256:" + hashlib.sha256(b"body").hexdigest()
    store.publish(part, digest)
    assert synced == [str(path) for path in (part, store.path(digest).parent, store.blobs)]
    synced.clear()
    part.write_bytes(b"other")
    store.publish(part, "sha256:" + hashlib.sha256(b"other").hexdigest(), sync=False)
    assert synced == []
    store.close()


def test_only_its_own_user_can_read_a_data_folder(tmp_path: Path) -> None:
    """Private packages lie in it: neither a folder that is made, nor what is put into another, is for all."""
    made, there = tmp_path / "made", tmp_path / "there"
    there.mkdir(mode=0o755)
    for folder in (made, there):
        store = LocalStore(folder)
        store.save(b"body")
        store.close()
    modes = [path.stat().st_mode & 0o077 for path in (made, *made.iterdir(), *there.iterdir())]
    assert modes == [0] * 5


def test_what_was_stored_is_told_once(tmp_path: Path) -> None:
    """Bytes published since the last time, also those that replace the same ones: the sum is a reason to look."""
    store = LocalStore(tmp_path)
    for body in (b"12345", b"123", b"12345"):
        store.save(body)
    assert (store.take_stored_bytes(), store.take_stored_bytes()) == (13, 0)
    store.close()


def test_a_forked_child_has_temporary_names_of_its_own(tmp_path: Path) -> None:
    """The child's file goes when the child is gone; the parent's stays while the parent lives."""
    assert run(FORK, tmp_path).split() == ["0", "True", "1"]
