"""FLORES-200: sentences of an article in one language, the rest of the article in English."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

from optical_mteb.collection import Entry
from optical_mteb.collection.published_data import PublishedData
from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata
from optical_mteb.errors import InputError

_ARCHIVE = "flores200_dataset.tar.gz"
_SHA256 = "b8b0b76783024b85797e5cc75064eb83fc5288b41e9654dabc7be6ae944011f6"
_FLORES = PublishedData(
    name="flores200",
    page="https://github.com/facebookresearch/flores/tree/main/flores200",
    # The archive has no version.
    revision=_SHA256,
    archives={_ARCHIVE: f"https://dl.fbaipublicfiles.com/nllb/{_ARCHIVE}"},
    checksums={_ARCHIVE: _SHA256},
)

_PUBLISHED = """
    ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn als_Latn amh_Ethi apc_Arab arb_Arab arb_Latn
    ars_Arab ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn ban_Latn bel_Cyrl
    bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl cat_Latn ceb_Latn ces_Latn cjk_Latn
    ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn dzo_Tibt ell_Grek epo_Latn est_Latn eus_Latn ewe_Latn
    fao_Latn fij_Latn fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gaz_Latn gla_Latn gle_Latn glg_Latn grn_Latn guj_Gujr
    hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn
    jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab kas_Deva kat_Geor kaz_Cyrl kbp_Latn kea_Latn khk_Cyrl
    khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn kmr_Latn knc_Arab knc_Latn kon_Latn kor_Hang lao_Laoo lij_Latn lim_Latn
    lin_Latn lit_Latn lmo_Latn ltg_Latn ltz_Latn lua_Latn lug_Latn luo_Latn lus_Latn lvs_Latn mag_Deva mai_Deva mal_Mlym
    mar_Deva min_Arab min_Latn mkd_Cyrl mlt_Latn mni_Beng mos_Latn mri_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva
    nso_Latn nus_Latn nya_Latn oci_Latn ory_Orya pag_Latn pan_Guru pap_Latn pbt_Arab pes_Arab plt_Latn pol_Latn por_Latn
    prs_Arab quy_Latn ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Olck scn_Latn shn_Mymr sin_Sinh slk_Latn slv_Latn
    smo_Latn sna_Latn snd_Arab som_Latn sot_Latn spa_Latn srd_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn szl_Latn
    tam_Taml taq_Latn taq_Tfng tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi tpi_Latn tsn_Latn tso_Latn tuk_Latn
    tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn vie_Latn war_Latn wol_Latn
    xho_Latn ydd_Hebr yor_Latn yue_Hant zho_Hans zho_Hant zsm_Latn zul_Latn
"""
"""The publisher's codes of all languages but English."""

_TWO_SCRIPTS = ("ace", "arb", "bjn", "kas", "knc", "min", "taq", "zho")

_DEFAULT = ("swh", "som", "tgl", "mar", "fra", "spa", "por", "hau", "ibo", "yor", "zul", "amh")

_CODES = {code if code[:3] in _TWO_SCRIPTS else code[:3]: code for code in ("eng_Latn", *_PUBLISHED.split())}


class _Sentence(NamedTuple):
    line: int
    text: str
    english: str


