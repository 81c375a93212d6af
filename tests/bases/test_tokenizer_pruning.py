"""Pruned tokenizers, on vocabularies small enough to follow by hand."""

from tokenizers import Tokenizer, models, processors

from optical_mteb.bases.tokenizer_pruning import essential_ids, greedy_matches, keep_pieces, tokenizer_state, used_ids


def _pruned(tokenizer: Tokenizer, texts: list[str]) -> Tokenizer:
    state = tokenizer_state(tokenizer)
    return keep_pieces(state, used_ids(tokenizer, state, texts, []) | essential_ids(state))[0]


def test_the_score_of_unknown_characters_stays():
    """Guards against changed segments: without "zzz" an unknown "x" costs 110, not 210, and "xbc" turns from "xb c" into "<unk> bc"."""
    pieces = [("<unk>", 0.0), ("xb", -100.0), ("c", -100.0), ("bc", -1.0), ("zzz", -200.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    assert tokenizer.encode("xbc").tokens == ["xb", "c"]
    assert _pruned(tokenizer, ["xbc", "bc"]).encode("xbc").tokens == ["xb", "c"]


def test_special_tokens_at_the_end_get_their_new_ids():
    """Guards against a template that goes on inserting the old ids, and an unknown id that points at another piece."""
    words = [(word, -float(len(word))) for word in ("a", "b", "aa", "bb", "ab", "ba")]
    tokenizer = Tokenizer(models.Unigram([*words, ("<unk>", -9.0), ("<s>", 0.0), ("</s>", 0.0)], unk_id=6))
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    template = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 7), ("</s>", 8)])
    tokenizer.post_processor = processors.Sequence([template])
    pruned = _pruned(tokenizer, ["aa"])
    assert pruned.get_vocab() == {"a": 0, "b": 1, "aa": 2, "<unk>": 3, "<s>": 4, "</s>": 5}
    assert pruned.encode("aa?").ids == [4, 2, 3, 5]


def test_greedy_matches_end_where_no_piece_fits():
    """Guards against matches after the failure, or the shorter of two matches."""
    vocabulary = {"a": 0, "ab": 1, "##c": 2, "##cd": 3, "##e": 4}
    assert greedy_matches("abcdxe", vocabulary, "##", 4) == {1, 3}
    assert greedy_matches("abce", vocabulary, "##", 4) == {1, 2, 4}
    assert greedy_matches("xab", vocabulary, "##", 4) == set()


def test_a_long_word_takes_few_look_ups():
    """Guards against a time that grows with the cube of a word's length: addresses and encoded data in web bitext."""

    class Counting(dict):
        asked = 0

        def __contains__(self, piece):
            self.asked += len(piece)
            return super().__contains__(piece)

    vocabulary = Counting({"a": 0, "##a": 1, "##aab": 2, "##b": 3})
    assert greedy_matches("ab" * 5_000, vocabulary, "##", 5) == {0, 1, 3}
    assert vocabulary.asked < 10_000 * 4 * 8
