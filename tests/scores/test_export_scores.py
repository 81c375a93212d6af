"""Scores for other programs: files that they read, scored by them to the numbers of the result."""

import csv
import json
import shutil
from statistics import fmean

import pytest
import pytrec_eval

from optical_mteb.errors import InputError
from optical_mteb.scores.export import export_scores
from optical_mteb.scores.results import find_results
from optical_mteb.tasks import CLDRNameRetrieval
from tests.scores.conftest import change, evaluate_tiny, forget

TASK = "CLDRNameRetrieval"
SUBSETS = ["por-eng", "zul-eng"]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, tiny_base):
    """A folder with results and predictions of a tiny model, and the rows of the result by subset."""
    folder = tmp_path_factory.mktemp("evaluated")
    # So that what is exported has to be what MTEB scored, not what the model found.
    content = json.loads(evaluate_tiny(folder, tiny_base, SUBSETS, skip_first_result=True).read_text())
    return folder, {row["hf_subset"]: row for row in content["scores"]["test"]}


@pytest.fixture
def export(evaluated, tmp_path, monkeypatch):
    """Exports the results of the tiny model; returns the folder."""
    folder, _ = evaluated
    monkeypatch.setattr(CLDRNameRetrieval, "skip_first_result", True)

    def run(file_format, *, results=None, **options):
        found = find_results("a/tiny", results or folder / "results")
        options = {"predictions": [folder / "predictions"], "say": lambda _: None, **options}
        export_scores(found, file_format, tmp_path / "out" / file_format, **options)
        return tmp_path / "out" / file_format

    return run


def read_trec(folder):
    """Run and judgements of a folder by a plain loop over the files; documents are ranked, and queries judged."""
    run, qrels = {}, {}
    for line in (folder / "test.run.txt").read_text().splitlines():
        query, q0, document, rank, score, tag = line.split(" ")
        assert (q0, tag) == ("Q0", "a/tiny")
        assert len(run.setdefault(query, {})) == int(rank) - 1
        run[query][document] = float(score)
    for line in (folder / "test.qrels.txt").read_text().splitlines():
        query, _, document, grade = line.split(" ")
        qrels.setdefault(query, {})[document] = int(grade)
    assert run.keys() == qrels.keys()
    assert all(list(ranked.values()) == sorted(ranked.values(), reverse=True) for ranked in run.values())
    return run, qrels


def by_pytrec_eval(folder):
    run, qrels = read_trec(folder)
    found = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "map_cut.100", "recall.100"}).evaluate(run)
    names = {"ndcg_at_10": "ndcg_cut_10", "map_at_100": "map_cut_100", "recall_at_100": "recall_100"}
    return {metric: fmean(of[name] for of in found.values()) for metric, name in names.items()}


def by_ir_measures(folder):
    ir_measures = pytest.importorskip("ir_measures")
    run = list(ir_measures.read_trec_run(str(folder / "test.run.txt")))
    qrels = list(ir_measures.read_trec_qrels(str(folder / "test.qrels.txt")))
    measures = {"ndcg_at_10": ir_measures.nDCG @ 10, "map_at_100": ir_measures.AP @ 100}
    measures["recall_at_100"] = ir_measures.R @ 100
    found = ir_measures.calc_aggregate(list(measures.values()), qrels, run)
    return {metric: found[measure] for metric, measure in measures.items()}


def by_ranx(folder):
    ranx = pytest.importorskip("ranx")
    run = ranx.Run.from_file(str(folder / "test.run.json"))
    return {"ndcg_at_10": ranx.evaluate(ranx.Qrels.from_file(str(folder / "test.qrels.json")), run, "ndcg@10")}


@pytest.mark.long
@pytest.mark.parametrize(
    ("file_format", "reader", "rounding"),
    [("trec", by_pytrec_eval, 6e-6), ("trec", by_ir_measures, 6e-6), ("ranx", by_ranx, 1e-4)],
)
def test_other_programs_give_the_scores_of_the_result(export, evaluated, file_format, reader, rounding):
    """Guards against scores that lose digits, other queries than MTEB scored, and files that a program reads otherwise."""
    folder, (_, rows) = export(file_format), evaluated
    for subset in SUBSETS:
        found = reader(folder / TASK / subset)
        assert found == pytest.approx({metric: rows[subset][metric] for metric in found}, abs=rounding)


