"""Late interaction: what an index finds beside exhaustive MaxSim, changes, and mistakes."""

import numpy as np
import pytest

from optical_mteb.bases import as_late_interaction
from optical_mteb.errors import InputError
from optical_mteb.index import FaissIndex
from optical_mteb.index.changes import add_documents, remove_documents
from optical_mteb.index.corpus import Corpus
from optical_mteb.index.encoder import load_encoder
from optical_mteb.index.maxsim import maxsim as scores_of
from optical_mteb.index.rows import Rows, comparable
from optical_mteb.index.verify import verify
from tests.conftest import build_tiny_model
from tests.index.conftest import WORDS, record_again, sentence
from tests.index.processes import index_texts, stub_encoder, stub_token_encoder, stub_tokens

TEXTS = [sentence(number) for number in range(180)]
NO_TOKEN = np.empty((0, 32))
QUERIES = [f"{WORDS[number % 12]} {WORDS[number % 7]} {number}" for number in range(40)]


def maxsim(query, document):
    """A plain loop over the tokens of both."""
    return sum(max(float(one @ other) for other in document) for one in query)


def ranked(queries, documents, k):
    """Scores and positions of the best documents by MaxSim with all of them."""
    scores = np.array([[(query @ document.T).max(1).sum() for document in documents] for query in queries])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), order


def recall_of(index, queries, documents, k=10):
    """Share of documents found that are as good as the exhaustive ranking's k-th."""
    best, _ = ranked(queries, documents, k)
    found = [
        [maxsim(query, documents[place]) for place in each.positions]
        for query, each in zip(queries, index.search(queries, k), strict=True)
    ]
    return np.mean(np.array(found) >= best[:, -1:] - 1e-4)


@pytest.fixture(scope="session")
def late_folder(tmp_path_factory):
    """A tiny late-interaction student, as it is saved."""
    folder = tmp_path_factory.mktemp("late") / "tiny"
    as_late_interaction(build_tiny_model()).save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.fixture
def build(tmp_path):
    """Builds over texts by the stub; returns the index and what was said."""

    def built(spec, texts=TEXTS, folder="index", encoder=None, **more):
        said, target = [], tmp_path / folder
        encoder = encoder or stub_token_encoder()
        index_texts(target, texts, spec, encoder, queries=QUERIES, say=said.append, **more)
        return FaissIndex.open(target, encoder=encoder), said

    return built


@pytest.mark.parametrize("spec", ["flat", "flat+refine"])
def test_search_is_exhaustive_maxsim(late_folder, tmp_path, spec):
    """Guards against rows in another order, with another prompt, of special tokens, or given to the wrong document.

    The scores are those of the model's own `similarity`.
    """
    encoder, folder = load_encoder(str(late_folder), device="cpu"), tmp_path / "index"
    texts = TEXTS[:50]
    index_texts(folder, texts, spec, encoder, shard_size=20, recall=1.0)
    documents = encoder.model.encode_document(texts, convert_to_numpy=True)
    queries = encoder.model.encode_query(QUERIES[:6], convert_to_numpy=True)
    index = FaissIndex.open(folder, device="cpu")
    assert index.manifest.tokens == sum(map(len, documents))
    assert (index.manifest.metric, index.manifest.spec, index.manifest.format) == ("maxsim", spec, 2)
    # All documents are scored.
    every = index.manifest.tuning.model_copy(update={"candidates": 50})
    index.manifest = index.manifest.model_copy(update={"tuning": every})
    similarity = encoder.model.similarity(queries, documents).numpy()
    for row, each in enumerate(index.search(QUERIES[:6], 10)):
        assert each.scores == pytest.approx(np.sort(similarity[row])[:-11:-1], abs=2e-2)
        assert similarity[row][each.positions] == pytest.approx(each.scores, abs=2e-2)
        assert each.ids == [f"d{place}" for place in each.positions]
    assert index.manifest.corpus.truncated == 0
    assert encoder.documents(["rain " * 60, "rain"], encoder.precision(["rain"])).truncated == 1


@pytest.mark.parametrize("most", [5, 40])
def test_maxsim_of_many_pairs_is_that_of_each(monkeypatch, most):
    """Guards against the score of another document, or of one without a row, and an endless loop over one of many rows."""
    monkeypatch.setattr("optical_mteb.index.maxsim.ROWS_AT_ONCE", most)
    queries, documents = ([stub_tokens(text) for text in texts] for texts in ([*QUERIES[:3], "."], ["..", *TEXTS[:30]]))
    found = scores_of(Rows.joined(queries), Rows.joined([rows.astype(np.float16) for rows in documents]))
    for row, query in enumerate(queries[:3]):
        assert found[row, 1:] == pytest.approx([maxsim(query, document) for document in documents[1:]], abs=1e-4)
    assert np.isneginf(found[3]).all()
    assert np.isneginf(found[:, 0]).all()


