"""The page of a result folder, against the results, and as a browser shows it."""

import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from optical_mteb.errors import InputError
from optical_mteb.report.site import MARKER, write_report
from tests.results import subset_row, write_result

SUBSETS = ("swh-eng", "som-eng", "fra-eng", "hau-eng")


def write_results(folder, name, revision="r1", *, shift=0.0, task="CLDRNameRetrieval", subsets=SUBSETS, **record):
    """A result as MTEB writes it, with scores by query."""
    rows = []
    for number, subset in enumerate(subsets):
        values = np.clip(np.random.default_rng(number).uniform(0.2, 0.8, 60) + shift, 0, 1)
        rows.append(subset_row(subset, {f"q{n}": value for n, value in enumerate(values)}))
    meta = {"name": name, "revision": revision, "n_parameters": 12_000_000, "memory_usage_mb": 48, **record}
    return write_result(folder / "results" / name.replace("/", "__") / revision, task, "d1", rows, meta)


def write_student(folder, revision="r1", *, shift=0.1, **more):
    """A result of a student that is better than its base, by ten points unless told otherwise."""
    return write_results(folder, "optical-mteb/a-student", revision, shift=shift, adapted_from="intfloat/base", **more)


@pytest.fixture
def results(tmp_path):
    """A base and a student that is better by ten points."""
    folder = tmp_path / "results"
    subsets = ("swh-eng", "hau-eng")
    write_student(folder, subsets=subsets)
    write_results(folder, "pypi/base", subsets=subsets, adapted_from="intfloat/base")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The page of a base, a student that is better by ten points, and a study; nobody changes it."""
    folder = tmp_path_factory.mktemp("report")
    write_student(folder / "results")
    write_results(folder / "results", "pypi/base", adapted_from="intfloat/base")
    study(folder / "results")
    write_report(folder / "results", folder / "site")
    return folder / "site"


class Page(HTMLParser):
    """Tables by caption, as lists of cells; links, tags and text."""

    def __init__(self, path):
        super().__init__()
        self.tables, self.links, self.tags, self.text, self._cell = {}, [], [], "", None
        self.feed(Path(path).read_text())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "a":
            self.links.append(dict(attrs)["href"])
        if tag == "table":
            self._rows, self._caption = [], ""
        if tag == "tr":
            self._rows.append([])
        if tag in {"td", "th", "caption"}:
            self._cell = ""

    def handle_endtag(self, tag):
        if tag in {"td", "th"}:
            self._rows[-1].append(" ".join(self._cell.split()))
            self._cell = None
        if tag == "caption":
            self._caption, self._cell = self._cell, None
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data):
        self.text += data
        if self._cell is not None:
            self._cell += data


def page(results, output, **more):
    """What a report returns, and its page."""
    collection = write_report(results, output, **more)
    return collection, Page(output / "index.html")


def test_scores_differences_and_groups(site):
    """Guards against a score of another model or subset, a swapped sign, a lost mark, a group of other languages."""
    shown = Page(site / "index.html")
    table = shown.tables["CLDRNameRetrieval, nDCG@10"]
    assert table[0] == ["subset", "base", "a-student"]
    assert [row[0] for row in table[1:]] == ["swh-eng", "som-eng", "fra-eng", "hau-eng"]
    for number, row in enumerate(table[1:]):
        base = 100 * np.random.default_rng(number).uniform(0.2, 0.8, 60).mean()
        assert row[1:] == [f"{base:.1f}", f"{base + 10:.1f} +10.0*"]
    overview = next(rows for caption, rows in shown.tables.items() if caption.startswith("nDCG@10 by group"))
    assert overview[0][:4] == ["model", "low-resource", "high-resource", "unseen"]
    means = [100 * np.random.default_rng(number).uniform(0.2, 0.8, 60).mean() for number in range(4)]
    assert overview[1][1] == f"{(means[0] + means[1]) / 2:.1f}"
    assert overview[2][2] == f"{means[2] + 10:.1f} +10.0"
    assert overview[2][4:6] == ["12.0 M", "48 MB"]


def models_table(shown):
    """Rows of the table of models, by header."""
    [header, *rows] = next(rows for caption, rows in shown.tables.items() if caption.startswith("nDCG@10 by group"))
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.long
def test_a_model_on_another_task_leaves_the_others_their_means(results, tmp_path):
    """Guards against group means that vanish, or change, because one model was run on something else."""
    _, shown = page(results, tmp_path / "one")
    before = {row["model"]: row["low-resource"] for row in models_table(shown)}
    write_results(results, "a/third", task="NTREXRetrieval", subsets=("swh-eng",))
    _, shown = page(results, tmp_path / "two")
    assert {row["model"]: row["low-resource"] for row in models_table(shown)} == {**before, "third": "none"}


def test_training_data_are_disclosed(results, tmp_path):
    """Guards against a score on data that a model was trained on, or on a language that it saw, that passes for zero-shot."""
    write_student(results, training_datasets=["CLDRNameRetrieval", "NQ"], languages=["hau-Latn", "eng-Latn"])
    write_results(results, "a/third", training_datasets=["NQ"], languages=["hau-Latn"])
    collection, shown = page(results, tmp_path / "site")
    told = {row["model"]: row["trained on data of"] for row in models_table(shown)}
    assert told == {"base": "unknown", "a-student": "CLDRNameRetrieval", "third": "no task here"}
    seen = [note for note in collection.notes if "trained on" in note]
    assert seen == ["a-student: was trained on hau, which are shown among the unseen languages"]


@pytest.mark.parametrize("record", [{"name": 5}, {"experiment_kwargs": ["x"]}, {"revision": ["r1"]}])
def test_damaged_records_are_refused(results, tmp_path, record):
    """Guards against a traceback for a record whose fields are of another kind."""
    path = results / "results/pypi__base/r1/model_meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | record))
    with pytest.raises(InputError, match=r"model_meta\.json: not the record of a model"):
        write_report(results, tmp_path / "site")


def test_numbers_that_are_none_are_unknown(results, tmp_path):
    """Guards against a page that shows NaN as a size or a speed."""
    write_results(results, "pypi/base", n_parameters=float("nan"), memory_usage_mb=True, adapted_from=["x"])
    (results / "students.json").write_text('{"base": {"documents_a_second": NaN, "megabytes": 1}}')
    collection, shown = page(results, tmp_path / "site")
    row = next(row for row in models_table(shown) if row["model"] == "base")
    assert (row["parameters"], row["memory"]) == ("unknown", "unknown")
    assert any("students.json" in note for note in collection.notes)
    assert "speed" not in {attributes.get("id") for _, attributes in shown.tags}


def test_the_page_needs_nothing_from_elsewhere(site):
    """Guards against a dead link, one that leads out of the site, and a page that needs JavaScript or a server."""
    shown = Page(site / "index.html")
    links = [link for link in shown.links if not link.startswith("#")]
    assert len(links) == 2
    for link in links:
        copied = (site / link).resolve()
        assert copied.is_relative_to(site.resolve())
        assert json.loads(copied.read_text())["task_name"] == "CLDRNameRetrieval"
    anchors = {attributes.get("id") for _, attributes in shown.tags}
    assert {link[1:] for link in shown.links if link.startswith("#")} <= anchors
    assert not any(tag in {"script", "link", "iframe"} for tag, _ in shown.tags)
    assert all((site / attributes["src"]).is_file() for tag, attributes in shown.tags if tag == "img")
    assert "http" not in (site / "index.html").read_text()


def test_names_are_escaped(results, tmp_path):
    """Guards against a model that writes into the page."""
    write_results(results, "evil/<script>alert(1)</script>", "r<b>")
    _, shown = page(results, tmp_path / "site")
    assert not any(tag == "script" for tag, _ in shown.tags)
    assert "alert(1)" in shown.text
    assert all(".." not in link for link in shown.links)


@pytest.mark.long
def test_damaged_results_are_named(results, tmp_path):
    """Guards against a page without the rest because of one file, and one that hides what is missing."""
    place = write_results(results, "pypi/base", task="NTREXRetrieval", adapted_from="intfloat/base")
    path = place / "NTREXRetrieval.json"
    path.write_text(path.read_text().replace('"ndcg_at_10": 0.', '"ndcg_at_10": 1.', 1))
    collection, shown = page(results, tmp_path / "site")
    assert any("NTREXRetrieval.json" in note for note in collection.notes)
    assert "NTREXRetrieval.json" in shown.text
    assert "CLDRNameRetrieval, nDCG@10" in shown.tables
    assert "NTREXRetrieval, nDCG@10" not in shown.tables


def test_experiments_and_revisions_are_rows_of_their_own(results, tmp_path):
    """Guards against scores of an approximate index that pass for exact ones, and a new student under the old one's scores."""
    plain = write_student(results)
    place = plain / "experiments" / "index_hnsw32"
    shutil.copytree(plain, place, ignore=shutil.ignore_patterns("experiments"))
    meta = json.loads((place / "model_meta.json").read_text())
    (place / "model_meta.json").write_text(json.dumps(meta | {"experiment_kwargs": {"index": "hnsw32"}}))
    write_student(results, "r2", shift=0.05)
    collection, _ = page(results, tmp_path / "site")
    assert [(model.label, model.results.revision) for model in collection.models] == [
        ("base", "r1"),
        ("a-student", "r1"),
        ("a-student (index = hnsw32)", "r1"),
        ("a-student", "r2"),
    ]
    assert any("settings differ" in note for note in collection.notes)


