"""The folder to upload: the evaluated weights, no code, and loadable by those who do not have this package."""

import json

import pytest

from optical_mteb.submission import Verdict
from optical_mteb.submission.hub_folder import check_hub_folder, write_hub_folder
from optical_mteb.submission.isolated import check_isolated
from optical_mteb.submission.published import as_published, model_source, published_meta, source_name


@pytest.fixture
def prepared(tmp_path, student):
    """The student as published, its metadata, and its folder."""
    published = as_published("tiny-student", hub_id="a/b")
    meta = published_meta(published)
    write_hub_folder(published, meta, tmp_path / "hub")
    return published, meta, tmp_path / "hub"


def change(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def own_modules(folder):
    path = folder / "modules.json"
    modules = json.loads(path.read_text())
    modules[0]["type"] = "optical_mteb.bases.Transformer"
    path.write_text(json.dumps(modules))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda folder: (folder / "modeling.py").write_text(""), "modeling.py is neither weights nor settings"),
        (lambda folder: (folder / "model.bin").write_bytes(b""), "model.bin is neither weights nor settings"),
        (
            lambda folder: change(folder / "config_sentence_transformers.json", "query: ", "question: "),
            "evaluated were",
        ),
        (own_modules, "modules.json names optical_mteb.bases.Transformer"),
        (lambda folder: change(folder / "README.md", "## Data disclosure", "## Data"), "does not disclose"),
    ],
)
def test_a_fault_is_found(prepared, fault, reason):
    """Guards against an upload that others cannot load, or that is not what was evaluated."""
    published, _, folder = prepared
    assert {check.verdict for check in check_hub_folder(folder, published)} == {Verdict.OK}
    fault(folder)
    assert reason in " ".join(check.detail for check in check_hub_folder(folder, published))


def test_a_source_that_needs_this_package_fails(tmp_path, prepared):
    """Guards against a source that imports only where this package is installed."""
    _, meta, folder = prepared
    source = tmp_path / source_name(meta)
    source.write_text("import optical_mteb.errors\n" + model_source(meta))
    check = check_isolated(source, folder, meta)
    assert check.verdict is Verdict.FAILED
    assert "optical_mteb" in check.detail