@pytest.mark.long
@pytest.mark.parametrize("spec", ["flat+refine", "hnsw16", "ivf8", "ivf8,sq8+refine", "ivf4,pq8x4+refine"])
def test_the_recall_on_record_is_that_against_exhaustive_maxsim(build, spec):
    """Guards against parameters that were not measured, score every document, or cost as much for a lower target."""
    index, _ = build(spec, recall=0.95)
    tuning = index.manifest.tuning
    assert index.manifest.spec == f"{spec.removesuffix('+refine')}+refine"
    assert tuning.recall >= 0.95
    queries, documents = [stub_tokens(text) for text in QUERIES], [stub_tokens(text) for text in TEXTS]
    assert recall_of(index, queries, documents) == pytest.approx(tuning.recall, abs=1e-4)
    assert (tuning.queries, tuning.sample, tuning.depth) == (40, "queries", 10)
    assert (tuning.nprobe is None, tuning.ef_search is None) == (not spec.startswith("ivf"), spec != "hnsw16")
    low = build(spec, recall=0.5, folder="low")[0].manifest.tuning
    assert low.candidates < tuning.candidates
    assert low.candidates < len(TEXTS) / 4


def test_a_target_out_of_reach_is_said(build, monkeypatch):
    """Guards against an index that claims the recall that was asked for."""
    monkeypatch.setattr("optical_mteb.index.tuning.LATE_CANDIDATES", 1)
    index, said = build("ivf4,pq1x4+refine", recall=1.0)
    found = index.manifest.tuning.recall
    assert found < 0.9
    assert said[-1] == (
        f"ivf4,pq1x4+refine: finds {found:.3f} of the exact best 10 at most, 1 was asked for; a code of more bytes finds more"
    )


@pytest.mark.long
def test_few_documents_are_compared_and_nothing_is_tuned(build, monkeypatch):
    """Guards against a build that takes longer for its tuning than for its encoding."""
    monkeypatch.setattr("optical_mteb.index.assembly.tune", None)
    index, said = build("auto")
    tokens = sum(len(stub_tokens(text)) for text in TEXTS)
    assert said == [f"auto: flat, as {tokens:,} tokens are few enough for exact search"]
    assert (index.manifest.tokens, index.manifest.tuning.recall, index.manifest.tuning.queries) == (tokens, 1, 0)


@pytest.mark.long
@pytest.mark.parametrize("spec", ["flat", "flat+refine", "ivf4"])
def test_more_than_there_are_give_all_that_have_a_token(build, spec):
    """Guards against a rank without a document, one without a token, and rows read from a shard that has none."""
    texts = [*TEXTS[:30], *["."] * 10, "...", *TEXTS[30:60]]
    index, said = build(spec, texts=texts, shard_size=10, depth=100)
    assert said[0].startswith("left out 11 of 71 documents, the first 'd30': their vectors are zero or not finite")
    assert len(index) == 60
    (ranking,) = index.search(["rain maize"], 100)
    assert sorted(ranking.positions) == [place for place in range(71) if not 30 <= place <= 40]
    for place in (0, 29, 41, 70):
        assert index.search([stub_tokens(texts[place])], 1)[0].ids == [f"d{place}"]
    assert index.own_rows(np.array([29, 41])).lengths.tolist() == [len(stub_tokens(texts[n])) for n in (29, 41)]
    documents = [stub_tokens(texts[place]) for place in ranking.positions]
    (query,) = [stub_tokens("rain maize")]
    assert ranking.scores == pytest.approx([maxsim(query, document) for document in documents], abs=1e-2)
    assert (np.diff(ranking.scores) <= 0).all()
    assert all(check.passed for check in verify(index.folder))
    assert "is complete already" in build(spec, texts=texts, shard_size=10, depth=100)[1][0]
    with pytest.raises(InputError, match="no document has a vector that is finite and not zero"):
        build(spec.replace("4", "1"), texts=[".", ". ."], folder="bare")


def test_a_query_without_a_token_finds_nothing(build):
    """Guards against a crash, or a ranking by no score."""
    index, _ = build("flat")
    first, second = index.search([".", "rain"], 3)
    assert (first.ids, len(second.ids)) == ([], 3)
    assert index.search([], 3) == []


