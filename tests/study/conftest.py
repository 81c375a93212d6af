"""A study that takes seconds: a tiny base, names from CLDR, one task."""

from __future__ import annotations

from pathlib import Path

import pytest

RECIPE = """
name = "tiny-student"

[student]
base = "{base}"
prompt = "query"
max_tokens = 32

[teacher]
base = "{base}"
prompt = "document"

[[bitext]]
source = "cldr:swh"
limit = 100

[[bitext]]
source = "cldr:som"
limit = 100

[[bitext]]
source = "cldr:fra"
limit = 100

[objective.contrastive]

[training]
steps = 3
batch_size = 8
learning_rate = 1e-3
precision = "float32"
log_every = 1
"""

STUDY = """
name = "tiny"
recipe = "recipe.toml"
pairs = [1, 2, 3]
high_resource = ["fra"]
seeds = [1, 2]

[orders]
given = ["swh", "som", "fra"]

[budgets]
total = 3

[approaches]
zero-shot = []
contrastive = []

[[tasks]]
name = "CLDRNameRetrieval"
subsets = ["swh-eng", "som-eng", "fra-eng", "hau-eng"]
queries = 15
documents = 80
parallel = true
"""


@pytest.fixture
def study_file(tmp_path: Path, tiny_base: Path) -> Path:
    """The study's file, beside its recipe."""
    (tmp_path / "recipe.toml").write_text(RECIPE.format(base=tiny_base))
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def edit(path: Path, old: str, new: str) -> Path:
    """Replace text in a file that has it once."""
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))
    return path
