"""Every error FocusLLM raises on purpose.

FocusError
├── ConfigurationError   a setting is out of range, unknown, or contradicts another
├── UnsupportedModelError   the base model's architecture cannot be wrapped
├── WindowError   the base model's window cannot hold what it was asked to hold
├── InputError   a text, file or tensor given by the user cannot be read as asked
├── AdapterError   an adapter folder is missing something, damaged, or made for another base
├── DocumentError   a document folder is missing something, damaged, or made for another model
│   └── DamageError   a file of it is missing, or its checksum does not hold
├── StateError   a decoding state was used in a way it does not allow
├── TrainingError   a training run cannot start or go on
└── MissingDependencyError   an optional package is needed and not installed
"""


class FocusError(Exception):
    """Base of all errors raised on purpose; its text is meant for the user as it is."""


class ConfigurationError(FocusError, ValueError):
    """Raised when a setting is out of range, unknown, or contradicts another."""


class UnsupportedModelError(FocusError):
    """Raised when the base model's architecture cannot be wrapped."""


class WindowError(FocusError, ValueError):
    """Raised when candidates and local context, or a chunk and its prompt, exceed the base's window."""


class InputError(FocusError, ValueError):
    """Raised when a text, file or tensor given by the user cannot be read as asked."""


class AdapterError(FocusError):
    """Raised when an adapter folder is incomplete, damaged, or belongs to another base."""


class DocumentError(FocusError):
    """Raised when a document folder is incomplete, damaged, or belongs to another model."""


class DamageError(DocumentError):
    """Raised when a file of a document folder is missing, or its checksum does not hold."""


class StateError(FocusError, RuntimeError):
    """Raised when a decoding state is used after it was advanced, or with the wrong batch."""


class TrainingError(FocusError):
    """Raised when a training run cannot start or go on."""


class MissingDependencyError(FocusError, ImportError):
    """Raised when an optional package is needed and not installed."""