def test_reference_is_chosen(results, tmp_path):
    """Guards against a reference that nobody can change, or a wrong one that passes."""
    collection, shown = page(results, tmp_path / "site", reference="optical-mteb/a-student")
    assert collection.reference.name == "a-student"
    assert "-10.0*" in shown.tables["CLDRNameRetrieval, nDCG@10"][1][2]
    with pytest.raises(InputError, match="nobody"):
        write_report(results, tmp_path / "site", reference="nobody/knows")


@pytest.mark.long
def test_only_reports_are_replaced(results, tmp_path):
    """Guards against a folder of the user's that a report takes the place of, and a date or an order in the page."""
    output = tmp_path / "site"
    output.mkdir()
    (output / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="exists and is not a report"):
        write_report(results, output)
    assert (output / "thesis.tex").read_text() == "mine"
    (output / MARKER).write_text("")
    write_report(results, output)
    page = (output / "index.html").read_bytes()
    write_report(results, output)
    assert (output / "index.html").read_bytes() == page
    with pytest.raises(InputError, match="no results"):
        write_report(tmp_path / "nothing", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def study(results):
    """A study of two approaches as `optical-mteb study` writes it."""
    groups = ("low-resource", "English")
    means = [
        {
            "approach": approach,
            "budget": "total",
            "pairs": pairs,
            "group": group,
            "estimate": {"value": 0.5 + 0.01 * pairs, "low": 0.45, "high": 0.6},
        }
        for approach in ("zero-shot", "optical")
        for pairs in (1, 2, 4, 7)
        for group in groups
    ]
    folder = results / "study" / "pairs"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"study": "pairs", "metric": "map_at_100", "means": means}))
    (folder / "figures").mkdir()
    (folder / "figures" / "map_at_100-total.svg").write_text("<svg/>")
    return folder


