"""The model card of an adapter: what FocusLLM says of it, in front of what others may add."""

import logging
import re
from pathlib import Path

from focusllm.condensing.hub import split_revision
from focusllm.config import FocusConfig
from focusllm.files import write_bytes

CARD_NAME = "README.md"
# What names on the Hugging Face Hub look like; those of some old models have no owner.
_MODEL_NAME = re.compile(r"([\w.-]+/)?[\w.-]+")
_LOGGER = logging.getLogger(__name__)
_CARD = """---
library_name: focusllm
{lead}tags: [focusllm, long-context]
---

# FocusLLM adapter

Candidate projections ({kind}, {count} parameters) for `{base}`.

```python
from focusllm import FocusModel

model = FocusModel.from_pretrained("{loaded_by}", adapter="{place}")
```
"""
# The same, whatever it was filled with; only what names the base to the Hub may be missing.
_PATTERN = re.escape(_CARD).replace(r"\{lead\}", "(base_model: .*\n)?")
_OUR_CARD = re.compile(re.sub(r"\\\{\w+\\\}", ".*", _PATTERN).encode())


def model_card(base_name: str, config: FocusConfig, num_parameters: int, place: str = "PATH") -> str:
    """Return the model card of an adapter, which is loaded from a place; how it was made may be told behind it."""
    # The Hub refuses a card whose base cannot be one of its models, such as a path.
    base_place = split_revision(base_name)[0]
    return _CARD.format(
        lead=f"base_model: {base_place}\n" if _MODEL_NAME.fullmatch(base_place) else "",
        kind="full" if config.rank is None else f"rank {config.rank}",
        count=f"{num_parameters:,}",
        base=base_name or "unnamed",
        loaded_by=base_name or "BASE",
        place=place,
    )


def put_card(folder: Path, card: str) -> None:
    """Write a model card, also in place of what FocusLLM said of an adapter before; what others wrote is kept."""
    path, new = folder / CARD_NAME, card.encode()
    found = path.read_bytes() if path.exists() else b""
    if found.startswith(new):
        return
    own = _OUR_CARD.match(found)
    kept = found[own.end() :] if own else found
    if own or not found:
        write_bytes(path, new + kept)
    if kept:
        part = "What stands behind the first part of" if own else "All of"
        _LOGGER.warning("%s %s is kept: see that it is true of this adapter.", part, path)
