"""Language codes: one spelling inside (ISO 639-3), every usual spelling at the door."""

from __future__ import annotations

import re
from dataclasses import dataclass

from optical_mteb.errors import InputError, did_you_mean


@dataclass(frozen=True)
class Language:
    """A language as data sets and MTEB name it.

    Attributes:
        code: ISO 639-3, as in MTEB's task metadata.
        script: ISO 15924.
        name: English name.
        aliases: Other codes for it: ISO 639-1, macrolanguages, publishers' habits.
    """

    code: str
    script: str
    name: str
    aliases: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """The language-script tag that MTEB uses, `swh-Latn`."""
        return f"{self.code}-{self.script}"


_KNOWN = (
    Language("eng", "Latn", "English", ("en",)),
    Language("swh", "Latn", "Swahili", ("sw", "swa")),
    Language("som", "Latn", "Somali", ("so",)),
    Language("tgl", "Latn", "Tagalog", ("tl",)),
    Language("fil", "Latn", "Filipino"),
    Language("mar", "Deva", "Marathi", ("mr",)),
    Language("yor", "Latn", "Yoruba", ("yo",)),
    Language("hau", "Latn", "Hausa", ("ha",)),
    Language("ibo", "Latn", "Igbo", ("ig",)),
    Language("zul", "Latn", "Zulu", ("zu",)),
    Language("amh", "Ethi", "Amharic", ("am",)),
    Language("arb", "Arab", "Arabic", ("ar",)),
    Language("bam", "Latn", "Bambara", ("bm",)),
    Language("bem", "Latn", "Bemba"),
    Language("ben", "Beng", "Bengali", ("bn",)),
    Language("bho", "Deva", "Bhojpuri"),
    Language("ceb", "Latn", "Cebuano"),
    Language("ckb", "Arab", "Central Kurdish"),
    Language("dik", "Latn", "Southwestern Dinka", ("din",)),
    Language("ewe", "Latn", "Ewe", ("ee",)),
    Language("fon", "Latn", "Fon"),
    Language("fuv", "Latn", "Nigerian Fulfulde"),
    Language("gaz", "Latn", "West Central Oromo", ("om", "orm")),
    Language("guj", "Gujr", "Gujarati", ("gu",)),
    Language("hin", "Deva", "Hindi", ("hi",)),
    Language("ilo", "Latn", "Ilocano"),
    Language("ind", "Latn", "Indonesian", ("id",)),
    Language("jav", "Latn", "Javanese", ("jv",)),
    Language("kam", "Latn", "Kamba"),
    Language("khm", "Khmr", "Khmer", ("km",)),
    Language("kin", "Latn", "Kinyarwanda", ("rw",)),
    Language("kmr", "Latn", "Northern Kurdish", ("ku",)),
    Language("knc", "Latn", "Central Kanuri", ("kr",)),
    Language("lin", "Latn", "Lingala", ("ln",)),
    Language("lug", "Latn", "Ganda", ("lg",)),
    Language("luo", "Latn", "Luo"),
    Language("mya", "Mymr", "Burmese", ("my",)),
    Language("npi", "Deva", "Nepali", ("ne", "nep")),
    Language("nso", "Latn", "Northern Sotho"),
    Language("nus", "Latn", "Nuer"),
    Language("nya", "Latn", "Nyanja", ("ny",)),
    Language("ory", "Orya", "Odia"),
    Language("pan", "Guru", "Eastern Panjabi", ("pa",)),
    Language("pbt", "Arab", "Southern Pashto", ("ps", "pus")),
    Language("pes", "Arab", "Iranian Persian", ("fa", "fas")),
    Language("plt", "Latn", "Plateau Malagasy", ("mg",)),
    Language("prs", "Arab", "Dari"),
    Language("run", "Latn", "Rundi", ("rn",)),
    Language("san", "Deva", "Sanskrit", ("sa",)),
    Language("sna", "Latn", "Shona", ("sn",)),
    Language("sot", "Latn", "Southern Sotho", ("st",)),
    Language("sun", "Latn", "Sundanese", ("su",)),
    Language("tam", "Taml", "Tamil", ("ta",)),
    Language("tir", "Ethi", "Tigrinya", ("ti",)),
    Language("tsn", "Latn", "Tswana", ("tn",)),
    Language("twi", "Latn", "Twi", ("tw",)),
    Language("urd", "Arab", "Urdu", ("ur",)),
    Language("wol", "Latn", "Wolof", ("wo",)),
    Language("xho", "Latn", "Xhosa", ("xh",)),
    Language("zsm", "Latn", "Standard Malay", ("ms", "msa")),
    Language("fra", "Latn", "French", ("fr",)),
    Language("spa", "Latn", "Spanish", ("es", "es-la")),
    Language("por", "Latn", "Portuguese", ("pt", "pt-br")),
    Language("rus", "Cyrl", "Russian", ("ru",)),
    Language("zho", "Hans", "Chinese", ("zh",)),
    Language("deu", "Latn", "German", ("de",)),
)

_FAMILIES = {
    "Afro-Asiatic": "amh arb gaz hau som tir",
    "Atlantic-Congo": "bem ewe fon fuv ibo kam kin lin lug nso nya run sna sot swh tsn twi wol xho yor zul",
    "Austroasiatic": "khm",
    "Austronesian": "ceb fil ilo ind jav plt sun tgl zsm",
    "Dravidian": "tam",
    "Indo-European": "ben bho ckb deu eng fra guj hin kmr mar npi ory pan pbt pes por prs rus san spa urd",
    "Mande": "bam",
    "Nilotic": "dik luo nus",
    "Saharan": "knc",
    "Sino-Tibetan": "mya zho",
}
_BY_CODE = {spelling: language for language in _KNOWN for spelling in (language.code, *language.aliases)}
_FAMILY = {code: family for family, codes in _FAMILIES.items() for code in codes.split()}
_TAG = re.compile(r"([a-z]{3})-([A-Z][a-z]{3})")


def find_language(spelling: str) -> Language:
    """The language of a code: ISO 639-1 or 639-3 (`sw`, `swh`), an alias (`pt-BR`) or any MTEB tag (`kik-Latn`).

    Raises:
        InputError: The code is unknown and is not a language-script tag.
    """
    known = _BY_CODE.get(spelling.lower())
    if known:
        return known
    tag = _TAG.fullmatch(spelling)
    if tag:
        by_code = _BY_CODE.get(tag[1])
        return by_code if by_code and by_code.script == tag[2] else Language(tag[1], tag[2], tag[1])
    hint = did_you_mean(spelling, _BY_CODE)
    raise InputError(
        f"language {spelling!r} is unknown; {hint}{' ' * bool(hint)}write an ISO 639-3 code with its script for any other language, as in 'kik-Latn'"
    )


def family_of(code: str) -> str | None:
    """The top-level family of a language (ISO 639-3) by Glottolog 5 (https://glottolog.org), or None if it is not listed."""
    return _FAMILY.get(code)