@pytest.mark.long
def test_curves_of_a_study(results, tmp_path):
    """Guards against curves that are another study's or budget's, and a table that says otherwise."""
    folder = study(results)
    _, shown = page(results, tmp_path / "site")
    (source,) = [attributes["src"] for tag, attributes in shown.tags if tag == "img"]
    assert (tmp_path / "site" / source).read_text() == "<svg/>"
    assert shown.tables["low-resource, MAP@100"][1] == [
        "zero-shot",
        *(f"{50 + n}.0 [45.0, 60.0]" for n in (1, 2, 4, 7)),
    ]
    whole = (folder / "summary.json").read_text()
    (folder / "summary.json").write_text(whole.replace('"pairs": 1,', '"pairs": 0,'))
    collection, shown = page(results, tmp_path / "site")
    assert any("not the summary of a study" in note for note in collection.notes)
    assert "studies" not in {attributes.get("id") for _, attributes in shown.tags}


def chromium(folder, *options):
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={folder / 'profile'}", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


in_a_browser = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")


@in_a_browser
def test_nothing_is_wider_than_the_screen(site, tmp_path):
    """Guards against a page that must be scrolled sideways, above all on a phone."""
    frame = tmp_path / "frame.html"
    frame.write_text(
        "".join(f'<iframe src="{(site / "index.html").as_uri()}" width="{width}"></iframe>' for width in (390, 1280))
        + '<p id="out"></p><script>onload = () => { document.getElementById("out").textContent = "widths " + '
        '[...document.querySelectorAll("iframe")].map(frame => frame.contentDocument.documentElement)'
        '.map(page => page.scrollWidth + " " + page.clientWidth).join(" "); }</script>'
    )
    dumped = chromium(tmp_path, "--dump-dom", frame.as_uri())
    phone, phone_room, desk, desk_room = map(int, dumped.partition('"out">widths ')[2].split("<")[0].split())
    assert 300 < phone <= phone_room <= 390
    assert 1200 < desk <= desk_room <= 1280


@in_a_browser
def test_light_and_dark(site, tmp_path):
    """Guards against an empty page, and a dark one that nobody can read."""
    image = pytest.importorskip("matplotlib.image")
    page = (site / "index.html").as_uri()
    paper = {}
    for scheme, width, number in (("dark", 1280, 0), ("light", 390, 1)):
        picture = tmp_path / f"{scheme}.png"
        setting = f"--blink-settings=preferredColorScheme={number}"
        chromium(tmp_path, setting, f"--window-size={width},900", f"--screenshot={picture}", page)
        pixels = image.imread(picture)[..., :3]
        assert pixels.shape[1] == width
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
        brightness = pixels.mean(axis=2)
        paper[scheme] = float(np.median(brightness))
        assert np.ptp(brightness) > 0.7
    assert paper["dark"] < 0.15
    assert paper["light"] > 0.95
