"""Hooks of mkdocs: tables of a recipe's keys, and files of results that pages link to."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
PLACE = "<!-- recipe tables -->"
RESULT = r"(!?)\[([^\]]*)\]\(\.\./(results/[^)#]*)\)"
"""A link from a page to a file of results, which lies beside the docs."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put the results that pages link to into the site; other pages in Markdown are named only."""
    from mkdocs.structure.files import File

    pages = [file.content_string for file in files.documentation_pages()]
    for name in sorted({found[2] for page in pages for found in re.findall(RESULT, page)}):
        if not name.endswith(".md"):
            files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:  # noqa: ANN401 - what mkdocs passes
    """Fill the place for the tables, and turn links to results into links inside the site."""

    def link(found: re.Match[str]) -> str:
        image, text, name = found.groups()
        return f"{text} (`{name}`)" if name.endswith(".md") else f"{image}[{text}]({name})"

    markdown = re.sub(RESULT, link, markdown)
    return markdown.replace(PLACE, tables()) if PLACE in markdown else markdown


def tables() -> str:
    """All tables of a recipe in Markdown."""
    from optical_mteb.bitext import BitextSource
    from optical_mteb.training import recipe

    parts: list[tuple[str, type[BaseModel]]] = [("Top level", recipe.Recipe)]
    parts += [("[student]", recipe.StudentSettings), ("[teacher]", recipe.TeacherSettings)]
    parts += [("[[bitext]]", BitextSource), ("[batches]", recipe.BatchSettings)]
    parts += [("[training]", recipe.TrainingSettings), ("[evaluation]", recipe.EvaluationSettings)]
    for name, field in recipe.ObjectiveSettings.model_fields.items():
        parts.append(
            (f"[objective.{name}]", next(each for each in get_args(field.annotation) if each is not type(None)))
        )
    return "\n\n".join(f"## `{title}`\n\n{_table(model)}" for title, model in parts)


def _table(model: type[BaseModel]) -> str:
    about = descriptions(model)
    rows = [
        f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {about.get(name, '')} |"
        for name, field in model.model_fields.items()
    ]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a model and of those above it say about its keys."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        section = inspect.cleandoc(each.__doc__ or "").partition("\nAttributes:\n")[2]
        for name, text in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
            found[name] = " ".join(text.split()).replace("|", "\\|")
    return found


def _type(annotation: Any) -> str:  # noqa: ANN401 - any annotation
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "table"
    args = [each for each in get_args(annotation) if each is not type(None) and not isinstance(each, FieldInfo)]
    if get_origin(annotation) in (list, dict) or not args:
        named = getattr(annotation, "__name__", str(annotation))
        return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(named, named)
    return " or ".join(dict.fromkeys(map(_type, args)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return ""
    return "" if isinstance(value, BaseModel) else f"`{str(value).lower() if isinstance(value, bool) else repr(value)}`"
