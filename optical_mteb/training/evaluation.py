"""How well a student in training finds the translations of a dev split, and how far its tokens are from the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple, TypeVar

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

from optical_mteb.bitext import Pair, ParallelCorpus
from optical_mteb.bitext.cleaning import same_text
from optical_mteb.students.sidecar import Kind
from optical_mteb.training.losses.contrastive import maxsim
from optical_mteb.training.losses.encoding import Encoded
from optical_mteb.training.losses.token_transport import TokenTransport
from optical_mteb.training.models import Models
from optical_mteb.training.reader import Reader

ROUNDING = 1e-6
"""Lead under which two scores, cosines or means of them in float32, are equal."""


@dataclass(frozen=True)
class DevScores:
    """Scores of one evaluation, by ISO 639-3 code of the language.

    Attributes:
        accuracy_to_english: Share of translations whose English sentence is found among the language's dev pairs.
        accuracy_from_english: Share of English sentences whose translation is found.
        transport_cost: Mean <T, C>_F between the student's tokens of a translation and the teacher's of the English
            sentence, over pairs that have tokens on both sides; 0 where none has.
    """

    accuracy_to_english: Mapping[str, float]
    accuracy_from_english: Mapping[str, float]
    transport_cost: Mapping[str, float]

    @property
    def mean_accuracy(self) -> float:
        """Mean over languages and both ways; every language weighs the same."""
        return fmean([*self.accuracy_to_english.values(), *self.accuracy_from_english.values()])

    def figures(self) -> dict[str, float]:
        """All scores under the names of the log, means over languages first."""
        figures = {"dev_accuracy": self.mean_accuracy, "dev_transport_cost": fmean(self.transport_cost.values())}
        for language in self.transport_cost:
            figures[f"dev_{language}_to_english"] = self.accuracy_to_english[language]
            figures[f"dev_{language}_from_english"] = self.accuracy_from_english[language]
            figures[f"dev_{language}_transport_cost"] = self.transport_cost[language]
        return figures


class DevEvaluator:
    """Scores a student on dev pairs, in its present state; draws no random number and leaves the student as it was.

    For the accuracies, the student reads both sides with the prompts of `models`, as it will at retrieval: a dense one is
    scored by the cosine of its sentence embeddings, one of late interaction by MaxSim over content tokens, where the side
    that searches is the query. A sentence is found if it scores above all others; a tie is a miss. Pairs that share a
    side, but for case and punctuation at the ends, are right answers for each other. For the transport cost, the teacher
    reads the English side, once for all evaluations.

    The student must not be wrapped; it cuts texts at its `max_seq_length`. Its token embeddings are as wide as the teacher's.
    `kind` is what it becomes. A block of MaxSim is the square of `batch_size`.
    """

    def __init__(self, models: Models, dev: ParallelCorpus, *, kind: Kind, batch_size: int = 64) -> None:
        self._models = models
        self._kind = kind
        self._batch_size = batch_size
        self._transport = TokenTransport()
        # Short sentences first, so that a batch holds little padding; no language reads another's English twice.
        self._english = sorted({pair.english for pair in dev}, key=lambda text: (len(text), text))
        self._pairs = {
            language: sorted((pair for pair in dev if pair.language == language), key=_length)
            for language in dev.languages
        }
        self._taught: _Sentences | None = None

    @torch.no_grad()
    def __call__(self) -> DevScores:
        """The student's present scores."""
        models, late = self._models, self._kind == "late_interaction"
        english = self._read(models.student, self._english, models.target_prompt, with_tokens=late)
        if self._taught is None:
            taught = self._read(models.teacher, self._english, models.teacher_prompt)
            # Only directions matter to the cost, and unit vectors cannot overflow.
            self._taught = taught._replace(tokens=[normalize(own.float(), dim=-1).half() for own in taught.tokens])
        rows = {text: row for row, text in enumerate(self._english)}
        to_english, from_english, transport_cost = {}, {}, {}
        for language, pairs in self._pairs.items():
            own = self._read(models.student, [pair.translation for pair in pairs], models.student_prompt)
            places = [rows[pair.english] for pair in pairs]
            sought, same = english.take(places), _same(pairs).to(own.embeddings.device)
            to_english[language] = accuracy(self._scores(own, sought), same)
            from_english[language] = accuracy(self._scores(sought, own), same)
            transport_cost[language] = self._transport_cost(own, self._taught.take(places))
        return DevScores(to_english, from_english, transport_cost)

    def _read(
        self, model: SentenceTransformer, texts: Sequence[str], prompt: str, *, with_tokens: bool = True
    ) -> _Sentences:
        reader = Reader(model, prompt)
        embeddings: list[Tensor] = []
        tokens: list[Tensor] = []
        for batch in _batches(texts, self._batch_size):
            encoded, _ = reader.read(batch)
            embeddings.append(encoded.sentence)
            if with_tokens:
                tokens += torch.split(encoded.tokens[encoded.content], encoded.content.sum(-1).tolist())
        return _Sentences(torch.cat(embeddings), tokens)

    def _scores(self, queries: _Sentences, documents: _Sentences) -> Tensor:
        """Score of each of A queries against each of B documents, [A, B], float32."""
        if self._kind == "dense":
            return normalize(queries.embeddings.float(), dim=-1) @ normalize(documents.embeddings.float(), dim=-1).T
        blocks = [_padded(batch) for batch in _batches(documents.tokens, self._batch_size)]
        return torch.cat(
            [
                torch.cat([maxsim(searching, block) for block in blocks], dim=1)
                for searching in map(_padded, _batches(queries.tokens, self._batch_size))
            ]
        )

    def _transport_cost(self, own: _Sentences, taught: _Sentences) -> float:
        total, solvable = 0.0, 0
        sides = (_batches(sentences.tokens, self._batch_size) for sentences in (own, taught))
        for student, teacher in zip(*sides, strict=True):
            costs, solved = self._transport.pairs(_padded(student), _padded(teacher))
            total += costs.sum().item()
            solvable += int((solved.source_mask.any(-1) & solved.target_mask.any(-1)).sum())
        return total / max(solvable, 1)


