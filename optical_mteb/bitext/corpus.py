"""A parallel corpus: the kept pairs of its sources, what was left out, and a fingerprint."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

from optical_mteb.bitext.cleaning import clean, lengths_agree
from optical_mteb.bitext.reading import read_source
from optical_mteb.bitext.records import Malformed, Record
from optical_mteb.bitext.source import BitextSource
from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset

_COUNTS = ("read", "kept", "excluded", "malformed", "empty", "identical", "length_ratio", "duplicate")
"""What is counted of a source; the names after the first two are reasons to leave a record out."""

_QUOTED = 3


@dataclass(frozen=True, slots=True)
class Pair:
    """An English text and its translation, both normalised by `clean`.

    Attributes:
        english: English side.
        translation: Other side.
        language: ISO 639-3 code of the other side.
        source: Spec of the source it came from.
        id: The publisher's record id, or the line number.
    """

    english: str
    translation: str
    language: str
    source: str
    id: str


@dataclass
class SourceReport:
    """Counts of one source: `read` is the sum of all the others.

    Attributes:
        source: The source's spec.
        language: ISO 639-3 code of the other side.
        read: Records read, malformed ones included.
        kept: Pairs in the corpus.
        excluded: Records that `exclude_ids` or `keep` left out.
        malformed: Records that could not be read.
        empty: Records with a blank side.
        identical: Records whose sides are equal but for case.
        length_ratio: Records whose sides differ too much in length.
        duplicate: Records whose pair is in the corpus already.
        malformed_at: The first malformed records, `file:line: reason`.
    """

    source: str
    language: str
    read: int = 0
    kept: int = 0
    excluded: int = 0
    malformed: int = 0
    empty: int = 0
    identical: int = 0
    length_ratio: int = 0
    duplicate: int = 0
    malformed_at: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """The reports of all sources of a corpus, in their order."""

    sources: Sequence[SourceReport] = ()

    def __str__(self) -> str:
        """A text table, one line a source and one for the total, then the first malformed records."""
        total = SourceReport("total", "", *(sum(getattr(each, name) for each in self.sources) for name in _COUNTS))
        rows = [
            ["source", "language", *_COUNTS],
            *(list(map(str, astuple(each)[:-1])) for each in [*self.sources, total]),
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            row[:2] = map(str.ljust, row[:2], widths[:2])
            row[2:] = map(str.rjust, row[2:], widths[2:])
        malformed = [f"malformed: {where}" for source in self.sources for where in source.malformed_at]
        return "\n".join([*map("  ".join, rows), *malformed])


class ParallelCorpus(Sequence[Pair]):
    """Pairs of English and other languages, in the order of their sources.

    Attributes:
        report: What was read, kept and left out.
    """

    def __init__(self, pairs: Sequence[Pair], report: Report) -> None:
        self._pairs = tuple(pairs)
        self.report = report

    @classmethod
    def load(cls, sources: Sequence[BitextSource], *, base_folder: Path | None = None) -> ParallelCorpus:
        """Reads, normalises and filters all sources.

        A pair that an earlier source of the same language has already is a duplicate, whatever its id.

        Args:
            sources: The sources, in order.
            base_folder: Folder that relative paths are looked up in first, the recipe's.

        Raises:
            InputError: A source cannot be found or read, has too many malformed records, or none is kept.
        """
        pairs: list[Pair] = []
        seen: set[tuple[str, str, str]] = set()
        reports = []
        for source in sources:
            report = SourceReport(source.source, source.language_code)
            pairs.extend(_kept(source, base_folder, report, seen))
            reports.append(report)
        return cls(pairs, Report(reports))

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | Sequence[Pair]:
        return self._pairs[index]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs)

    def __repr__(self) -> str:
        return f"ParallelCorpus({len(self)} pairs: {', '.join(f'{code} {n}' for code, n in self.counts.items())})"

    @cached_property
    def counts(self) -> dict[str, int]:
        """Pairs per language, by sorted ISO 639-3 code."""
        return dict(sorted(Counter(pair.language for pair in self._pairs).items()))

    @property
    def languages(self) -> list[str]:
        """Sorted ISO 639-3 codes of the other languages."""
        return list(self.counts)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of language, English and translation of the pairs in order; files may move without changing it."""
        digest = hashlib.sha256()
        for pair in self._pairs:
            for text in (pair.language, pair.english, pair.translation):
                data = text.encode()
                # The length first: otherwise text that moves from one side to the other would not show.
                digest.update(len(data).to_bytes(8))
                digest.update(data)
        return digest.hexdigest()

    def texts(self) -> Iterator[str]:
        """Both sides of every pair, English first."""
        for pair in self._pairs:
            yield pair.english
            yield pair.translation

    def to_dataset(self) -> Dataset:
        """The pairs as a `datasets.Dataset` with the columns english, translation, language and source."""
        from datasets import Dataset

        columns = ("english", "translation", "language", "source")
        return Dataset.from_dict({name: [getattr(pair, name) for pair in self._pairs] for name in columns})


def _kept(
    source: BitextSource, base_folder: Path | None, report: SourceReport, seen: set[tuple[str, str, str]]
) -> Iterator[Pair]:
    language = report.language
    for record in read_source(source, base_folder=base_folder):
        report.read += 1
        if isinstance(record, Malformed):
            _count_malformed(record, source, report)
            continue
        pair = Pair(clean(record.english), clean(record.translation), language, source.source, record.id)
        reason = _reason_to_drop(record, pair, source, seen)
        if reason is not None:
            setattr(report, reason, getattr(report, reason) + 1)
            continue
        seen.add((language, pair.english, pair.translation))
        report.kept += 1
        yield pair
        if report.kept == source.limit:
            return
    if not report.kept:
        raise InputError(
            f"{source.source}: no pair kept of {report.read} records ({_dropped(report)}); "
            f"{'; '.join(['check its columns and filters', *report.malformed_at[:1]])}"
        )


def _reason_to_drop(record: Record, pair: Pair, source: BitextSource, seen: set[tuple[str, str, str]]) -> str | None:
    if any(fnmatchcase(record.id, glob) for glob in source.exclude_ids):
        return "excluded"
    if not (pair.english and pair.translation):
        return "empty"
    if any(record.columns[column] not in values for column, values in source.keep.items()):
        return "excluded"
    if pair.english.casefold() == pair.translation.casefold():
        return "identical"
    if not lengths_agree(pair.english, pair.translation, max_ratio=source.max_length_ratio):
        return "length_ratio"
    return "duplicate" if (pair.language, pair.english, pair.translation) in seen else None


def _count_malformed(record: Malformed, source: BitextSource, report: SourceReport) -> None:
    report.malformed += 1
    if len(report.malformed_at) < _QUOTED:
        report.malformed_at.append(str(record))
    if report.malformed > source.max_malformed:
        raise InputError(
            f"{source.source}: more than {source.max_malformed} malformed records: {'; '.join(report.malformed_at)}; "
            "correct the description of the source or the file, or raise max_malformed"
        )


def _dropped(report: SourceReport) -> str:
    return (
        ", ".join(f"{name} {getattr(report, name)}" for name in _COUNTS[2:] if getattr(report, name)) or "it is empty"
    )
