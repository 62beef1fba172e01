"""One process at a time in a folder."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nogan.common import lock
from nogan.common.errors import Occupied
from nogan.common.lock import is_held, only_one

FORKING = """
import os, sys, time
from pathlib import Path
from nogan.common.lock import only_one
with only_one(Path(sys.argv[1])):
    if os.fork() == 0:  # a worker, which outlives its parent for a while
        time.sleep(30)
        os._exit(0)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_taken_once_in_one_process_too(tmp_path):
    with only_one(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").exists()
        with pytest.raises(Occupied, match="another process is using it"), only_one(tmp_path / "run"):
            pass
        (tmp_path / "run" / "kept").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["kept"]
    with only_one(tmp_path / "run"):  # and again
        pass
    with pytest.raises(ValueError, match="wrong"), only_one(tmp_path / "new"):
        raise ValueError("wrong")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
def test_the_lock_of_a_killed_process_is_free_though_its_workers_live(tmp_path):
    command = [sys.executable, "-c", FORKING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        assert is_held(tmp_path)
        start = time.monotonic()
        with pytest.raises(Occupied), only_one(tmp_path):
            pass
        assert time.monotonic() - start < 5
        holder.kill()
        holder.wait()
        assert not is_held(tmp_path)
        with only_one(tmp_path):
            pass


def test_a_disk_without_locks_is_used_all_the_same(tmp_path, monkeypatch):
    def no_locks(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.FileLock, "acquire", no_locks)
    with only_one(tmp_path / "run"):
        (tmp_path / "run" / "kept").touch()
    assert (tmp_path / "run" / "kept").exists() and not is_held(tmp_path / "run")


@pytest.mark.skipif(not hasattr(os, "seteuid") or os.geteuid() != 0, reason="needs users")
def test_asking_needs_no_permission(tmp_path):
    (tmp_path / ".lock").touch(mode=0o600)
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        folder.chmod(0o755)
    os.seteuid(65534)
    try:
        assert not is_held(Path(tmp_path))
    finally:
        os.seteuid(0)
