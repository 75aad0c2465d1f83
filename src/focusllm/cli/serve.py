"""``focusllm serve``: a server that speaks OpenAI's protocol, for documents far beyond the window."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from focusllm.cli import loading
from focusllm.cli.progress import advice, reading_bar, say
from focusllm.errors import DocumentError, FocusError, InputError, MissingDependencyError

if TYPE_CHECKING:
    from focusllm.documents.manifest import Manifest
    from focusllm.model import FocusModel
    from focusllm.serving.sessions import Sessions


def serve(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|DIR",
            help="Text files and folders made by `focusllm index`, read once; their ids are their names without "
            "suffix.",
            show_default="none: clients send documents",
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Where to listen; beyond this machine with a key only.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen at; 0: a free one.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key", envvar="FOCUSLLM_API_KEY", help="What clients must send as their API key.", show_default="none"
        ),
    ] = None,
    max_waiting: Annotated[
        int, typer.Option("--max-waiting", min=0, help="Requests that may wait while one is answered.")
    ] = 16,
    documents: Annotated[
        Path | None,
        typer.Option(
            "--documents",
            help="Folder where documents that clients send are kept, for the next time, too.",
            show_default="kept in memory",
        ),
    ] = None,
    model: loading.Model = None,
    adapter: loading.Adapter = None,
    chunk_length: loading.ChunkLength = None,
    chunk_kv: loading.ChunkKv = None,
    local_refresh: loading.LocalRefresh = None,
    candidate_refresh: loading.CandidateRefresh = None,
    focus_share: loading.FocusShare = None,
    max_parallel_chunks: loading.MaxParallelChunks = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Most tokens of an answer where a request does not say.")
    ] = 64,
    dtype: loading.Dtype = "auto",
    device: loading.Device = None,
    quiet: loading.Quiet = False,
) -> None:
    """Serve a model and documents to any client of OpenAI's API.

    Example: focusllm serve book.txt
    """
    try:
        from focusllm.serving.app import Api, create_app
        from focusllm.serving.completing import Completer
        from focusllm.serving.engine import ServingEngine
        from focusllm.serving.guard import guard_for
        from focusllm.serving.listening import bound_socket, run
        from focusllm.serving.sessions import Sessions, kept_folders
    except ImportError as error:
        raise MissingDependencyError(f"Serving needs {error.name!r}: pip install 'focusllm[serve]'.") from error
    guard = guard_for(host, api_key)
    named, kept = _named(files or []), [] if documents is None else kept_folders(documents)
    indexed = loading.records_of(path for path in named.values() if path.is_dir())
    loading.check_cut(indexed, chunk_length)
    dtype, chunk_kv = loading.as_indexed([*indexed, *_readable_records(kept)], dtype, chunk_kv)
    with bound_socket(host, port) as listener, advice(not quiet):
        focus = loading.load_model(
            model, adapter, dtype, device, max_parallel_chunks, chunk_length=chunk_length, chunk_kv=chunk_kv,
            local_refresh=local_refresh, candidate_refresh=candidate_refresh, focus_share=focus_share,
        )  # fmt: skip
        sessions = Sessions(focus, documents)
        _read(named, focus, sessions, quiet)
        _take_up(kept, sessions)
        engine = ServingEngine(max_waiting)
        completer = Completer(focus, sessions, max_new_tokens)
        api = Api(focus, _name_of_model(model, adapter), sessions, completer, engine)
        place = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        said = _said(api.name, place, sessions, api_key is not None)
        run(create_app(api, guard), listener, lambda: None if quiet else typer.echo(said), engine.close)


def _named(files: list[str]) -> dict[str, Path]:
    """Return the files and folders that were named, by their ids.

    Raises:
        InputError: One is not there, or two would have the same id.
    """
    from focusllm.serving.sessions import id_of

    paths = dict[str, Path]()
    for path in map(Path, files):
        if not path.exists():
            raise InputError(f"There is no file or folder {str(path)!r} to serve.")
        other = paths.setdefault(name := id_of(path), path)
        if other is not path:
            raise InputError(f"{str(other)!r} and {str(path)!r} would both be served as {name!r}: rename one of them.")
    return paths


def _readable_records(folders: Iterable[Path]) -> "list[Manifest]":
    """Return what folders of the server's own say of themselves, as far as they are whole."""
    records = []
    for folder in folders:
        try:
            records += loading.records_of([folder])
        except DocumentError:
            # It is said why when it is to be loaded.
            continue
    return records


def _read(named: dict[str, Path], focus: "FocusModel", sessions: "Sessions", quiet: bool) -> None:
    """Read what was named on the command line."""
    from focusllm.documents.text import readable

    for name, path in named.items():
        with reading_bar(is_shown=not quiet, title=f"Reading {name}") as bar:
            is_indexed = path.is_dir()
            document = focus.load_document(path) if is_indexed else focus.index(readable(path), name=name, progress=bar)
        sessions.put(document, name)


def _take_up(kept: list[Path], sessions: "Sessions") -> None:
    """Serve documents that were kept, and say which of them cannot be."""
    for folder in kept:
        try:
            sessions.load(folder)
        except FocusError as error:
            say(f"Not served: {error}")


def _name_of_model(model: str | None, adapter: str | None) -> str:
    """Return the id of a model: the name of its adapter, or of its base; of a folder, without what it stands in."""
    name = adapter or model or "bundled"
    return Path(name).resolve().name if Path(name).is_dir() else name


def _said(name: str, place: str, sessions: "Sessions", has_key: bool) -> str:
    """Say what is served, where, and how it is asked."""
    found = [f"{one.document.name} ({one.document.num_tokens:,} tokens)" for one in sessions.all()]
    first = sessions.all()[0].document.name if found else "ID"
    message = {"role": "user", "content": "What is this about?"}
    body = json.dumps({"model": name, "documents": [first], "messages": [message]}, ensure_ascii=False)
    key = ' -H "Authorization: Bearer $FOCUSLLM_API_KEY"' if has_key else ""
    return (
        f"{name} is served at {place}/v1; Ctrl-C ends it.\n"
        f"Documents: {', '.join(found) or f'none yet; POST {place}/v1/documents adds one'}.\n\n"
        f"curl {place}/v1/chat/completions -H 'Content-Type: application/json'{key} \\\n  -d '{body}'\n"
    )
