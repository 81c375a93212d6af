"""The file of ids and texts: rows by position, whatever batch they are in, and damage."""

import numpy as np
import pyarrow as pa
import pytest

from optical_mteb.errors import InputError
from optical_mteb.index.documents import IDS, TEXTS, Documents, write_documents

ROWS = [(f"d{number}", "Mvua" if number % 2 else "", f"የዛሬ ዜና {number}") for number in range(11)]


def written(path, schema=TEXTS, sizes=(4, 1, 6)):
    ends = np.cumsum(sizes)
    parts = [ROWS[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    write_documents(path, schema, [pa.table([*zip(*part, strict=True)], schema=schema) for part in parts])
    return Documents(path)


def test_rows_by_position_in_any_order(tmp_path):
    """Guards against an id or text of another document where a file has several batches."""
    documents = written(tmp_path / "documents.arrow")
    places = np.array([10, 0, 4, 3, 5, 4, 10])
    assert (len(documents), documents.has_texts) == (11, True)
    assert documents.ids(places) == [ROWS[place][0] for place in places]
    assert documents.texts(places) == [f"{ROWS[place][1]} {ROWS[place][2]}".strip() for place in places]
    assert documents.ids(np.array([], np.int64)) == []
    assert documents.table["id"].to_pylist() == [row[0] for row in ROWS]


def test_positions_of_ids(tmp_path):
    """Guards against an id that is looked for in the first batch alone, and one that is not there."""
    path = tmp_path / "documents.arrow"
    write_documents(path, IDS, [pa.table([ids], schema=IDS) for ids in (["a", "b"], ["c", "a"])])
    documents = Documents(path)
    assert documents.positions(["a", "c", "z"]) == {"a": [0, 3], "c": [2]}
    assert (documents.positions([]), documents.has_texts) == ({}, False)


def test_a_file_that_is_cut_short_or_none_is_refused(tmp_path):
    """Guards against a traceback of pyarrow."""
    path = tmp_path / "documents.arrow"
    written(path)
    whole = path.read_bytes()
    for data in (whole[:-1], whole[: len(whole) // 2], whole[:3], b"", b"nothing of that kind" * 9):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"documents.arrow: truncated or edited .* copy or build the index again"):
            Documents(path)
    path.unlink()
    with pytest.raises(InputError, match=r"documents\.arrow: "):
        Documents(path)
    keys = pa.table({"key": ["a"]})
    write_documents(path, keys.schema, [keys])
    with pytest.raises(InputError, match=r"has the columns \['key'\]"):
        Documents(path)
