"""The place of an index: taken whole or not at all, by one process at a time."""

import pytest

from optical_mteb.errors import InputError
from optical_mteb.index.build_folder import building, keep, new_version
from tests.index.processes import in_process, killed_at, replace_version


def there(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "home")


def test_a_new_version_takes_the_place_of_the_old_one(tmp_path):
    """Guards against an old file that stays in the new version, and anything that stays beside it."""
    target = tmp_path / "deep" / "index"
    replace_version(target, "one")
    (target / "old").write_text("")
    replace_version(target, "two")
    assert (target / "file").read_text() == "two"
    assert there(target) == ["file", "manifest.json"]
    assert there(tmp_path / "deep") == ["index"]


def test_a_failure_leaves_the_old_version_and_what_is_finished(tmp_path):
    """Guards against an index that is lost where its change fails."""
    target = tmp_path / "index"
    replace_version(target, "one")
    (tmp_path / "index.build" / "shards").mkdir(parents=True)

    def fail(error):
        with building(target) as site, new_version(site, target) as new:
            (new / "file").write_text("two")
            raise error

    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError())
    assert there(tmp_path / "index.build") == ["changes", "shards"]
    with pytest.raises(InputError, match=r"index: cannot be written .No space left.*make room there"):
        fail(OSError(28, "No space left on device"))
    assert (target / "file").read_text() == "one"
    assert there(tmp_path / "index.build") == ["changes", "shards"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("step", "number", "expected"),
    [
        (".storage:take_place", 1, "one"),  # the new version is whole and beside the old one
        (".storage:_swap", 1, "one"),  # it is on the disk, too
        (".storage:shutil.rmtree", 1, "two"),  # it is there, the old one beside it
        (".storage:shutil.rmtree", 2, "two"),  # the old one is gone, what it was made from is not
    ],
)
def test_a_kill_leaves_one_whole_version(tmp_path, step, number, expected):
    """Guards against an index that is gone after a kill between two renames."""
    target = tmp_path / "index"
    replace_version(target, "one")
    assert in_process(killed_at, step, number, replace_version, target, "two") == -9
    assert (target / "file").read_text() == expected
    with building(target):
        assert there(target) == ["file", "manifest.json"]
    assert there(tmp_path) == ["index"]


@pytest.mark.long
def test_one_process_at_a_time(tmp_path):
    """Guards against a second builder that waits for ever, or goes on; and a lock that outlives its process."""
    target = tmp_path / "index"
    with building(target):
        with pytest.raises(InputError, match="index: another process builds or changes this index"):
            replace_version(target, "two")
        assert in_process(replace_version, target, "two") == 1
    assert in_process(killed_at, ".storage:take_place", 1, replace_version, target, "two") == -9
    replace_version(target, "three")
    assert (target / "file").read_text() == "three"


def test_a_name_with_dots_and_a_path_with_spaces(tmp_path):
    """Guards against two indexes that are made in the same place, because their names differ past a dot."""
    for name in ("wiki v1.0", "wiki v1.1"):
        replace_version(tmp_path / "my data" / name, name)
    with building(tmp_path / "my data" / "wiki v1.0"), building(tmp_path / "my data" / "wiki v1.1"):
        pass
    assert (tmp_path / "my data" / "wiki v1.0" / "file").read_text() == "wiki v1.0"


def test_a_link_to_an_index(tmp_path):
    """Guards against an index on a large disk that is made where the link to it is."""
    (tmp_path / "disk" / "index").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "index")
    with building(tmp_path / "link") as site:
        assert site == tmp_path / "disk" / "index.build"
    replace_version(tmp_path / "link", "one")
    assert (tmp_path / "link").is_symlink()


def test_files_are_kept_without_a_copy_where_the_disk_allows_it(tmp_path, monkeypatch):
    """Guards against a change of a few ids that writes gigabytes, and a disk without links on which it fails."""
    (tmp_path / "new").mkdir()
    (tmp_path / "file").write_text("one")
    keep(tmp_path / "file", tmp_path / "new")
    assert (tmp_path / "new" / "file").samefile(tmp_path / "file")
    (tmp_path / "new" / "file").unlink()

    def refused(path, target):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refused)
    keep(tmp_path / "file", tmp_path / "new")
    assert (tmp_path / "new" / "file").read_text() == "one"
