"""Writing for keeps: complete, or as it was."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from optical_mteb import storage
from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_file, atomic_folder, collect, held, local_data, recover


@pytest.fixture
def cannot_swap(monkeypatch):
    """A system that cannot exchange two names."""
    monkeypatch.setattr(storage.os, "name", "other")


def holder(code, *arguments):
    """Another process that runs code and then waits; it has come so far once this returns."""
    code = f"import sys\nfrom pathlib import Path\nfrom optical_mteb.storage import *\n{code}\n"
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_folder_appears_complete(tmp_path):
    """Guards against a target that is there before its content is, half-written folders, and scratch that stays."""
    target = tmp_path / "a" / "target"
    with atomic_folder(target) as scratch:
        (scratch / "old").touch()
        assert not target.exists()
    with pytest.raises(RuntimeError):
        raise_in(atomic_folder(target), RuntimeError())
    assert [path.name for path in target.iterdir()] == ["old"]
    assert [path.name for path in target.parent.iterdir()] == ["target"]


@pytest.mark.parametrize("place", ["home/students/x", "elsewhere/site"])
def test_a_disk_that_is_full_meanwhile_is_one_line(tmp_path, monkeypatch, place):
    """Guards against a traceback where the disk fills up while a folder is written, and advice for another place.

    And against one for a store on top of a file.
    """
    monkeypatch.setenv("OPTICAL_MTEB_HOME", str(tmp_path / "home"))
    advice = "set OPTICAL_MTEB_HOME to another folder" if "home" in place else "choose another place"
    copied = shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")])
    for error in (OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EROFS, "Read-only"), copied):
        with pytest.raises(InputError, match=r"cannot write there \((No space|Read-only).*free the place or " + advice):
            raise_in(atomic_folder(tmp_path / place), error)
    with pytest.raises(PermissionError):
        raise_in(atomic_folder(tmp_path / place), PermissionError(errno.EACCES, "Permission denied", "input.txt"))
    assert list((tmp_path / place).parent.iterdir()) == []
    (tmp_path / place).touch()
    with pytest.raises(InputError, match=r"cannot write there \((Not a directory|File exists)\)"):
        raise_in(atomic_folder(tmp_path / place / "target"), AssertionError)


def raise_in(block, error):
    with block:
        raise error


def test_a_wrong_data_folder_is_named(monkeypatch, tmp_path):
    """Guards against a typo in OPTICAL_MTEB_DATA that silently means no data."""
    monkeypatch.setenv("OPTICAL_MTEB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"OPTICAL_MTEB_DATA=.*no such folder"):
        local_data()


WRITER = """
with atomic_folder(Path(sys.argv[1])) as new:
    (new / "half").touch()
    print("ready", flush=True)
    __import__("time").sleep(60)
"""


def test_scratch_of_dead_processes_is_removed(tmp_path):
    """Guards against scratch that nobody collects, and against removing what another process still writes."""
    target = tmp_path / "target"
    dead, alive = holder(WRITER, tmp_path / "another"), holder(WRITER, target)
    kill(dead)
    with atomic_folder(target) as new:
        (new / "whole").touch()
        names = sorted(path.name.split(".")[1] for path in tmp_path.glob(".*"))
        assert names == ["target", "target"], (
            "the scratch of the dead process is there, or that of the living one is not"
        )
    kill(alive)
    collect(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert [path.name for path in target.iterdir()] == ["whole"]


@pytest.mark.parametrize("error", [FileNotFoundError, FileExistsError])
def test_scratch_that_another_process_takes_for_dead(tmp_path, monkeypatch, error):
    """Guards against a writer that gives up where another one removes its scratch before it is locked."""
    acquire, removed = storage.FileLock.acquire, []

    def removed_once(lock, *arguments, **keywords):
        if not removed:
            removed.append(Path(lock.lock_file).parent)
            removed[0].rmdir()
            raise error(errno.EEXIST, os.strerror(errno.EEXIST))
        return acquire(lock, *arguments, **keywords)

    monkeypatch.setattr(storage.FileLock, "acquire", removed_once)
    with atomic_folder(tmp_path / "target") as new:
        (new / "whole").touch()
    assert removed
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_no_moment_without_a_folder(tmp_path, monkeypatch):
    """Guards against a kill between two renames, which leaves neither the old folder nor the new one."""
    target = tmp_path / "target"
    for name in ("old", "new"):
        with atomic_folder(target) as scratch:
            (scratch / name).touch()
            monkeypatch.setattr(storage.Path, "rename", None if target.exists() else storage.Path.rename)
    assert [path.name for path in target.iterdir()] == ["new"]


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_folder_that_was_moved_aside_comes_back(tmp_path, monkeypatch, cannot_swap, renames):
    """Guards against a lost folder on a file system that cannot exchange two names."""
    target = tmp_path / "target"
    with atomic_folder(target) as scratch:
        (scratch / "old").touch()
    rename, done = storage.Path.rename, []

    def stop(path, to):
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(to)
        return rename(path, to)

    def interrupted():
        with monkeypatch.context() as patch, atomic_folder(target) as scratch:
            (scratch / "new").touch()
            patch.setattr(storage.Path, "rename", stop)
            patch.setattr(storage.shutil, "rmtree", lambda *_, **__: None)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    recover(target)
    assert [path.name for path in target.iterdir()] == ["old" if renames == 0 else "new"]
    collect(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_links_stay_links(tmp_path):
    """Guards against a link to a large disk that a real folder or file replaces."""
    (tmp_path / "disk").mkdir()
    for name in ("folder", "file"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "folder") as scratch:
            (scratch / content).touch()
        with atomic_file(tmp_path / "file") as scratch:
            scratch.write_text(content)
    assert (tmp_path / "folder").is_symlink()
    assert (tmp_path / "file").is_symlink()
    assert [path.name for path in (tmp_path / "disk" / "folder").iterdir()] == ["new"]
    assert (tmp_path / "disk" / "file").read_text() == "new"
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(("mask", "folder", "file"), [(0o022, 0o755, 0o644), (0o027, 0o750, 0o640)])
def test_the_umask_decides(tmp_path, mask, folder, file):
    """Guards against files that only their writer can read, as `mkstemp` makes them."""
    before = os.umask(mask)
    try:
        with atomic_folder(tmp_path / "target") as scratch:
            (scratch / "inner").mkdir()
            (scratch / "inner" / "private").touch(0o600)
        with atomic_file(tmp_path / "list") as scratch:
            scratch.touch()
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("target", "target/inner", "target/inner/private")]
    assert modes == [folder, folder, file]
    assert (tmp_path / "list").stat().st_mode & 0o777 == file


def test_what_takes_a_place_is_on_the_disk(tmp_path, monkeypatch):
    """Guards against names that reach the disk before the content does: a power cut leaves empty files."""
    flushed = []
    fsync, exchange = os.fsync, storage._swap
    monkeypatch.setattr(
        os, "fsync", lambda number: flushed.append(str(Path(f"/proc/self/fd/{number}").readlink())) or fsync(number)
    )
    monkeypatch.setattr(storage, "_swap", lambda *names: flushed.append("exchange") or exchange(*names))
    (tmp_path / "target").mkdir()
    with atomic_folder(tmp_path / "target") as scratch:
        (scratch / "inner").mkdir()
        (scratch / "inner" / "file").touch()
    before = flushed[: flushed.index("exchange")]
    assert {path.partition("/new")[2] for path in before} == {"", "/inner", "/inner/file"}
    assert str(tmp_path) in flushed[len(before) :]


def test_one_process_holds_a_name(tmp_path):
    """Guards against two writers of one name, and against a lock that a dead process keeps."""
    lock = tmp_path / "home" / ".name.lock"
    code = "with held(Path(sys.argv[1]), ''):\n    print('ready', flush=True)\n    __import__('time').sleep(60)"
    other = holder(code, lock)

    def second():
        with held(lock, "name: another process trains it"):
            return True

    with pytest.raises(InputError, match="another process trains it"):
        second()
    kill(other)
    assert second()


def test_file_systems_that_do_not_flush_folders(tmp_path, monkeypatch):
    """Guards against refusing a file system that cannot flush, and against hiding that a disk is full."""

    def fsync(number):
        raise OSError(number_of_error, "no")

    monkeypatch.setattr(os, "fsync", fsync)
    number_of_error = errno.EINVAL
    with atomic_folder(tmp_path / "target"):
        pass
    number_of_error = errno.ENOSPC
    with pytest.raises(InputError, match="cannot write there"), atomic_folder(tmp_path / "target"):
        pass
