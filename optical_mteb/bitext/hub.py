"""Data sets of the Hugging Face Hub, or folders laid out like one; streamed, never running code of the data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from optical_mteb.bitext.fields import Fields
from optical_mteb.bitext.records import RawRecords
from optical_mteb.errors import InputError


def read_hub(
    repository: str, fields: Fields, *, config: str | None = None, split: str = "train", revision: str | None = None
) -> RawRecords:
    """Records of one split, in the data set's order.

    Args:
        repository: `owner/name` on the Hub, or a local folder.
        fields: Where a row has its two sides.
        config: Configuration (subset) of the data set.
        split: Split to read.
        revision: Commit, tag or branch.

    Raises:
        InputError: The data set cannot be reached or read, or has no such configuration, split or field.
    """
    place = f"hub:{repository}" + (f"/{config}" if config else "") + f"[{split}]"
    for number, row in enumerate(_rows(repository, config, split, revision, place), start=1):
        missing = fields.missing(row) if number == 1 else None
        if missing is not None:
            raise InputError(
                f"{place}: no field {missing!r}; the rows have {', '.join(row)}; name nested ones with dots"
            )
        yield fields.record(row, number, f"{place}:{number}")


def _rows(
    repository: str, config: str | None, split: str, revision: str | None, place: str
) -> Iterator[Mapping[str, object]]:
    import datasets

    try:
        rows = datasets.load_dataset(repository, config, split=split, revision=revision, streaming=True)
        yield from rows
    # Nothing narrower: the client lets errors of its HTTP, file system and parser libraries through unchanged.
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise InputError(
            f"{place}: cannot be read ({type(error).__name__}: {reason}); check the name, config and split, "
            "the network, and HF_HUB_OFFLINE, or download it and give the folder"
        ) from error
