"""CLIRMatrix: the title of a Wikipedia article in one language, the articles that it finds in another."""

from __future__ import annotations

from itertools import permutations

from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata

_TAGS = """
    af:afr-Latn als:gsw-Latn am:amh-Ethi an:arg-Latn ar:arb-Arab arz:arz-Arab ast:ast-Latn az:aze-Latn azb:azb-Arab
    ba:bak-Cyrl bar:bar-Latn be:bel-Cyrl bg:bul-Cyrl bn:ben-Beng bpy:bpy-Beng br:bre-Latn bs:bos-Latn bug:bug-Latn
    ca:cat-Latn cdo:cdo-Latn ce:che-Cyrl ceb:ceb-Latn ckb:ckb-Arab cs:ces-Latn cv:chv-Cyrl cy:cym-Latn da:dan-Latn
    de:deu-Latn diq:diq-Latn el:ell-Grek eml:egl-Latn en:eng-Latn eo:epo-Latn es:spa-Latn et:est-Latn eu:eus-Latn
    fa:fas-Arab fi:fin-Latn fo:fao-Latn fr:fra-Latn fy:fry-Latn ga:gle-Latn gd:gla-Latn gl:glg-Latn gu:guj-Gujr
    he:heb-Hebr hi:hin-Deva hr:hrv-Latn hsb:hsb-Latn ht:hat-Latn hu:hun-Latn hy:hye-Armn ia:ina-Latn id:ind-Latn
    ilo:ilo-Latn io:ido-Latn is:isl-Latn it:ita-Latn ja:jpn-Jpan jv:jav-Latn ka:kat-Geor kk:kaz-Cyrl kn:kan-Knda
    ko:kor-Hang ku:kmr-Latn ky:kir-Cyrl la:lat-Latn lb:ltz-Latn li:lim-Latn lmo:lmo-Latn lt:lit-Latn lv:lav-Latn
    mai:mai-Deva mg:mlg-Latn mhr:mhr-Cyrl min:min-Latn mk:mkd-Cyrl ml:mal-Mlym mn:mon-Cyrl mr:mar-Deva mrj:mrj-Cyrl
    ms:msa-Latn my:mya-Mymr mzn:mzn-Arab nap:nap-Latn nds:nds-Latn ne:nep-Deva new:new-Deva nl:nld-Latn nn:nno-Latn
    no:nob-Latn oc:oci-Latn or:ory-Orya os:oss-Cyrl pa:pan-Guru pl:pol-Latn pms:pms-Latn pnb:pnb-Arab ps:pus-Arab
    pt:por-Latn qu:que-Latn ro:ron-Latn ru:rus-Cyrl sa:san-Deva sah:sah-Cyrl scn:scn-Latn sco:sco-Latn sd:snd-Arab
    sh:hbs-Latn si:sin-Sinh sk:slk-Latn sl:slv-Latn sq:sqi-Latn sr:srp-Cyrl su:sun-Latn sv:swe-Latn sw:swh-Latn
    szl:szl-Latn ta:tam-Taml te:tel-Telu tg:tgk-Cyrl th:tha-Thai tl:tgl-Latn tr:tur-Latn tt:tat-Cyrl uk:ukr-Cyrl
    ur:urd-Arab uz:uzb-Latn vec:vec-Latn vi:vie-Latn vo:vol-Latn wa:wln-Latn war:war-Latn wuu:wuu-Hans xmf:xmf-Geor
    yi:yid-Hebr yo:yor-Latn zh:zho-Hans+zho-Hant
"""
"""MTEB's language tags by the code of a Wikipedia, the Chinese one of which is written in either script.

Simple English, which is not another language, is left out.
"""

_LOW_RESOURCE = ("swh", "tgl", "mar", "yor")
_MULTI8 = ("arb", "deu", "eng", "fra", "jpn", "rus", "spa", "zho")

_CODES = {tags[:3]: code for code, tags in (word.split(":") for word in _TAGS.split())}
_TAGS_OF = {tags[:3]: tags.split("+") for tags in (word.partition(":")[2] for word in _TAGS.split())}


