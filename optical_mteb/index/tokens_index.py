"""An index of tokens that is searched: late interaction, behind the same `FaissIndex.open` and `search`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from optical_mteb.errors import InputError
from optical_mteb.index.documents import Documents, Integers
from optical_mteb.index.faiss_index import FaissIndex, as_texts
from optical_mteb.index.manifest import IndexManifest
from optical_mteb.index.searcher import Searcher
from optical_mteb.index.shards import Vectors
from optical_mteb.index.tokens_encoder import TokenEncoder, check_tokens
from optical_mteb.index.tokens_search import MaxSimSearcher

if TYPE_CHECKING:
    from optical_mteb.index.encoder import Encoder


class TokenIndex(FaissIndex):
    """An index by a late-interaction model. `FaissIndex.open` gives one where the folder holds one.

    Attributes:
        searcher: Finds tokens.
        maxsim: Finds documents.
    """

    def __init__(
        self,
        folder: Path,
        manifest: IndexManifest,
        documents: Documents,
        searcher: Searcher,
        *,
        encoder: Encoder | TokenEncoder | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(folder, manifest, documents, searcher, encoder=encoder, device=device)
        mean = manifest.metric == "meanmaxsim"
        self.maxsim = MaxSimSearcher(folder, searcher, count=manifest.count, width=manifest.width, mean=mean)

    def __len__(self) -> int:
        """Documents that can be found."""
        return self.maxsim.live

    def findable(self) -> Integers:
        """Positions of the documents that can be found: those that have a token."""
        return self.maxsim.filled

    def own_vectors(self, positions: Integers) -> list[Vectors]:
        """The token vectors of documents, [tokens, width] each."""
        return [self.maxsim.vectors_of(int(position)) for position in positions]

    def token_encoder(self) -> TokenEncoder:
        """The model of the index, with the prompts on record; loaded when it is first needed.

        Raises:
            InputError: It is not there in the revision on record, or gives one vector a text.
        """
        encoder = self._loaded()
        if not isinstance(encoder, TokenEncoder):
            raise InputError(
                f"{self.folder}: holds a vector for each token, and {encoder.record.name} gives one a text; "
                "build the index again, or use the model on record"
            )
        return encoder

    def _found(
        self, queries: Sequence[str] | Vectors | Sequence[Vectors], k: int
    ) -> tuple[NDArray[np.float32], Integers]:
        return self.maxsim.search(self._tokens(queries), k, self.manifest.tuning)

    def _tokens(self, queries: Sequence[str] | Vectors | Sequence[Vectors]) -> list[Vectors]:
        if any(isinstance(query, str) for query in queries):
            return self.token_encoder().queries(as_texts(queries))
        rows = [np.asarray(query, np.float32) for query in queries]
        wrong = next((each.shape for each in rows if each.ndim != 2 or each.shape[1] != self.manifest.width), None)
        if wrong is not None:
            raise InputError(
                f"{self.folder}: expected a query's token vectors of shape (n, {self.manifest.width}), found {wrong}"
            )
        if rows:
            lengths = np.array([len(each) for each in rows], np.int64)
            name = self.manifest.model.name if self.manifest.model else ""
            check_tokens(np.concatenate(rows), lengths, range(1, len(rows) + 1), kind="query", model=name)
        return rows
