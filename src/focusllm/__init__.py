"""FocusLLM: read documents far longer than a language model's window. Method: arXiv 2408.11745 (ACL 2025)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from focusllm.answering import Answer
    from focusllm.config import FocusConfig
    from focusllm.decoding.state import FocusState
    from focusllm.documents.document import FocusDocument
    from focusllm.errors import FocusError
    from focusllm.evidence import Evidence
    from focusllm.model import FocusModel

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "Evidence",
    "FocusConfig",
    "FocusDocument",
    "FocusError",
    "FocusModel",
    "FocusState",
    "__version__",
]

# Loaded when first asked for, so that importing the package is fast and does nothing else.
_HOMES = {
    "Answer": "focusllm.answering",
    "Evidence": "focusllm.evidence",
    "FocusConfig": "focusllm.config",
    "FocusDocument": "focusllm.documents.document",
    "FocusError": "focusllm.errors",
    "FocusModel": "focusllm.model",
    "FocusState": "focusllm.decoding.state",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
