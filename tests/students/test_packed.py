"""Students that ship with the package, as what they are beside their base."""

import json

import mteb
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

from optical_mteb.bases import as_late_interaction, base_revision
from optical_mteb.errors import InputError
from optical_mteb.registry import register
from optical_mteb.students import packed, read_student, student_folder, student_path
from optical_mteb.students.sidecar import Sidecar
from tests.conftest import build_tiny_model
from tests.test_registry import sidecar_of

TEXTS = ["query: habari ya asubuhi", "query: good morning"]


@pytest.fixture
def trained(tiny_base, tmp_path):
    """Checkpoint of a student whose last layer differs from the base's."""
    model = SentenceTransformer(str(tiny_base), device="cpu")
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.transformers_model.encoder.layer[-1].parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        model.transformers_model.get_input_embeddings().weight[[7, 9]] += 0.1
    folder = tmp_path / "trained"
    model.save_pretrained(str(folder), create_model_card=False)
    sidecar_of(base_revision(str(folder)), name="optical-student", base=str(tiny_base)).write(folder)
    return folder


@pytest.fixture
def shipped(trained, tmp_path, monkeypatch):
    """The same as a student that the package brings."""
    record = packed.pack(trained, tmp_path / "packed")
    monkeypatch.setattr(packed, "shipped_packs", lambda: {"optical-student": record})
    monkeypatch.setattr("optical_mteb.students.store.shipped_packs", lambda: {"optical-student": record})
    return record


def embeddings(folder):
    """Of two texts, by a saved model."""
    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS)


def test_differences_are_restored_to_half_a_step():
    """Guards against rows that did not change, or less than others, swapped halves of a byte, and blocks of zeros as NaN."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((6, 64)).astype(np.float32)
    own = base.copy()
    own[[1, 4]] += rng.standard_normal((2, 64)).astype(np.float32) * np.float32([[100], [1e-3]])
    own[4, 32:] = base[4, 32:]
    parts = packed._difference(own, base, None)
    assert packed._difference(own, base, 1)[packed.ROWS].tolist() == [1]
    assert parts[packed.ROWS].tolist() == [1, 4]
    assert (parts[packed.STEPS].shape, parts[packed.SCALES].shape) == ((2, 32), (2, 2))
    found = packed._restored_difference(parts[packed.STEPS], parts[packed.SCALES])
    # A scale is rounded to float16, which moves seven steps of it by up to seven 2,048ths.
    bound = np.repeat(parts[packed.SCALES].astype(np.float32), 32, axis=1) * 0.51
    assert (np.abs(found - (own - base)[[1, 4]]) <= bound).all()


def test_a_student_comes_back_nearly_as_it_was(trained, shipped, tiny_base):
    """Guards against tensors that are kept twice, lost or given back to the base."""
    kept = load_file(shipped.with_suffix(".safetensors"))
    assert {name for name in kept if "layer.0." in name} == set()
    (rows,) = (kept[name] for name in kept if "word_embeddings" in name and name.endswith(packed.ROWS))
    assert rows.tolist() == [7, 9]
    folder = student_folder("optical-student")
    ours, before, base = embeddings(folder), embeddings(trained), embeddings(tiny_base)
    assert (ours * before).sum(1).min() > 0.998
    assert (ours * base).sum(1).max() < 0.99
    assert Sidecar.read(folder).weights == base_revision(str(folder))


def test_a_late_interaction_student_comes_back_as_one(trained, tmp_path):
    """Guards against a student by MaxSim that loses its scoring mask or its kind, or is put together from other modules."""
    late = tmp_path / "late"
    as_late_interaction(SentenceTransformer(str(trained), device="cpu")).save_pretrained(str(late))
    Sidecar.read(trained).model_copy(update={"kind": "late_interaction"}).write(late)
    back = tmp_path / "back"
    back.mkdir()
    packed.unpack(packed.pack(late, tmp_path / "packed"), back)
    assert Sidecar.read(back).kind == "late_interaction"
    before, after = (MultiVectorEncoder(str(folder), device="cpu").encode_query(TEXTS) for folder in (late, back))
    for ours, theirs in zip(after, before, strict=True):
        assert ours.shape == theirs.shape
        assert (ours * theirs).sum(1).min() > 0.998


def test_packing_twice_gives_the_same_files(trained, shipped, tmp_path):
    """Guards against a revision that depends on the order in which a library writes."""
    again = packed.pack(trained, tmp_path / "again")
    for suffix in (".json", ".safetensors"):
        assert again.with_suffix(suffix).read_bytes() == shipped.with_suffix(suffix).read_bytes()


def test_mteb_runs_it_after_installation_alone(shipped, own_home):
    """Guards against a shipped student that must be trained first, and one whose revision changes when it is unpacked."""
    register()
    meta = mteb.get_model_meta("optical-student")
    assert meta.revision == read_student("optical-student").weights == json.loads(shipped.read_text())["weights"]
    model = mteb.get_model("optical-student", device="cpu")
    assert isinstance(model, mteb.SentenceTransformerEncoderWrapper)
    assert mteb.get_model_meta("optical-student").revision == meta.revision
    assert not student_path("optical-student").exists()


def test_one_in_the_store_goes_first(trained, shipped):
    """Guards against a training of the user's that the package's student hides."""
    build_tiny_model(seed=5).save_pretrained(str(student_path("optical-student")), create_model_card=False)
    own = Sidecar.read(trained).model_copy(update={"weights": base_revision(str(student_path("optical-student")))})
    own.write(student_path("optical-student"))
    assert read_student("optical-student") == own
    assert student_folder("optical-student") == student_path("optical-student")


def test_another_base_is_refused(shipped, tiny_base, tmp_path):
    """Guards against layers that are put on a base which they were not trained on; nothing is left behind."""
    other = tmp_path / "other"
    build_tiny_model(seed=7).save_pretrained(str(other), create_model_card=False)
    shipped.write_text(json.dumps(json.loads(shipped.read_text()) | {"base": str(other)}))
    with pytest.raises(InputError, match="is not the base that optical-student was trained from"):
        student_folder("optical-student")
    assert not list((tmp_path / "home").rglob("model.safetensors"))


def test_what_cannot_be_packed_is_refused(trained, tmp_path):
    """Guards against a student of fewer layers that comes back with its base's."""
    model = SentenceTransformer(str(trained), device="cpu")
    model.transformers_model.encoder.layer = model.transformers_model.encoder.layer[:1]
    model.save_pretrained(str(tmp_path / "shallow"), create_model_card=False)
    Sidecar.read(trained).write(tmp_path / "shallow")
    with pytest.raises(InputError, match="has other tensors than its base"):
        packed.pack(tmp_path / "shallow", tmp_path / "packed")


def test_a_pack_that_names_files_elsewhere_is_refused(trained, tmp_path):
    """Guards against a pack that writes outside of the folder of its student."""
    record = packed.pack(trained, tmp_path / "packed")
    path = record.with_suffix(".safetensors")
    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()[packed.ABOUT])
    about["settings"]["../evil.json"] = "{}"
    save_file(load_file(path), path, metadata={packed.ABOUT: json.dumps(about)})
    (tmp_path / "unpacked").mkdir()
    with pytest.raises(InputError, match=r"names a file outside of the student, '\.\./evil\.json'"):
        packed.unpack(record, tmp_path / "unpacked")
    assert not (tmp_path / "evil.json").exists()
