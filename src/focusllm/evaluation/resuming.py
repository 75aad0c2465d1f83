"""Runs that go on: what a file holds already, and whether it is the same run of the same model."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from focusllm.condensing.adapter_files import fingerprint_of, in_sixteen_bits
from focusllm.condensing.fingerprints import sample_of
from focusllm.errors import InputError
from focusllm.files import checksum, drop_cut_line, held, opened_lines
from focusllm.model import FocusModel

# Values of each of an adapter's tensors that stand for all of it.
_SAMPLED = 1024


@contextmanager
def alone_in(folders: Iterable[Path]) -> Iterator[None]:
    """Keep other processes from writing runs to some folders, which are made where they are missing.

    Raises:
        InputError: One is being written to: both would add the same samples, which would count twice.
    """
    with ExitStack() as stack:
        for folder in set(folders):
            folder.mkdir(parents=True, exist_ok=True)
            if not stack.enter_context(held(folder)):
                raise InputError(f"Another process is writing to {folder}. Wait for it, or give another --output.")
        yield


def opened_run(
    path: Path, header: Mapping[str, Any], key: str, free: Collection[str] = ()
) -> dict[Any, dict[str, Any]]:
    """Return the records a run's file holds, by name; start the file with a header if it is new.

    Args:
        path: JSON lines, of which the first says what the run is.
        header: What the run is.
        key: The field that names a record.
        free: Fields of the header that may differ from one day to the next.

    Raises:
        InputError: The file holds another run, or is no run's.
    """
    try:
        found, records = opened_lines(path, dict(header))
        # Files of earlier versions do not say which model they are of.
        known = {"model": header.get("model"), **found}
        differ = [name for name in {**header, **known} if name not in free and known.get(name) != header.get(name)]
        by_name = {record[key]: record for record in records}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a run's file, or is damaged ({type(error).__name__}: {error}). Give another --output, or "
            f"move the file."
        ) from error
    if differ:
        raise InputError(f"{path} holds another run: {differ} differ. Give another --output, or move the file.")
    drop_cut_line(path)
    return by_name


def identity_of(model: FocusModel) -> dict[str, str]:
    """Return what tells a model from others: fingerprints of its base and of its adapter."""
    tensors = model.adapter.parameters()
    sampled = b"".join(in_sixteen_bits(sample_of(tensors[name], _SAMPLED)) for name in sorted(tensors))
    return {"base": fingerprint_of(model.base), "adapter": checksum(json.dumps(sorted(tensors)).encode() + sampled)}
