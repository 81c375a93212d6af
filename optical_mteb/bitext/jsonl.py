"""JSON lines: one object a line, the two sides in fields that may be nested (`translation.en`)."""

from __future__ import annotations

import json
from pathlib import Path

from optical_mteb.bitext.fields import Fields
from optical_mteb.bitext.lines import read_lines
from optical_mteb.bitext.records import Malformed, RawRecords


def read_jsonl(path: Path, fields: Fields) -> RawRecords:
    """Records of the file; blank lines are passed over."""
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        if isinstance(line, Malformed):
            yield line
        elif line.strip():
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                yield Malformed(where, f"not JSON ({error}), expected one object a line")
            else:
                yield fields.record(row, number, where)
