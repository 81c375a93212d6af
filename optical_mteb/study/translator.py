"""A machine translation model that puts queries into English."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from babel.core import get_global
from safetensors import SafetensorError
from sentence_transformers.util import get_device_name
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file
from transformers.utils.import_utils import is_sentencepiece_available

from optical_mteb.bases import folder_revision, is_hub_id
from optical_mteb.errors import InputError, reason_of
from optical_mteb.mteb_compat import hub_commit
from optical_mteb.storage import expanded

ENGLISH = "eng-Latn"
"""MTEB's tag of the language that is translated into."""

_NLLB_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
_MARIAN_ENGLISH = ">>eng<<"


class Translator:
    """A machine translation model that translates into English.

    Marian models (one pair, many sources or many targets), NLLB and M2M100 are understood. Translations are kept, so
    that a text is translated once.

    Attributes:
        name: What the model was loaded as.
        revision: Commit on the Hub, or hash of the folder's files.
        num_beams: Width of the beam; 1 is greedy search.
        batch_size: Texts translated at once.
        max_tokens: Longer inputs are cut, longer translations end there.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        revision: str,
        num_beams: int = 4,
        batch_size: int = 32,
        max_tokens: int = 256,
    ) -> None:
        """Take a loaded model; see `load` for one on the Hub or in a folder.

        Raises:
            InputError: The model is of another kind, or does not translate into English.
        """
        self.model = model
        self.model.train(False)
        self.tokenizer: Any = tokenizer
        self.name = name
        self.revision = revision
        self.num_beams = num_beams
        self.batch_size = batch_size
        # The decoder reads its start token besides.
        self.max_tokens = min(max_tokens, getattr(model.config, "max_position_embeddings", max_tokens + 1) - 1)
        self._codes = _language_codes(tokenizer)
        self._code_tokens = frozenset(self._codes.values())
        self._prefix = "" if self._codes else _marian_prefix(model, tokenizer, name)
        self._english = self._codes[self.language_code(ENGLISH) or ""] if self._codes else None
        self._translations: dict[tuple[str, str], str] = {}

    @classmethod
    def load(cls, spec: str, *, device: str | None = None, **settings: int) -> Self:
        """Load a translation model; weights are always safetensors, and no code from the model is run.

        Args:
            spec: A folder, or a Hub id, `@` and a revision behind it where wanted, as in
                `facebook/nllb-200-distilled-600M@refs/pr/45`.
            device: As in torch; None for the best one there is.
            **settings: `num_beams`, `batch_size` and `max_tokens`.

        Raises:
            InputError: There is no such model, it has no safetensors weights, or it does not translate into English.
        """
        source, _, wanted = (spec, "", "") if expanded(spec).exists() else spec.partition("@")
        folder = expanded(source)
        local = folder.is_dir()
        if local:
            _check_folder(folder)
        elif not is_hub_id(source):
            raise InputError(f"{source}: no such folder, expected a translation model's folder or a Hub id")
        options: dict[str, Any] = {"trust_remote_code": False, **({"revision": wanted} if wanted else {})}
        place = str(folder) if local else source
        try:
            model = AutoModelForSeq2SeqLM.from_pretrained(place, use_safetensors=True, dtype=torch.float32, **options)
            if not _has_tokenizer(place, wanted or None):
                raise _sentencepiece_missing(spec)
            tokenizer = AutoTokenizer.from_pretrained(place, **options)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, SafetensorError) as error:
            raise _load_error(spec, error, local=local) from error
        revision = folder_revision(folder) if local else hub_commit(model.config) or wanted
        return cls(model.to(device or get_device_name()), tokenizer, name=source, revision=revision, **settings)

    def language_code(self, language_tag: str) -> str | None:
        """The model's own code of a language; None for a Marian model, which has none and takes what it gets.

        Args:
            language_tag: MTEB's tag, `swh-Latn`; a macrolanguage stands for its standard form, `swa-Latn` for it, too.

        Raises:
            InputError: The model does not know the language.
        """
        return _find_code(language_tag, self._codes, self.name) if self._codes else None

    def translate(self, texts: Sequence[str], language_tag: str) -> list[str]:
        """Translate into English; empty texts stay empty.

        Args:
            texts: Texts in one language.
            language_tag: MTEB's tag of it, `swh-Latn`.

        Raises:
            InputError: The model does not know the language.
        """
        code = self.language_code(language_tag)
        if code is not None:
            self.tokenizer.src_lang = code
        unknown = [text for text in dict.fromkeys(texts) if text.strip()]
        unknown = [text for text in unknown if (language_tag, text) not in self._translations]
        # Texts of one length need no padding, and the longest show at once whether a batch fits into memory.
        unknown.sort(key=len, reverse=True)
        for start in range(0, len(unknown), self.batch_size):
            batch = unknown[start : start + self.batch_size]
            for text, translation in zip(batch, self._generate(batch), strict=True):
                self._translations[language_tag, text] = translation
        return [self._translations.get((language_tag, text), text) for text in texts]

    @torch.inference_mode()
    def _generate(self, texts: Sequence[str]) -> list[str]:
        inputs = self.tokenizer(
            [self._prefix + text for text in texts],
            return_tensors="pt",
            return_token_type_ids=False,
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
        ).to(self.model.device)
        forced = {} if self._english is None else {"forced_bos_token_id": self._english}
        generate: Any = self.model.generate
        output = generate(
            **inputs,
            **forced,
            num_beams=self.num_beams,
            do_sample=False,
            max_new_tokens=self.max_tokens,
            max_length=None,
        )
        # M2M100's tokenizer may not count its language tokens among the special ones.
        words = [[token for token in tokens if token not in self._code_tokens] for tokens in output.tolist()]
        return [text.strip() for text in self.tokenizer.batch_decode(words, skip_special_tokens=True)]


def _language_codes(tokenizer: Any) -> dict[str, int]:  # noqa: ANN401 - attributes of NLLB's and M2M100's tokenizers
    """Token that forces each language of a multilingual model, by the model's code of it."""
    by_code = getattr(tokenizer, "lang_code_to_id", None)
    if by_code:
        return dict(by_code)
    return {token: index for token, index in tokenizer.get_added_vocab().items() if _NLLB_CODE.fullmatch(token)}


