"""The two ways in which a text is read at retrieval, and the columns of a batch that hold them."""

from typing import Literal

Reading = Literal["document", "query"]
"""How a target is read: as the documents that are searched, or as the query that searches them."""

ENGLISH: dict[Reading, str] = {"document": "english", "query": "asked"}
"""Column of the English sentences, which the teacher reads, in each reading."""

PARTNER: dict[Reading, str] = {"document": "partner", "query": "askedpartner"}
"""Column of the translations that stand in the place of English, which the student reads, in each reading."""
