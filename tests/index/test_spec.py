"""Index specs: what they read, print and choose."""

import faiss
import pytest

from optical_mteb.errors import InputError
from optical_mteb.index.choice import choose, parse_memory
from optical_mteb.index.faiss_file import new_index
from optical_mteb.index.spec import IndexSpec

SPECS = ["flat", "hnsw32", "hnsw32,sq8", "ivf4096", "ivf4096,sq8", "ivf4096,pq48"]


@pytest.mark.parametrize("text", [*SPECS, *(f"{spec}+refine" for spec in SPECS), "ivf4096,pq192x4+refine"])
def test_specs_print_as_they_parse(text):
    """Guards against a spec that changes on its way through the parser."""
    assert str(IndexSpec.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "Flat", "flat,sq8", "hnsw", "hnsw032", "hnsw32,pq8", "ivf,sq8", "ivf16,pq", "ivf16,pq8x2+refine", "ivf16,sq4", "ivf16+rerank", " flat", "ivf16,sq8+refine+refine"],
)  # fmt: skip
def test_other_texts_are_refused_with_examples(text):
    """Guards against a misspelt spec that is taken for another one, and codes that find too little by themselves."""
    with pytest.raises(InputError, match="ivf4096,pq48"):
        IndexSpec.parse(text)
    with pytest.raises(InputError, match=r"find too little by themselves; use ivf16,pq8x4\+refine"):
        IndexSpec.parse("ivf16,pq8x4")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("flat", faiss.IndexFlat),
        ("hnsw8", faiss.IndexHNSWFlat),
        ("hnsw8,sq8", faiss.IndexHNSWSQ),
        ("ivf4", faiss.IndexIVFFlat),
        ("ivf4,sq8", faiss.IndexIVFScalarQuantizer),
        ("ivf4,pq8", faiss.IndexIVFPQ),
        ("ivf4,pq8x4+refine", faiss.IndexIVFPQFastScan),
    ],
)
def test_faiss_makes_the_index_of_a_spec_by_inner_product(text, kind):
    """Guards against FAISS's default of Euclidean distance, and its minutes of training for codes that nobody compares."""
    index = new_index(IndexSpec.parse(text), 32, seed=3)
    assert type(index) is kind
    assert index.metric_type == faiss.METRIC_INNER_PRODUCT
    if isinstance(index, faiss.IndexIVF):
        assert (index.cp.seed, index.quantizer.metric_type) == (3, faiss.METRIC_INNER_PRODUCT)
    if isinstance(index, faiss.IndexIVFPQ):
        assert not index.do_polysemous_training
        assert index.pq.code_size == 8


@pytest.mark.parametrize(
    ("text", "width", "count", "expected"),
    [
        ("ivf16,pq7", 32, 1000, "use pq8"),
        ("ivf64", 32, 63, "64 documents at least, found 63"),
        ("ivf4,pq8", 32, 255, "256 documents at least"),
        ("ivf4,pq7x4+refine", 32, 1000, "use pq8x4"),
        ("ivf4,pq8x4+refine", 32, 15, "16 documents at least"),
        ("hnsw1", 32, 1000, "hnsw32"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(text, width, count, expected):
    """Guards against a build that ends hours later in an error of FAISS; one document more than too few is enough."""
    with pytest.raises(InputError, match=expected):
        IndexSpec.parse(text).check(width, count)
    if "documents at least" in expected:
        IndexSpec.parse(text).check(width, count + 1)


@pytest.mark.long
def test_estimated_memory_is_that_of_faiss(collection):
    """Guards against an estimate that counts the vectors that stay on disk, or none of the links or centroids."""
    for text in ("flat", "ivf16,sq8", "ivf16,pq8", "ivf16,pq16x4+refine", "hnsw16", "hnsw16,sq8"):
        spec = IndexSpec.parse(text)
        index = new_index(spec, 32, seed=0)
        index.train(collection.vectors)
        index.add(collection.vectors)
        written = len(faiss.serialize_index(index))
        # The centroids of a product quantizer weigh something in so small an index.
        own = 4 * spec.codec.centroids * 32 if spec.codec.parts else 0
        assert spec.memory(32, 2000) + own == pytest.approx(written, rel=0.06)


@pytest.mark.parametrize(
    ("count", "memory", "recall", "tokens", "expected", "reason"),
    [
        (20_000, 10**9, 0.99, None, "flat", "20,000 documents are few enough for exact search"),
        (1_000_000, 10**9, 0.95, None, "ivf4096,sq8", "1,000,000 documents of 384 components fit 1 GB with"),
        (1_000_000, 10**9, 0.99, None, "ivf4096,pq192x4+refine", "1,000,000 documents"),
        (1_000_000, 2 * 10**8, 0.95, None, "ivf4096,pq96+refine", "1,000,000 documents"),
        (5_000_000, 6 * 10**8, 0.95, None, "ivf8192,pq96+refine", "5,000,000 documents"),
        (20_000, 10**7, 0.9, None, "ivf512,sq8", "20,000 documents of 384 components fit 10 MB with one byte"),
        (1_000, 4 * 10**5, 0.9, None, "ivf16,pq96+refine", "1,000 documents"),
        (180, 10**9, 0.99, 50_000, "flat", "50,000 tokens are few enough for exact search"),
        (180, 10**9, 0.99, 50_001, "flat+refine", "180 documents are few enough for exact search, scored again by"),
        (60_000, 10**9, 0.9, 10**7, "ivf1024,pq192x4+refine", "60,000 documents of 384 components fit 1 GB with 96"),
    ],
)
def test_the_choice_goes_by_count_memory_recall_and_tokens(count, memory, recall, tokens, expected, reason):
    """Guards against a choice that does not fit, that nobody can retrace, or takes a code where exact search is quick."""
    spec, why = choose(count, 384, memory=memory, recall=recall, tokens=tokens)
    assert str(spec) == expected
    assert spec.memory(384, count) <= memory
    spec.check(384, count)
    assert why.startswith(f"auto: {expected}, as {reason}")
    assert "\n" not in why


def test_a_budget_that_nothing_fits_is_refused():
    """Guards against an index that is built all the same, and fills the memory."""
    with pytest.raises(InputError, match="--memory"):
        choose(1_000_000, 384, memory=10**6, recall=0.9)


def test_budgets():
    """Guards against a unit that is a thousand times off."""
    for text, expected in {"4GB": 4e9, "1.5 GB": 1.5e9, "500MB": 5e8, "10kB": 1e4, "7B": 7}.items():
        assert parse_memory(text) == expected
    for text in ("4", "GB", "4 gigabytes", "-4GB", "0GB"):
        with pytest.raises(InputError, match="4GB"):
            parse_memory(text)