@pytest.mark.long
def test_the_formats_hold_the_same(export, evaluated):
    """Guards against JSON that is not query, document, number, and lines under the name of another query."""
    trec, ranx, (_, rows) = export("trec"), export("ranx"), evaluated
    for subset in SUBSETS:
        run, qrels = (json.loads((ranx / TASK / subset / f"test.{kind}.json").read_text()) for kind in ("run", "qrels"))
        assert (run, qrels) == read_trec(trec / TASK / subset)
        found = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(run)
        by_query = {query: of["ndcg_cut_10"] for query, of in found.items()}
        assert by_query == pytest.approx(rows[subset]["per_query"]["ndcg_at_10"], abs=6e-7)


def test_the_table_has_every_query(export, evaluated):
    """Guards against queries that are lost, and scores in the wrong column."""
    _, rows = evaluated
    folder = export("csv", predictions=[])
    with (folder / "scores.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["task", "split", "subset", "query", "ndcg_at_10", "map_at_100"]
    for subset in SUBSETS:
        of_subset = [line for line in table if line["subset"] == subset]
        assert {(line["task"], line["split"]) for line in of_subset} == {(TASK, "test")}
        for metric in ("ndcg_at_10", "map_at_100"):
            found = {line["query"]: float(line[metric]) for line in of_subset}
            assert found == rows[subset]["per_query"][metric]


def changed(folder, tmp_path, edit, kind="results"):
    """A copy of the results or predictions, one file of it changed."""
    target = tmp_path / "changed"
    shutil.copytree(folder / kind, target)
    name = f"{TASK}.json" if kind == "results" else f"{TASK}_predictions.json"
    change(next(target.rglob(name)), edit)
    return target


def space(content):
    query, documents = next(iter(content["zul-eng"]["test"].items()))
    documents[f"a {query}"] = -1.0


@pytest.mark.long
def test_what_does_not_belong_together_is_refused(export, evaluated, tmp_path):
    """Guards against runs beside judgements of other data, and exports that lack a language without a word."""
    folder, _ = evaluated
    results = changed(folder, tmp_path, lambda content: content.update(dataset_revision="CLDR-1"))
    with pytest.raises(InputError, match=r"is of data revision CLDR-1, the installed task has .* CLDR-"):
        export("trec", results=results)
    said = []
    predictions = [changed(folder, tmp_path / "fewer", lambda content: content.pop("zul-eng"), "predictions")]
    with pytest.raises(InputError, match="there are no predictions of zul-eng"):
        export("trec", predictions=predictions, tasks=[TASK])
    with pytest.raises(InputError, match="nothing to write as trec"):
        export("trec", predictions=predictions, say=said.append)
    assert "left out: " in said[0]
    assert not (tmp_path / "out" / "trec").exists()
    with pytest.raises(InputError, match=r"id 'a .*': .*has white space.* write ranx or csv"):
        export("trec", predictions=[changed(folder, tmp_path / "space", space, "predictions")])


@pytest.mark.long
def test_what_cannot_be_written_is_named(export, evaluated, tmp_path):
    """Guards against an empty table, a folder that is written over, and a format that nobody reads."""
    folder, _ = evaluated
    results = changed(folder, tmp_path, forget)
    with pytest.raises(InputError, match=r"no scores by query; .* --predictions"):
        export("csv", results=results, predictions=[], tasks=[TASK])
    assert (export("csv", results=results) / "scores.csv").is_file()
    with pytest.raises(InputError, match=r"csv: is there already; remove it"):
        export("csv")
    with pytest.raises(InputError, match=r"format 'xml' is unknown; write one of trec, ranx, csv"):
        export("xml")
    with pytest.raises(InputError, match="format ranx: needs what mteb run --prediction-folder wrote"):
        export("ranx", predictions=[])
