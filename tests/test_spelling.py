"""Keys as the ecosystem spells them, and as earlier versions of this package did."""

import json

import pytest

from optical_mteb.collection.own_retrieval import TaskFile
from optical_mteb.errors import InputError
from optical_mteb.students.sidecar import Sidecar, shipped_packs
from optical_mteb.training.checkpoint_record import RunRecord
from optical_mteb.training.losses.token_transport import TokenTransport
from optical_mteb.training.recipe import read_recipe
from tests.conftest import tiny_recipe

TABLES = tiny_recipe("b")


def recipe(license_key, center_key):
    return read_recipe(TABLES | {license_key: "mit", "objective": {"optical": {center_key: True}}})


def test_both_spellings_are_read_and_one_is_written():
    """Guards against old recipes, task files, records and packs that are refused, and the old spelling written anew."""
    new, old = recipe("license", "center"), recipe("licence", "centre")
    assert new == old
    written = new.model_dump(mode="json")
    assert (written["license"], written["objective"]["optical"]["center"]) == ("mit", True)
    earlier = json.loads(json.dumps(written).replace('"center"', '"centre"'))
    earlier["licence"] = earlier.pop("license")
    assert new.is_recorded_as(earlier)
    runs = [
        RunRecord(recipe=each, bitext_fingerprint="f", base_revision="r", teacher_revision="t")
        for each in (written, earlier)
    ]
    assert runs[0].difference(runs[1]) is None, "an interrupted training continues"
    for key in ("license", "licence"):
        task = TaskFile.model_validate(
            {"name": "ARetrieval", "query_language": "swh", "document_language": "eng", key: "mit"}
        )
        assert task.license == "mit"
    for path in shipped_packs().values():
        table = json.loads(path.read_text())
        given = table.pop("license", None) or table.pop("licence", None)
        for key in ("license", "licence"):
            assert '"licence"' not in Sidecar.model_validate(table | {key: given}).model_dump_json()
    assert TokenTransport(centre=True).settings() == TokenTransport(center=True).settings()


def test_both_spellings_at_once_are_refused():
    """Guards against two values for one key, of which one is dropped without a word."""
    with pytest.raises(InputError, match="unknown key 'licence'; did you mean 'license'"):
        read_recipe(TABLES | {"license": "mit", "licence": "cc0-1.0", "objective": {"optical": {}}})
