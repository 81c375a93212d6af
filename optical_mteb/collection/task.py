"""What this package's retrieval tasks share: subsets loaded one by one, scores kept by query, statistics kept here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskCategory, TaskType
from mteb.abstasks.task_metadata import TaskMetadata as MtebTaskMetadata
from pydantic import Field, field_validator

from optical_mteb.collection import PER_QUERY

if TYPE_CHECKING:
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
    from mteb.models.models_protocols import MTEBModels
    from mteb.types import RelevantDocumentsType, RetrievalOutputType, ScoresDict
    from mteb.types.statistics import DescriptiveStatistics

    from optical_mteb.collection.one_pass import OnePass


class TaskMetadata(MtebTaskMetadata):
    """MTEB's, filled with what all tasks here have in common, and with descriptive statistics that this package ships."""

    type: TaskType = "Retrieval"
    category: TaskCategory | None = "t2t"
    main_score: str = "ndcg_at_10"
    dialect: list[str] | None = Field(default=[])

    @field_validator("eval_langs", mode="before")
    @classmethod
    def _with_macrolanguage(cls, subsets: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Swahili under its macrolanguage, too: MTEB's other tasks file it there."""
        return {
            subset: [each for tag in tags for each in ((tag, "swa-Latn") if tag == "swh-Latn" else (tag,))]
            for subset, tags in subsets.items()
        }

    @property
    def descriptive_stat_path(self) -> Path:
        """Where the task's statistics are, in MTEB's format."""
        package = find_spec("optical_mteb.tasks")
        folder = Path(str(package.origin)).parent if package is not None else Path()
        return folder / "descriptive_stats" / str(self.type) / f"{self.name}.json"


class CollectionRetrieval(AbsTaskRetrieval):
    """A retrieval task that says how one split of one subset is loaded.

    Only the subsets and splits that are asked for are loaded. Documents that several subsets share are encoded or
    indexed once. Beside MTEB's means, a result has `per_query`: nDCG@10 and MAP of every query, by its id.

    Attributes:
        default_subsets: Subsets to run where neither subsets nor languages are chosen; all of them by default.
    """

    default_subsets: Sequence[str] = ()
    _pass: OnePass | None = None

    def filter_languages(
        self,
        languages: Sequence[str] | None,
        script: Sequence[str] | None = None,
        hf_subsets: Sequence[str] | None = None,
        exclusive_language_filter: bool = False,
    ) -> Self:
        """Choose subsets, as MTEB does; the default ones where nothing is chosen."""
        if not (languages or script or hf_subsets) and self.default_subsets:
            self.hf_subsets = list(self.default_subsets)
            return self
        return super().filter_languages(languages, script, hf_subsets, exclusive_language_filter)

    def has_split(self, subset: str, split: str) -> bool:  # noqa: ARG002 - for tasks to say
        """Whether a subset has a split; where it has not, the split is run for the other subsets."""
        return True

    @abstractmethod
    def load_split(self, subset: str, split: str) -> RetrievalSplitData:
        """The documents, queries and judgements of one split of one subset."""

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:  # noqa: ANN401, ARG002 - mteb's signature
        """Load the subsets and splits that are asked for."""
        if self.data_loaded:
            return
        self.dataset = {
            subset: {
                split: self.load_split(subset, split) for split in self.eval_splits if self.has_split(subset, split)
            }
            for subset in self.hf_subsets
        }
        self.data_loaded = True

    def evaluate(
        self,
        model: MTEBModels,
        split: str = "test",
        subsets_to_run: list[str] | None = None,
        **kwargs: Any,  # noqa: ANN401 - mteb's signature
    ) -> Mapping[str, ScoresDict]:
        """Scores by subset of those that have the split, as MTEB has them, but reading shared documents once.

        MTEB asks for one subset at a time.
        """
        from optical_mteb.collection.one_pass import OnePass

        wanted = self.hf_subsets if subsets_to_run is None else subsets_to_run
        scores: dict[str, ScoresDict] = {}
        for subset in self.hf_subsets:
            if subset not in wanted or not self.has_split(subset, split):
                continue
            if self._pass is None or not self._pass.serves(model, split, subset):
                self._pass = OnePass(model, split, lambda: self._of_split(split))
            with self._pass.over(subset) as remembering:
                scores |= super().evaluate(remembering, split, [subset], **kwargs)
            if self._pass.ended:
                self._pass = None
        return scores

    def _of_split(self, split: str) -> dict[str, RetrievalSplitData]:
        loaded = {subset: self.dataset.get(subset, {}) for subset in self.hf_subsets}
        return {subset: splits[split] for subset, splits in loaded.items() if split in splits}

    def unload_data(self) -> None:
        """Forget the data, and what a model made of them."""
        self._pass = None
        super().unload_data()

    def calculate_descriptive_statistics(
        self, overwrite_results: bool = False, num_proc: int | None = None
    ) -> dict[str, DescriptiveStatistics]:
        """MTEB's statistics of the chosen subsets and splits, written where the task's statistics are kept."""
        whole = self.metadata
        chosen = {subset: whole.hf_subsets_to_langscripts[subset] for subset in self.hf_subsets}
        try:
            self.metadata = whole.model_copy(update={"eval_langs": chosen, "eval_splits": list(self.eval_splits)})
            return super().calculate_descriptive_statistics(overwrite_results, num_proc)
        finally:
            self.metadata = whole

    def task_specific_scores(
        self,
        scores: dict[str, dict[str, float]],
        qrels: RelevantDocumentsType,  # noqa: ARG002 - mteb's signature
        results: RetrievalOutputType,  # noqa: ARG002
        hf_split: str,  # noqa: ARG002
        hf_subset: str,  # noqa: ARG002
    ) -> dict[str, Any]:
        """The scores of every query."""
        return {
            "per_query": {
                name: {query: values[measure] for query, values in scores.items()}
                for name, measure in PER_QUERY.items()
            }
        }
