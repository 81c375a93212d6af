"""NTREX-128: a sentence of a news article in one language, the whole article in another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

from optical_mteb.collection import Entry
from optical_mteb.collection.published_data import PublishedData
from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata

_NTREX = PublishedData.on_github("MicrosoftTranslator/NTREX", "52b9c57c45101e2c48d1d1aa318bcdc854c0d44d")

_SCRIPTS = """
    afr:Latn amh:Ethi arb:Arab aze-Latn:Latn bak:Cyrl bel:Cyrl bem:Latn ben:Beng bod:Tibt bos:Latn bul:Cyrl cat:Latn
    ces:Latn ckb-Arab:Arab cym:Latn dan:Latn deu:Latn div:Thaa dzo:Tibt ell:Grek est:Latn eus:Latn ewe:Latn fao:Latn
    fas:Arab fij:Latn fil:Latn fin:Latn fra:Latn fuc:Latn gle:Latn glg:Latn guj:Gujr hau:Latn heb:Hebr hin:Deva hmn:Latn
    hrv:Latn hun:Latn hye:Armn ibo:Latn ind:Latn isl:Latn ita:Latn jpn:Jpan kan:Knda kat:Geor kaz:Cyrl khm:Khmr kin:Latn
    kir:Cyrl kmr:Latn kor:Hang lao:Laoo lav:Latn lit:Latn ltz:Latn mal:Mlym mar:Deva mey:Arab mkd:Cyrl mlg:Latn mlt:Latn
    mon:Cyrl mri:Latn msa:Latn mya:Mymr nde:Latn nep:Deva nld:Latn nno:Latn nob:Latn nso:Latn nya:Latn orm:Latn pan:Guru
    pol:Latn por:Latn prs:Arab pus:Arab ron:Latn rus:Cyrl shi:Arab sin:Sinh slk:Latn slv:Latn smo:Latn sna-Latn:Latn
    snd-Arab:Arab som:Latn spa:Latn sqi:Latn srp-Cyrl:Cyrl srp-Latn:Latn ssw:Latn swa:Latn swe:Latn tah:Latn tam:Taml
    tat:Cyrl tel:Telu tgk-Cyrl:Cyrl tha:Thai tir:Ethi ton:Latn tsn:Latn tuk:Latn tur:Latn uig:Arab ukr:Cyrl urd:Arab
    uzb:Latn ven:Latn vie:Latn wol:Latn xho:Latn yor:Latn yue:Hant zho-CN:Hans zho-TW:Hant zul:Latn
"""
"""Script by the publisher's language code; its regional variants of one language are left out."""

_TWO_SCRIPTS = ("srp", "zho")

_DEFAULT = ("swh", "som", "fil", "mar", "fra", "spa", "por", "hau", "ibo", "yor", "zul", "amh")


def _languages() -> Iterator[tuple[str, tuple[str, str]]]:
    for word in _SCRIPTS.split():
        published, script = word.split(":")
        code = "swh" if published == "swa" else published[:3]
        yield f"{code}_{script}" if code in _TWO_SCRIPTS else code, (published, f"{code}-{script}")


_LANGUAGES = dict(_languages())
"""The publisher's code and MTEB's language tag, by the name that a language has in our subsets."""

_EVAL_LANGS = {f"{name}-eng": [tag, "eng-Latn"] for name, (_, tag) in _LANGUAGES.items()} | {
    f"eng-{name}": ["eng-Latn", tag] for name, (_, tag) in _LANGUAGES.items()
}


class NTREXRetrieval(CollectionRetrieval):
    """Retrieve the article that a sentence stands in, across languages.

    NTREX-128 has the 123 English articles of WMT19's news test, translated sentence by sentence. The queries are all
    sentences in one language, headlines among them; the corpus has the articles in another one. A sentence that stands
    in two articles is relevant to both. Unless subsets or languages are chosen, twelve languages are run, both ways.
    """

    default_subsets = (*(f"{name}-eng" for name in _DEFAULT), *(f"eng-{name}" for name in _DEFAULT))

    metadata = TaskMetadata(
        name="NTREXRetrieval",
        dataset={"path": "MicrosoftTranslator/NTREX", "revision": _NTREX.revision},
        description=(
            "Cross-lingual retrieval of news articles: the query is a sentence of an article in one language, the "
            "document the whole article in another, one of the two English. From NTREX-128, 123 WMT19 articles "
            "translated from English."
        ),
        reference="https://github.com/MicrosoftTranslator/NTREX",
        eval_splits=["test"],
        eval_langs=_EVAL_LANGS,
        date=("2018-09-01", "2022-11-01"),
        domains=["News", "Written"],
        task_subtypes=["Article retrieval"],
        license="cc-by-sa-4.0",
        annotations_creators="derived",
        sample_creation="human-translated",
        bibtex_citation=r"""
@inproceedings{federmann-etal-2022-ntrex,
  author = {Federmann, Christian and Kocmi, Tom and Xin, Ying},
  booktitle = {Proceedings of the First Workshop on Scaling Up Multilingual Evaluation},
  pages = {21--24},
  publisher = {Association for Computational Linguistics},
  title = {{NTREX}-128 -- News Test References for {MT} Evaluation of 128 Languages},
  url = {https://aclanthology.org/2022.sumeval-1.4},
  year = {2022},
}
""",
    )

    def load_split(self, subset: str, split: str) -> RetrievalSplitData:
        """Sentences of one language, articles of the other."""
        from optical_mteb.collection.lines import read_parallel_lines
        from optical_mteb.collection.split import retrieval_split

        files = [_NTREX.find(_path(name)) for name in subset.split("-")]
        articles_file = _NTREX.find("DOCUMENT_IDS.tsv")
        articles: dict[str, list[str]] = defaultdict(list)
        first_line: dict[str, int] = {}
        queries: list[Entry] = []
        articles_of: dict[str, set[str]] = defaultdict(set)
        lines = read_parallel_lines(articles_file, *files)
        for number, (article, sentence, document) in enumerate(lines, start=1):
            articles[article].append(document)
            first_line.setdefault(article, number)
            articles_of[sentence].add(article)
            if sentence:
                queries.append(Entry(str(number), sentence, where=f"{files[0]}:{number}"))
        return retrieval_split(
            f"{self.metadata.name}/{subset}/{split}",
            [
                Entry(article, "\n".join(sentences), where=f"{files[1]}:{first_line[article]}")
                for article, sentences in articles.items()
            ],
            queries,
            {query.id: dict.fromkeys(sorted(articles_of[query.text]), 1) for query in queries},
        )


def _path(name: str) -> str:
    if name == "eng":
        return "NTREX-128/newstest2019-src.eng.txt"
    return f"NTREX-128/newstest2019-ref.{_LANGUAGES[name][0]}.txt"
