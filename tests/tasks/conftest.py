"""What the tests of the tasks share: a data folder in the publisher's layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from optical_mteb.storage import local_data


def real_data(place: str) -> tuple[Path, pytest.MarkDecorator]:
    """A folder of OPTICAL_MTEB_DATA, and the mark that skips a test where it is absent."""
    folder = (local_data() or Path("nowhere")) / place
    return folder, pytest.mark.skipif(not folder.is_dir(), reason=f"OPTICAL_MTEB_DATA is not set, or has no {place}")


def replace_in(path: Path, old: bytes, new: bytes) -> None:
    """Change a file at a place that has to be there."""
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def texts(dataset) -> dict[str, str]:
    """Documents or queries by their ids."""
    return dict(zip(dataset["id"], dataset["text"], strict=True))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that takes the place of OPTICAL_MTEB_DATA."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("OPTICAL_MTEB_DATA", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder
