"""Tokenizers with fewer pieces: which ones a set of texts needs, and the tokenizer rebuilt from them.

Exact by construction. Unigram: the best path of a text consists of kept pieces, and removing others only removes
competitors. WordPiece: at every step the longest match is kept, so it still is the longest; words that end as unknown
keep the pieces matched before the failure, or a shorter match could carry the word further than before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

METASPACE = "▁"
BATCH = 1024


def tokenizer_state(tokenizer: Tokenizer) -> dict[str, Any]:
    """The tokenizer's serialised form, as in `tokenizer.json`.

    Raises:
        InputError: Its model is neither Unigram nor WordPiece.
    """
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    kind = state["model"]["type"]
    if kind not in ("Unigram", "WordPiece"):
        raise InputError(f"vocabulary pruning: the tokenizer is a {kind} model, expected Unigram or WordPiece")
    return state


def pieces_by_id(state: dict[str, Any]) -> dict[int, str]:
    """Pieces of the tokenizer's model (without tokens that were added to it), by id."""
    vocabulary = state["model"]["vocab"]
    if state["model"]["type"] == "Unigram":
        return {number: piece for number, (piece, _) in enumerate(vocabulary)}
    return {number: piece for piece, number in vocabulary.items()}


def used_ids(tokenizer: Tokenizer, state: dict[str, Any], texts: Iterable[str], prefixes: Iterable[str]) -> set[int]:
    """Ids that tokenising the texts, bare and after each prefix, depends on; the tokenizer must not truncate or pad.

    The texts are read once.
    """
    variants = list(dict.fromkeys(["", *prefixes]))
    vocabulary = {piece: number for number, piece in pieces_by_id(state).items()}
    word_piece = state["model"]["type"] == "WordPiece"
    unknown = vocabulary.get(state["model"]["unk_token"]) if word_piece else None
    longest = max(map(len, vocabulary), default=0)
    used: set[int] = set()
    for batch in _batches(texts):
        for prefix in variants:
            prefixed = [prefix + text for text in batch]
            for text, encoding in zip(prefixed, tokenizer.encode_batch_fast(prefixed), strict=True):
                ids = encoding.ids
                used.update(ids)
                if unknown is not None and unknown in ids:
                    for word in _unknown_words(tokenizer, text, unknown):
                        lead = state["model"]["continuing_subword_prefix"]
                        used.update(greedy_matches(word, vocabulary, lead, longest))
    return used


def greedy_matches(word: str, vocabulary: dict[str, int], continuation: str, longest: int | None = None) -> set[int]:
    """Ids of the longest matches from the left, up to the first place where no piece fits (WordPiece).

    Args:
        word: A normalized word.
        vocabulary: Ids of the pieces.
        continuation: What a piece begins with that does not begin a word.
        longest: Letters of the longest piece, so that the time grows with the length of the word alone; counted by
            default.
    """
    longest = max(map(len, vocabulary), default=0) if longest is None else longest
    matches: set[int] = set()
    start = 0
    while start < len(word):
        lead = continuation if start else ""
        ends = (
            end for end in range(min(len(word), start + longest), start, -1) if lead + word[start:end] in vocabulary
        )
        end = next(ends, None)
        if end is None:
            break
        matches.add(vocabulary[lead + word[start:end]])
        start = end
    return matches


def essential_ids(state: dict[str, Any], keep_most_frequent: int = 0) -> set[int]:
    """Ids that every pruned tokenizer keeps: special and added tokens, single characters, the most frequent pieces.

    Frequent is what has a high score (Unigram) or a low id (WordPiece, whose vocabulary is written in that order).
    """
    model = state["model"]
    pieces = pieces_by_id(state)
    kept = {token["id"] for token in state["added_tokens"]}
    if model["type"] == "Unigram":
        scores = [score for _, score in model["vocab"]]
        ranked = sorted(pieces, key=lambda number: -scores[number])
        # the score of an unknown character is the vocabulary's lowest score less a constant
        kept.add(ranked[-1])
        if model["unk_id"] is not None:
            kept.add(model["unk_id"])
        lead = METASPACE
    else:
        ranked = sorted(pieces)
        kept.update(number for number, piece in pieces.items() if piece == model["unk_token"])
        lead = model["continuing_subword_prefix"]
    single = {
        number for number, piece in pieces.items() if len(piece.removeprefix(lead)) <= 1 or _is_byte(piece, model)
    }
    return kept | single | set(ranked[:keep_most_frequent])


def keep_pieces(state: dict[str, Any], kept: set[int]) -> tuple[Tokenizer, list[int]]:
    """The tokenizer with the kept pieces alone, and the old id of each new one (`[new id] -> old id`).

    Args:
        state: A `tokenizer_state`; it is left as it was.
        kept: Old ids; all special and added tokens among them.
    """
    from tokenizers import Tokenizer

    pieces = pieces_by_id(state)
    # tokens that were added to the model take the ids after its own
    order = sorted(kept & pieces.keys()) + sorted(kept - pieces.keys())
    new_ids = {old: new for new, old in enumerate(order)}
    model = dict(state["model"])
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][old] for old in order if old in pieces]
        model["unk_id"] = new_ids.get(model["unk_id"])
    else:
        model["vocab"] = {pieces[old]: new for old, new in new_ids.items() if old in pieces}
    rebuilt = {
        **state,
        "model": model,
        "added_tokens": sorted(
            ({**token, "id": new_ids[token["id"]]} for token in state["added_tokens"]), key=lambda token: token["id"]
        ),
        "post_processor": _renumber(state["post_processor"], new_ids),
        "truncation": None,
        "padding": None,
    }
    return Tokenizer.from_str(json.dumps(rebuilt)), order


def _renumber(processor: dict[str, Any] | None, new_ids: dict[int, int]) -> dict[str, Any] | None:
    """The post-processor with the ids of its special tokens replaced."""
    if processor is None:
        return None
    renumbered = dict(processor)
    if "processors" in processor:
        renumbered["processors"] = [_renumber(part, new_ids) for part in processor["processors"]]
    if "special_tokens" in processor:
        renumbered["special_tokens"] = {
            name: {**token, "ids": [new_ids[old] for old in token["ids"]]}
            for name, token in processor["special_tokens"].items()
        }
    for end in ("sep", "cls"):
        if end in processor:
            token, old = processor[end]
            renumbered[end] = [token, new_ids[old]]
    return renumbered


def _unknown_words(tokenizer: Tokenizer, text: str, unknown: int) -> Iterator[str]:
    encoding = tokenizer.encode(text)
    for number, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if number == unknown:
            word = text[start:end]
            yield tokenizer.normalizer.normalize_str(word) if tokenizer.normalizer else word


def _is_byte(piece: str, model: dict[str, Any]) -> bool:
    return bool(model.get("byte_fallback")) and len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    stream = iter(texts)
    while batch := list(islice(stream, BATCH)):
        yield batch
