"""`optical-mteb index`: build indexes of large corpora, search them and look after them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from optical_mteb.cli.console import Engine, check_engine
from optical_mteb.errors import InputError
from optical_mteb.registry import register
from optical_mteb.terminal_table import TerminalTable

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Build indexes of large corpora and search them.",
    epilog="Example: optical-mteb index build --help",
)


@app.command(
    name="build", epilog="Example: optical-mteb index build my-index --corpus corpus.jsonl --model optical-student"
)
def build(
    folder: Annotated[Path, typer.Argument(help="Folder to put the index in.")],
    corpus: Annotated[
        str, typer.Option(help="BEIR or TREC folder, .jsonl or .tsv file, hub:OWNER/NAME, or MTEB task.")
    ],
    model: Annotated[str, typer.Option("-m", "--model", help="Student, MTEB model, pypi: base, folder or Hub id.")],
    spec: Annotated[
        str, typer.Option(help="auto, flat, hnsw32, ivf4096; with ,sq8, ,pq48 or ,pq192x4; with +refine.")
    ] = "auto",
    recall: Annotated[float, typer.Option(help="Share of the exact best that searching should find.")] = 0.99,
    memory: Annotated[
        str | None, typer.Option(help="What the index may take, as 4GB, for auto; half of the machine's by default.")
    ] = None,
    subset: Annotated[str | None, typer.Option(help="Subset of the task or data set.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the task or data set.")] = None,
    queries: Annotated[Path | None, typer.Option(help="Queries to tune on, .jsonl, .tsv or topics.")] = None,
    texts: Annotated[bool, typer.Option("--texts/--no-texts", help="Keep texts, to show them in rankings.")] = True,
    device: Annotated[str | None, typer.Option(help="Torch device; the best one there is by default.")] = None,
    engine: Annotated[
        Engine, typer.Option(help="Where documents are encoded: this process, or a Ray cluster.")
    ] = Engine.LOCAL,
    address: Annotated[
        str | None, typer.Option(help="With --engine ray: cluster to join; one on this machine by default.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="With --engine ray: processes; a core each by default.")] = None,
) -> None:
    """Encode a corpus and index it; the same command continues an interrupted build."""
    register()
    from optical_mteb.index.assembly import BuildSettings
    from optical_mteb.index.build import build_index
    from optical_mteb.index.choice import parse_memory
    from optical_mteb.index.encoder import load_encoder
    from optical_mteb.index.sources import open_corpus, read_queries

    fill = None
    if check_engine(engine, address, workers):
        from optical_mteb.index.ray_engine import RayEngine

        fill = RayEngine(address, workers, device, prepare=register)
    settings = BuildSettings(spec=spec, recall=recall, memory=parse_memory(memory) if memory else None, texts=texts)
    asked = [query.text for query in read_queries(queries)] if queries else []
    documents = open_corpus(corpus, subset=subset, split=split)
    encoder = load_encoder(model, device=device)
    manifest = build_index(folder, documents, encoder, settings=settings, queries=asked, fill=fill, say=typer.echo)
    typer.echo(f"{folder}: {manifest.spec}, {manifest.count:,} documents, {manifest.tuning.found}")
    typer.echo(f'search it: optical-mteb index search {folder} "a query"')


@app.command(name="search", epilog='Example: optical-mteb index search my-index "afya ya mama"')
def search(
    folder: Annotated[Path, typer.Argument(help="The index.")],
    query: Annotated[str | None, typer.Argument(help="What to search for, in any language of the model.")] = None,
    queries: Annotated[Path | None, typer.Option(help="Many queries: .jsonl, .tsv or topics.")] = None,
    output: Annotated[Path | None, typer.Option(help="With --queries: TREC run to write.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Documents a query; 10, or 1000 in a run, by default.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads that search; all cores by default.")] = None,
    device: Annotated[str | None, typer.Option(help="Torch device for the model.")] = None,
) -> None:
    """Rank the documents of an index for a query, or for a file of them."""
    if (query is None) == (queries is None) or (queries is None) != (output is None):
        raise InputError("give either a query, or both --queries and --output")
    from optical_mteb.index import FaissIndex

    index = FaissIndex.open(folder, device=device, threads=threads)
    register()
    if queries is not None and output is not None:
        from optical_mteb.index.runs import write_run
        from optical_mteb.index.sources import read_queries

        write_run(index, read_queries(queries), output, k=1000 if top_k is None else top_k)
        typer.echo(f"wrote {output}")
        return
    (ranking,) = index.search([query or ""], 10 if top_k is None else top_k)
    texts = index.documents.texts(ranking.positions) if index.documents.has_texts else [""] * len(ranking.ids)
    table = TerminalTable("rank", "score", "document", "text", whole=(1,), prose=(3,))
    for rank, (key, score, text) in enumerate(zip(ranking.ids, ranking.scores, texts, strict=True), start=1):
        table.add_row(str(rank), f"{score:.4f}", key, " ".join(text.split())[:160])
    Console().print(table)


@app.command(name="info", epilog="Example: optical-mteb index info my-index")
def info(folder: Annotated[Path, typer.Argument(help="The index.")]) -> None:
    """Show what is recorded about an index."""
    from optical_mteb.index import IndexManifest

    Console().print_json(IndexManifest.read(folder).model_dump_json(exclude_none=True))


@app.command(name="verify", epilog="Example: optical-mteb index verify my-index")
def verify(folder: Annotated[Path, typer.Argument(help="The index.")]) -> None:
    """Check an index: checksums, counts, ids, and whether documents find themselves."""
    from optical_mteb.index.verify import verify

    failed = False
    for check in verify(folder):
        failed |= not check.passed
        typer.echo(f"{'ok    ' if check.passed else 'FAILED'}  {check.name}: {check.found}")
    if failed:
        raise typer.Exit(1)


@app.command(name="add", epilog="Example: optical-mteb index add my-index --corpus more.jsonl")
def add(
    folder: Annotated[Path, typer.Argument(help="The index.")],
    corpus: Annotated[str, typer.Option(help="Documents to put in, as for build.")],
    subset: Annotated[str | None, typer.Option(help="Subset of the task or data set.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the task or data set.")] = None,
    device: Annotated[str | None, typer.Option(help="Torch device for the model.")] = None,
) -> None:
    """Put documents into an index without building it again."""
    register()
    from optical_mteb.index.changes import add_documents
    from optical_mteb.index.sources import open_corpus

    documents = open_corpus(corpus, subset=subset, split=split)
    manifest = add_documents(folder, documents, device=device, say=typer.echo)
    typer.echo(f"{folder}: added {len(documents):,} documents, {manifest.count - manifest.removed:,} are in it")


@app.command(name="remove", epilog="Example: optical-mteb index remove my-index doc17 doc18")
def remove(
    folder: Annotated[Path, typer.Argument(help="The index.")],
    ids: Annotated[list[str], typer.Argument(help="Documents to take out.")],
) -> None:
    """Take documents out of an index without building it again."""
    from optical_mteb.index.changes import remove_documents

    manifest = remove_documents(folder, ids)
    typer.echo(f"{folder}: removed {len(set(ids)):,} documents, {manifest.count - manifest.removed:,} are in it")