class FLORESDocRetrieval(CollectionRetrieval):
    """Retrieve what goes on from a sentence: the rest of its article, across languages.

    FLORES-200 has two to five consecutive sentences, seldom more, of each of its English articles (Wikinews, Wikibooks,
    Wikivoyage), which their URL tells apart, in 203 other languages. Every article is cut in two. The sentences of its
    first half, rounded down, are the queries, in another language; its second half is the document, in English. So no
    document has the translation of its query, and a subject must be recognised, not a sentence. An article of a single
    sentence has no query and stays in the corpus.

    In `eng-eng` the queries are the English sentences themselves: what a model reaches without a language barrier.

    `dev` is run unless `--eval-splits devtest` is chosen: both splits come in one archive, but a data folder may well
    have only one. Unless subsets or languages are chosen, twelve languages are run.
    """

    default_subsets = tuple(f"{name}-eng" for name in _DEFAULT)

    metadata = TaskMetadata(
        name="FLORESDocRetrieval",
        dataset={"path": "facebookresearch/flores", "revision": _FLORES.revision},
        description=(
            "Cross-lingual retrieval of articles: the query is a sentence from the first half of an article in another "
            "language (or in English), the document the second half in English. From FLORES-200, whose sentences name "
            "the URL of the Wikinews, Wikibooks or Wikivoyage article that they are from."
        ),
        reference="https://github.com/facebookresearch/flores/tree/main/flores200",
        eval_splits=["dev"],
        eval_langs={f"{name}-eng": [code.replace("_", "-"), "eng-Latn"] for name, code in _CODES.items()},
        date=("2004-11-01", "2022-07-11"),
        domains=["News", "Non-fiction", "Encyclopaedic", "Written"],
        task_subtypes=["Article retrieval"],
        license="cc-by-sa-4.0",
        annotations_creators="derived",
        sample_creation="human-translated",
        bibtex_citation=r"""
@article{goyal-etal-2022-flores,
  author = {Goyal, Naman and Gao, Cynthia and Chaudhary, Vishrav and Chen, Peng-Jen and Wenzek, Guillaume and Ju, Da and Krishnan, Sanjana and Ranzato, Marc'Aurelio and Guzm{\'a}n, Francisco and Fan, Angela},
  doi = {10.1162/tacl_a_00474},
  journal = {Transactions of the Association for Computational Linguistics},
  pages = {522--538},
  title = {The {F}lores-101 Evaluation Benchmark for Low-Resource and Multilingual Machine Translation},
  url = {https://aclanthology.org/2022.tacl-1.30},
  volume = {10},
  year = {2022},
}

@article{nllb-2022,
  author = {{NLLB Team} and Costa-juss{\`a}, Marta R. and Cross, James and {\c{C}}elebi, Onur and Elbayad, Maha and Heafield, Kenneth and Heffernan, Kevin and Kalbassi, Elahe and Lam, Janice and Licht, Daniel and others},
  journal = {arXiv preprint arXiv:2207.04672},
  title = {No Language Left Behind: Scaling Human-Centered Machine Translation},
  url = {https://arxiv.org/abs/2207.04672},
  year = {2022},
}
""",
    )

    def load_split(self, subset: str, split: str) -> RetrievalSplitData:
        """First halves in one language, second halves in English."""
        from optical_mteb.collection.split import retrieval_split

        code = _CODES[subset.rpartition("-")[0]]
        translated, english = (_find(f"{split}/{name}.{split}") for name in (code, "eng_Latn"))
        articles = _articles(_find(f"metadata_{split}.tsv"), translated, english)
        documents: list[Entry] = []
        queries: list[Entry] = []
        articles_of: dict[str, set[str]] = defaultdict(set)
        for url, article in articles.items():
            half = len(article) // 2
            for sentence in article[:half]:
                queries.append(Entry(str(sentence.line), sentence.text, where=f"{translated}:{sentence.line}"))
                articles_of[sentence.text].add(url)
            text = "\n".join(sentence.english for sentence in article[half:])
            documents.append(Entry(url, text, where=f"{english}:{article[half].line}"))
        return retrieval_split(
            f"{self.metadata.name}/{subset}/{split}",
            documents,
            queries,
            {query.id: dict.fromkeys(sorted(articles_of[query.text]), 1) for query in queries},
        )


def _find(path: str) -> Path:
    return _FLORES.find(f"flores200_dataset/{path}", archive=_ARCHIVE)


def _articles(metadata: Path, translated: Path, english: Path) -> dict[str, list[_Sentence]]:
    """The sentences of every article, by its URL."""
    from optical_mteb.collection.lines import read_parallel_lines

    urls = _urls(metadata)
    articles: dict[str, list[_Sentence]] = defaultdict(list)
    count = 0
    for count, (text, original) in enumerate(read_parallel_lines(translated, english), start=1):
        if count <= len(urls):
            articles[urls[count - 1]].append(_Sentence(count, text, original))
    if count != len(urls):
        raise InputError(
            f"{metadata}: names the articles of {len(urls)} sentences, but {english} has {count}; get both again"
        )
    return articles


def _urls(metadata: Path) -> list[str]:
    """URL of every sentence's article."""
    from optical_mteb.collection.lines import read_lines

    rows = [line.split("\t") for line in read_lines(metadata)]
    header = rows[0] if rows else []
    if "URL" not in header:
        raise InputError(f"{metadata}:1: expected a header with the column URL, found {header[:6]}; get the file again")
    column = header.index("URL")
    for number, row in enumerate(rows[1:], start=2):
        # White space around a line is gone, and with it the tab after an empty first cell.
        if len(row) <= column or not row[column].startswith("http"):
            raise InputError(f"{metadata}:{number}: has no URL; get the file again")
    return [row[column] for row in rows[1:]]
