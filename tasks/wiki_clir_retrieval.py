"""WikiCLIR: an English sentence about something, the articles on it and its neighbours in another language."""

from __future__ import annotations

from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata

_TAGS = """
    sw:swh-Latn tl:tgl-Latn ar:arb-Arab ca:cat-Latn cs:ces-Latn de:deu-Latn es:spa-Latn fi:fin-Latn fr:fra-Latn
    it:ita-Latn ja:jpn-Jpan ko:kor-Hang nl:nld-Latn nn:nno-Latn no:nob-Latn pl:pol-Latn pt:por-Latn ro:ron-Latn
    ru:rus-Cyrl sv:swe-Latn tr:tur-Latn uk:ukr-Cyrl vi:vie-Latn zh:zho-Hans+zho-Hant
"""
"""MTEB's language tags by the code of a Wikipedia, the Chinese one of which is written in either script.

Simple English, which is not another language, is left out.
"""

_CODES = {tags[:3]: code for code, tags in (word.split(":") for word in _TAGS.split())}


class WikiCLIRRetrieval(CollectionRetrieval):
    """Retrieve the Wikipedia articles on what an English sentence is about, in another language.

    The query is the first sentence of an English article, without the words of its title. The article on the same thing
    in the other language has grade 2, those that it links to and that link back have grade 1. The corpus is the whole
    Wikipedia of the language, title and beginning of every article.

    The collection is not divided into splits: all its queries are called `test`. Unless subsets or languages are chosen,
    Swahili (37,079 documents, 22,860 queries) and Tagalog (79,008 and 48,930) are run, the two low-resource languages;
    the others have 133,000 to 3.8 million documents and up to a million queries each.

    The data come through the package ir_datasets, in one archive of 7 GB for all languages.
    """

    default_subsets = ("eng-swh", "eng-tgl")

    metadata = TaskMetadata(
        name="WikiCLIRRetrieval",
        dataset={"path": "ir_datasets/wikiclir", "revision": "705abb611eb8cbab9ced2b8767a3bdb6"},
        description=(
            "Cross-lingual retrieval of Wikipedia articles: the query is the first sentence of an English article "
            "without the words of its title, relevant are the article on the same thing in another language and the "
            "articles that are linked with it both ways. From the Large-Scale CLIR Dataset of Sasaki et al."
        ),
        reference="https://www.cs.jhu.edu/~kevinduh/a/wikiclir2018/",
        eval_splits=["test"],
        eval_langs={
            f"eng-{tags[:3]}": ["eng-Latn", *tags.split("+")]
            for tags in (word.partition(":")[2] for word in _TAGS.split())
        },
        date=("2001-01-15", "2017-08-31"),
        domains=["Encyclopaedic", "Written"],
        task_subtypes=["Article retrieval"],
        license="not specified",
        annotations_creators="derived",
        sample_creation="found",
        bibtex_citation=r"""
@inproceedings{sasaki-etal-2018-cross,
  address = {New Orleans, Louisiana},
  author = {Sasaki, Shota and Sun, Shuo and Schamoni, Shigehiko and Duh, Kevin and Inui, Kentaro},
  booktitle = {Proceedings of the 2018 Conference of the North {A}merican Chapter of the Association for Computational Linguistics: Human Language Technologies, Volume 2 (Short Papers)},
  doi = {10.18653/v1/N18-2073},
  pages = {458--463},
  publisher = {Association for Computational Linguistics},
  title = {Cross-Lingual Learning-to-Rank with Shared Representations},
  url = {https://aclanthology.org/N18-2073},
  year = {2018},
}
""",
    )

    def load_split(self, subset: str, split: str) -> RetrievalSplitData:
        """English first sentences, articles of one language."""
        from optical_mteb.collection.irds import irds_split

        dataset_id = f"wikiclir/{_CODES[subset.partition('-')[2]]}"
        return irds_split(
            f"{self.metadata.name}/{subset}/{split}", dataset_id, corpus_id=dataset_id, query_field="first_sent"
        )
