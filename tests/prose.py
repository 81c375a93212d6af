"""How easy the prose of README and docs is: `python -m tests.prose` prints the share of long sentences by page."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONGEST = 30
"""Words of a sentence that is still short."""
WRITTEN_BY_COMMANDS = {"study.md"}
"""Pages that a command writes."""


def pages() -> list[Path]:
    """README and the pages of the docs that people write."""
    docs = [path for path in (ROOT / "docs").rglob("*.md") if path.name not in WRITTEN_BY_COMMANDS]
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        ROOT / "examples/README.md",
        *sorted(docs),
    ]


def sentences(text: str) -> list[str]:
    """Sentences of a page in Markdown, code blocks, comments, tables and headings left out."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text)
    found = []
    for block in blocks:
        lines = block.strip("\n").splitlines()
        if not lines or all(line.startswith(("    ", "|", "#", ":::")) for line in lines):
            continue
        kept = " ".join(line.strip() for line in lines if not line.startswith(("|", "#", ":::")))
        kept = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", kept)
        kept = re.sub(r"`[^`]*`", "code", kept)
        found += re.split(r"(?<=[.!?])[)\"']*\s+(?=[A-Z0-9`(\"'*_\[]|code|https?)", kept) if kept else []
    return [sentence for sentence in found if len(sentence.split()) > 1]


def share_of_long(page: Path) -> tuple[int, int]:
    """Sentences of more than `LONGEST` words, and all sentences."""
    found = sentences(page.read_text(encoding="utf-8"))
    return sum(len(sentence.split()) > LONGEST for sentence in found), len(found)


if __name__ == "__main__":
    total = [0, 0]
    for page in pages():
        long, count = share_of_long(page)
        total = [total[0] + long, total[1] + count]
        print(f"{page.relative_to(ROOT)}: {long} of {count}")
        for sentence in sentences(page.read_text(encoding="utf-8")):
            if len(sentence.split()) > LONGEST:
                print("   ", sentence)
    print(f"all: {total[0]} of {total[1]}, {total[0] / total[1]:.1%}")