@pytest.mark.long
def test_the_mean_of_a_model_that_scores_by_it(build, monkeypatch):
    """Guards against scores that grow with the query where the model's do not."""
    plain, _ = build("flat", folder="plain")
    monkeypatch.setattr("tests.index.processes.StubTokenEncoder.metric", "meanmaxsim")
    for spec in ("flat", "hnsw16"):
        mean, _ = build(spec, folder=f"mean-{spec}", recall=1.0)
        one, other = (index.search(["rain maize salt"], 5)[0] for index in (plain, mean))
        assert other.ids == one.ids
        assert other.scores == pytest.approx(one.scores / 3, abs=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("spec", ["flat", "flat+refine", "ivf4,sq8"])
def test_documents_come_and_go(build, spec):
    """Guards against rows of another document after a change, and against an index that is not as if built so."""
    index, _ = build(spec, texts=TEXTS[:100], recall=1.0)
    new = Corpus.of(
        ["new", "bare", *(f"d{number}" for number in range(100, 120))], ["rain rain moon", ".", *TEXTS[100:120]]
    )
    manifest = add_documents(index.folder, new, encoder=stub_token_encoder(), say=str)
    assert (manifest.count, manifest.removed) == (122, 1)
    remove_documents(index.folder, ["d3", "d110"])
    changed = FaissIndex.open(index.folder, encoder=stub_token_encoder())
    kept = [*TEXTS[:3], *TEXTS[4:100], "rain rain moon", *TEXTS[100:110], *TEXTS[111:120]]
    assert (len(changed), changed.manifest.tokens) == (
        len(kept),
        sum(len(stub_tokens(t)) for t in [*kept, TEXTS[3], TEXTS[110]]),
    )
    queries = [stub_tokens(text) for text in QUERIES[:10]]
    scores, _ = ranked(queries, [stub_tokens(text) for text in kept], 3)
    found = changed.search(queries, 3)
    # The parameters are those that the first documents needed.
    assert (
        np.mean([each.scores == pytest.approx(own, abs=1e-2) for each, own in zip(found, scores, strict=True)]) >= 0.8
    )
    assert changed.search([stub_tokens("rain rain moon")], 1)[0].ids == ["new"]
    assert all(check.passed for check in verify(index.folder))


@pytest.mark.long
@pytest.mark.parametrize(
    "edit", [lambda offsets: offsets[:-1], lambda offsets: -offsets, lambda offsets: offsets * 1.0]
)
def test_offsets_of_other_documents_are_refused(build, edit):
    """Guards against tokens of one document that count as another's."""
    index, _ = build("flat")
    path = index.folder / "offsets.npy"
    np.save(path, edit(np.load(path)))
    record_again(index.folder, "offsets.npy")
    with pytest.raises(InputError, match=r"offsets.npy: does not say where the [\d,]+ tokens of 180 documents begin"):
        FaissIndex.open(index.folder)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (["rain", np.ones((1, 32))], "expected queries that are all texts"),
        ([np.ones((2, 31))], r"token vectors of shape \(n, 32\), found \(2, 31\)"),
        (np.ones((2, 32)), r"token vectors of shape \(n, 32\), found \(32,\)"),
        (
            [NO_TOKEN, np.ones((2, 32))],
            "stub: gives query 2 a token vector of length 5.66, expected length 1; end the model",
        ),
        ([NO_TOKEN, np.full((2, 32), np.nan)], "query 2: the vector of a token is not finite; take it out"),
    ],
)
def test_bad_queries_are_one_line(build, queries, message):
    """Guards against a traceback, the name of another query, and scores that grow with a vector's length."""
    index, _ = build("flat", texts=TEXTS[:20])
    with pytest.raises(InputError, match=message):
        index.search(queries)


def test_the_model_must_be_of_the_kind_of_the_index(build, tmp_path):
    """Guards against a query encoded by a model that gives vectors of texts, and the other way round."""
    index, _ = build("flat")
    index_texts(tmp_path / "dense", TEXTS, encoder=stub_encoder(max_tokens=None))
    with pytest.raises(InputError, match="holds a vector for each token, and stub gives one a text; build the index"):
        FaissIndex.open(index.folder, encoder=stub_encoder(max_tokens=None)).search(["rain"])
    with pytest.raises(InputError, match="holds one vector a text, and stub gives one for each token"):
        FaissIndex.open(tmp_path / "dense", encoder=stub_token_encoder()).search(["rain"])


def test_vectors_of_texts_and_of_tokens_are_kept_apart(build, tmp_path):
    """Guards against a complete dense index, or its shards, taken for one of tokens by the same model."""
    build("flat")
    with pytest.raises(InputError, match=r"differs in .*what has a vector"):
        index_texts(tmp_path / "index", TEXTS)
    index_texts(tmp_path / "dense", TEXTS)
    assert FaissIndex.open(tmp_path / "dense").manifest.tokens is None
    with pytest.raises(InputError, match=r"differs in .*what has a vector"):
        build("flat", folder="dense")
    _, said = build("flat")
    assert said == [f"{tmp_path / 'index'}: is complete already: flat, 180 documents"]


def test_a_document_with_a_token_that_cannot_be_compared_has_none():
    """Guards against one NaN of one token that ends a build."""
    rows = Rows.joined([np.eye(2, dtype=np.float32) * value for value in (1, [[1], [np.nan]], [[0], [1]], 1)])
    kept = comparable(rows, list("abcd"), late=True, model="m")
    assert (kept.lengths.tolist(), kept.vectors.tolist()) == ([2, 0, 0, 2], 2 * np.eye(2).tolist())
    assert kept.bare().tolist() == [1, 2]
