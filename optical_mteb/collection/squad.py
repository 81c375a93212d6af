"""The JSON format of SQuAD: articles, their paragraphs, and questions about each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from optical_mteb.collection import Entry
from optical_mteb.collection.lines import read_lines
from optical_mteb.errors import InputError


class Paragraph(NamedTuple):
    """A paragraph and what is asked about it.

    Attributes:
        entry: The paragraph; its id is `<article>-<paragraph>`, counted from 0.
        questions: The questions, under the publisher's ids.
    """

    entry: Entry
    questions: list[Entry]


class _Question(BaseModel):
    id: str
    question: str


class _Paragraph(BaseModel):
    context: str
    qas: list[_Question]


class _Article(BaseModel):
    paragraphs: list[_Paragraph]


class _File(BaseModel):
    data: list[_Article]


def read_squad(path: Path) -> Iterator[Paragraph]:
    """The paragraphs of a file, without white space around their texts.

    Raises:
        InputError: The file is not valid UTF-8 or no JSON, or lacks what the format has; the place is a line, or a path
            inside the JSON such as `data.0.paragraphs.3.context`.
    """
    try:
        content = _File.model_validate(json.loads("\n".join(read_lines(path))))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: is not JSON ({error.msg}); get the file again") from error
    except RecursionError as error:
        raise InputError(f"{path}: is nested too deep for JSON; get the file again") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{_place(path, *first['loc'])}: {first['msg']}, expected SQuAD's format; get the file again"
        ) from error
    for article, paragraphs in enumerate(content.data):
        for number, paragraph in enumerate(paragraphs.paragraphs):
            place = ("data", article, "paragraphs", number)
            yield Paragraph(
                Entry(f"{article}-{number}", paragraph.context.strip(), where=_place(path, *place, "context")),
                [
                    Entry(question.id, question.question.strip(), where=_place(path, *place, "qas", index))
                    for index, question in enumerate(paragraph.qas)
                ],
            )


def _place(path: Path, *keys: str | int) -> str:
    return f"{path}:{'.'.join(map(str, keys))}"