def _pairs() -> list[tuple[str, str]]:
    """Query and document language of every subset, those of the low-resource languages first."""
    pairs = [
        *(("eng", name) for name in _LOW_RESOURCE),
        *((name, "eng") for name in _LOW_RESOURCE),
        *permutations(_LOW_RESOURCE, 2),
        *permutations(_MULTI8, 2),
        *(pair for name in _CODES if name != "eng" for pair in (("eng", name), (name, "eng"))),
    ]
    return list(dict.fromkeys(pairs))


class CLIRMatrixRetrieval(CollectionRetrieval):
    """Retrieve the Wikipedia articles that the title of an article in another language asks for.

    What BM25 finds for a title in the title's own Wikipedia is followed to the other language, its scores made into
    grades of 1 to 6: judgements of a machine, many and graded. The corpus is the whole Wikipedia of the document
    language. There is none in Somali, Hausa, Igbo or Zulu.

    Both languages in MULTI-8 (Arabic, German, English, French, Japanese, Russian, Spanish, Chinese), a subset has its
    queries, which are the same in all eight; every other subset has those of BI-139, in its `base` form: 1,000 queries
    with 100 judged documents each. Subsets are English with any of 137 languages, both ways, the pairs of Swahili,
    Tagalog, Marathi and Yoruba, and those of MULTI-8. The split is `test1`; `dev`, `test2` and `train` are there for
    those who ask for them. Unless subsets or languages are chosen, English queries on the four low-resource languages
    are run: the corpus of the other direction has six million English articles.

    The data come through the package ir_datasets.
    """

    default_subsets = tuple(f"eng-{name}" for name in _LOW_RESOURCE)

    metadata = TaskMetadata(
        name="CLIRMatrixRetrieval",
        dataset={"path": "ir_datasets/clirmatrix", "revision": "371cc532aca236759bd3602eb6ce2181"},
        description=(
            "Cross-lingual retrieval of Wikipedia articles: the query is the title of an article in one language, "
            "the documents are the articles in another. Grades come from BM25 in the language of the query, along the "
            "links between Wikipedias. From CLIRMatrix, BI-139 base and MULTI-8."
        ),
        reference="https://www.cs.jhu.edu/~shuosun/clirmatrix/",
        eval_splits=["test1"],
        eval_langs={f"{query}-{document}": [*_TAGS_OF[query], *_TAGS_OF[document]] for query, document in _pairs()},
        date=("2001-01-15", "2020-01-31"),
        domains=["Encyclopaedic", "Written"],
        task_subtypes=["Article retrieval"],
        license="not specified",
        annotations_creators="algorithmic",
        sample_creation="found",
        bibtex_citation=r"""
@inproceedings{sun-duh-2020-clirmatrix,
  address = {Online},
  author = {Sun, Shuo and Duh, Kevin},
  booktitle = {Proceedings of the 2020 Conference on Empirical Methods in Natural Language Processing (EMNLP)},
  doi = {10.18653/v1/2020.emnlp-main.340},
  pages = {4160--4170},
  publisher = {Association for Computational Linguistics},
  title = {{CLIRM}atrix: A massively large collection of bilingual and multilingual datasets for Cross-Lingual Information Retrieval},
  url = {https://aclanthology.org/2020.emnlp-main.340},
  year = {2020},
}
""",
    )

    def load_split(self, subset: str, split: str) -> RetrievalSplitData:
        """Titles of one language, articles of the other."""
        from optical_mteb.collection.irds import irds_split

        query, _, document = subset.partition("-")
        part = "multi8" if query in _MULTI8 and document in _MULTI8 else "bi139-base"
        corpus_id = f"clirmatrix/{_CODES[document]}"
        return irds_split(
            f"{self.metadata.name}/{subset}/{split}",
            f"{corpus_id}/{part}/{_CODES[query]}/{split}",
            corpus_id=corpus_id,
        )
