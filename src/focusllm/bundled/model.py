"""The model that ships inside the package: a small base and its adapter."""

from pathlib import Path

BUNDLED = "bundled"
_WEIGHTS = Path(__file__).parent / "weights"
BASE_PATH = _WEIGHTS / "base"
ADAPTER_PATH = _WEIGHTS / "adapter"


def resolve_base(name: str, folder: Path) -> str:
    """Turn the name of a base into what transformers loads: the bundled one, a path under ``folder``, or an id."""
    if name == BUNDLED:
        return str(BASE_PATH)
    candidate = folder / Path(name).expanduser()
    return str(candidate) if candidate.is_dir() else name