def _find_code(language_tag: str, codes: Iterable[str], model: str) -> str:
    language, _, script = language_tag.partition("-")
    exact = f"{language}_{script}"
    if exact in codes:
        return exact
    canonical = _canonical(language)
    same = [code for code in codes if _canonical(code.partition("_")[0]) == canonical]
    for code in same:
        if code.partition("_")[2] in ("", script):
            return code
    near = same or difflib.get_close_matches(exact, codes, n=3, cutoff=0.5)
    known = f"near codes that it knows: {', '.join(near)}" if near else f"it knows {', '.join(sorted(codes))}"
    raise InputError(f"{model}: does not translate from {language_tag}; {known}")


def _canonical(language: str) -> str:
    """A language's code in CLDR: `swh`, `swa` and `sw` are `sw`, `tgl` and `fil` are `fil`."""
    aliases: Mapping[str, str] = get_global("language_aliases")
    return aliases.get(language, language)


def _marian_prefix(model: PreTrainedModel, tokenizer: Any, name: str) -> str:  # noqa: ANN401 - Marian's tokenizer
    """What stands before every text: the token of English where a model has many targets, else nothing.

    Raises:
        InputError: The model is no Marian model, or does not translate into English.
    """
    kind = model.config.model_type
    if kind != "marian":
        raise InputError(f"{name}: is a {kind} model, expected Marian, NLLB or M2M100")
    targets = [token for token in tokenizer.get_vocab() if token.startswith(">>") and token.endswith("<<")]
    if _MARIAN_ENGLISH in targets:
        return f"{_MARIAN_ENGLISH} "
    target = getattr(tokenizer, "target_lang", None) or ("other languages" if targets else "eng")
    if _canonical(target) != _canonical("eng"):
        raise InputError(f"{name}: translates into {target}, expected a model that translates into English")
    return ""


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: no config.json, expected a translation model that save_pretrained wrote")
    if not any(folder.glob("*.safetensors")):
        raise InputError(
            f"{folder}: no *.safetensors file, and pickled weights are not read; save the model again as safetensors"
        )


def _has_tokenizer(place: str, revision: str | None) -> bool:
    """Whether the tokenizer can be loaded: transformers puts an unfit one in the place of one of sentencepiece's."""
    if is_sentencepiece_available():
        return True
    revised = {"revision": revision} if revision else {}
    return cached_file(place, "tokenizer.json", _raise_exceptions_for_missing_entries=False, **revised) is not None


def _sentencepiece_missing(spec: str) -> InputError:
    return InputError(f"{spec}: its tokenizer needs two more packages; run: pip install sentencepiece sacremoses")


def _load_error(spec: str, error: Exception, *, local: bool) -> InputError:
    reason = reason_of(error)
    if "sentencepiece" in reason.lower() and not is_sentencepiece_available():
        return _sentencepiece_missing(spec)
    if local:
        return InputError(f"{spec}: cannot be loaded ({reason}), expected a complete translation model; save it again")
    return InputError(
        f"{spec}: no such folder, and the Hub gives no such translation model with safetensors weights ({reason}); "
        "check the id and the connection, or name a revision that has them, as in ID@refs/pr/1"
    )
