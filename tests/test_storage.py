"""Writing for keeps: complete, or as it was."""

import pytest

from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_folder, local_data


def test_a_folder_appears_complete(tmp_path):
    """Pins a target that is there before its content is."""
    with atomic_folder(tmp_path / "a" / "target") as scratch:
        (scratch / "file").write_text("new")
        assert not (tmp_path / "a" / "target").exists()
    assert (tmp_path / "a" / "target" / "file").read_text() == "new"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["target"]


def test_an_older_folder_is_replaced_whole(tmp_path):
    """Pins files of the older folder that stay among the new ones."""
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "target") as scratch:
            (scratch / content).write_text(content)
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_failure_leaves_the_older_folder(tmp_path):
    """Pins half-written folders and scratch that nobody clears away."""
    with atomic_folder(tmp_path / "target") as scratch:
        (scratch / "old").touch()

    def fail():
        with atomic_folder(tmp_path / "target") as scratch:
            (scratch / "new").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    """Pins a traceback for a store on top of a file."""
    (tmp_path / "home").touch()
    with (
        pytest.raises(InputError, match=r"cannot write there \((Not a directory|File exists)\)"),
        atomic_folder(tmp_path / "home" / "target"),
    ):
        pass


def test_a_wrong_data_folder_is_named(monkeypatch, tmp_path):
    """Pins a typo in OPTICAL_MTEB_DATA that silently means no data."""
    monkeypatch.setenv("OPTICAL_MTEB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"OPTICAL_MTEB_DATA=.*no such folder"):
        local_data()