def accuracy(scores: Tensor, same: Tensor) -> float:
    """Share of queries whose best right document scores above every wrong one, by more than `ROUNDING`.

    Args:
        scores: Score of each query against each document, [N, N].
        same: Documents that are right for a query, [N, N], boolean.
    """
    right = scores.masked_fill(~same, -torch.inf).amax(-1)
    wrong = scores.masked_fill(same, -torch.inf).amax(-1)
    return int((right > wrong + ROUNDING).sum()) / len(scores)


class _Sentences(NamedTuple):
    """Sentences as a model reads them: embeddings, [N, d], and the content tokens of each, [k, d], where kept."""

    embeddings: Tensor
    tokens: Sequence[Tensor]

    def take(self, rows: Sequence[int]) -> _Sentences:
        return _Sentences(self.embeddings[rows], [self.tokens[row] for row in rows] if self.tokens else [])


def _length(pair: Pair) -> int:
    return max(len(pair.english), len(pair.translation))


def _same(pairs: Sequence[Pair]) -> Tensor:
    """Which pairs share a side as `same_text` has it, [N, N], boolean."""
    same = torch.zeros(len(pairs), len(pairs), dtype=torch.bool)
    for side in ([pair.english for pair in pairs], [pair.translation for pair in pairs]):
        numbers: dict[str, int] = {}
        codes = torch.tensor([numbers.setdefault(same_text(text), len(numbers)) for text in side])
        same |= codes.unsqueeze(1) == codes
    return same


_T = TypeVar("_T")


def _batches(items: Sequence[_T], size: int) -> list[Sequence[_T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _padded(tokens: Sequence[Tensor]) -> Encoded:
    """Sentences as a batch; neither MaxSim nor the transport reads embeddings or ids."""
    padded = pad_sequence(list(tokens), batch_first=True)
    lengths = torch.tensor([len(own) for own in tokens], device=padded.device)
    content = torch.arange(padded.shape[1], device=padded.device) < lengths.unsqueeze(-1)
    return Encoded(padded, content, sentence=padded.new_zeros(len(tokens), 0), ids=content.long())
