"""The trainings of a study and their fingerprints."""

import json
from dataclasses import replace

import pytest

from optical_mteb.errors import InputError
from optical_mteb.study import jobs
from optical_mteb.study.cells import CellFolder, fingerprint_of
from optical_mteb.study.jobs import load_study
from optical_mteb.study.table import read_records
from tests.study.conftest import edit, record


def fingerprints(path):
    return {job.training: job.fingerprint for job in load_study(path).jobs.values()}


def test_trainings_take_their_languages(study_file):
    """Guards against a training on other languages, steps, seeds than its cell says, or under another training's name."""
    study = load_study(study_file)
    assert len(study.cells) == 2 * 3 * 2
    assert len(study.jobs) == 1 + 3 * 2
    for training, job in study.jobs.items():
        if training.steps:
            assert job.recipe.languages == sorted(training.languages)
            assert [source.language_code for source in job.recipe.bitext] == sorted(training.languages)
            assert (job.recipe.training.steps, job.recipe.seed) == (3, training.seed)
        assert job.recipe.name == f"study-{job.fingerprint}"
    assert len({job.fingerprint for job in study.jobs.values()}) == len(study.jobs)


@pytest.mark.long
@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("queries = 15", "queries = 16", "all"),
        ('"hau-eng"]', '"hau-eng", "yor-eng"]', "all"),
        ("contrastive = []", 'contrastive = ["training.learning_rate=1e-4"]', "trained"),
        ("total = 3", "total = 4", "trained"),
        ("parallel = true", "parallel = false", "none"),
        ("pairs = [1, 2, 3]", "pairs = [1, 3]", "none"),
        ('name = "tiny"', 'name = "other"', "none"),
        ("seeds = [1, 2]", "seeds = [2, 1]", "none"),
    ],
)
def test_fingerprints_follow_what_scores_depend_on(study_file, old, new, changes):
    """Guards against scores of other settings that are taken for these, and trainings that are done again for nothing."""
    before = set(fingerprints(study_file).values())
    zero_shot = next(value for training, value in fingerprints(study_file).items() if not training.steps)
    edit(study_file, old, new)
    after = set(fingerprints(study_file).values())
    if changes == "all":
        assert not before & after
    elif changes == "trained":
        assert before & after == {zero_shot}
    else:
        assert after <= before


def test_fingerprints_follow_bitext_and_base(study_file, tmp_path, tiny_model):
    """Guards against a record of another bitext, or of other weights in the same folder, that passes for this one's."""
    (tmp_path / "english.txt").write_text("".join(f"word {n}\n" for n in range(30)))
    (tmp_path / "swahili.txt").write_text("".join(f"neno {n}\n" for n in range(30)))
    edit(
        tmp_path / "recipe.toml",
        '"source" = "cldr:swh", "limit" = 100',
        'source = "english.txt", translation = "swahili.txt", language = "swh", format = "moses"',
    )
    before = fingerprints(study_file)
    edit(tmp_path / "swahili.txt", "neno 7\n", "neno saba\n")
    jobs._bitext.cache_clear()
    after = fingerprints(study_file)
    assert all((before[each] == after[each]) == ("swh" not in each.languages) for each in before)


def test_a_single_language_is_read_in_no_third(study_file):
    """Guards against a hybrid approach that cannot begin with one pair."""
    edit(study_file, "contrastive = []", 'contrastive = ["batches.cross_lingual=0.5", "batches.multilingual=0.5"]')
    shares = {
        len(job.training.languages): job.recipe.batches.multilingual for job in load_study(study_file).jobs.values()
    }
    assert (shares[1], shares[2], shares[3]) == (0, 0.5, 0.5)


def test_records_of_earlier_versions_are_found(study_file, tmp_path):
    """Guards against trainings that are made again because a recipe has keys that it did not have then."""
    job = next(job for job in load_study(study_file).jobs.values() if job.training.steps)
    earlier = json.loads(json.dumps(job.determined_by))
    del earlier["recipe"]["objective"]["rank"], earlier["recipe"]["batches"]["passages"]
    cells = CellFolder(tmp_path / "cells")
    cells.write(record(replace(job, fingerprint=fingerprint_of(earlier)), {}, determined_by=earlier))
    found = cells.read(job.fingerprint)
    assert (found.fingerprint, found.determined_by) == (job.fingerprint, earlier)
    assert cells.read("0" * 16) is None


def test_damaged_records_are_refused(study_file, tmp_path):
    """Guards against a record that was edited or cut short, and that a table is made of."""
    study, cells = load_study(study_file), CellFolder(tmp_path / "cells")
    job = next(iter(study.jobs.values()))
    cells.write(record(job, {"CLDRNameRetrieval": {"swh-eng": [0.25, 0.5]}}))
    path = cells.path(job.fingerprint)
    whole = path.read_text()
    for damaged in (whole[:100], whole.replace("[0.25, 0.5]", "[0.25]", 1), whole.replace(job.fingerprint, "0" * 16)):
        path.write_text(damaged)
        with pytest.raises(InputError, match=r"remove it and run the command again"):
            read_records(study, cells)
