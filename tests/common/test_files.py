"""Files are written whole or not at all, and what a killed process leaves of them is removed."""

import pytest

from nogan.common import files
from nogan.common.files import remove_temporary, write_atomically


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "note.json"
    write_atomically(path, lambda temporary: temporary.write_text("old"))

    def fail(temporary):
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert [file.name for file in tmp_path.iterdir()] == ["note.json"]
    assert path.read_text() == "old"


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    keep = [tmp_path / "snapshots" / name for name in ("step-000003.safetensors", ".hydra", ".note", "fakes.12345678")]
    keep[0].parent.mkdir()
    for path in keep:
        path.write_text("kept")

    class Killed(BaseException):
        pass

    def killed(temporary):
        temporary.write_text("half")
        monkeypatch.setattr(files.Path, "unlink", lambda *_, **__: None)  # nobody is left to do it
        raise Killed

    with pytest.raises(Killed):
        write_atomically(tmp_path / "snapshots" / "step-000005.safetensors", killed)
    monkeypatch.undo()
    assert len(list(keep[0].parent.iterdir())) == 5
    remove_temporary(tmp_path)
    assert sorted(keep[0].parent.iterdir()) == sorted(keep)
