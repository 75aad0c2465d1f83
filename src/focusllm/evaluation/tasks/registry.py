"""The benchmarks by the names people type."""

from focusllm.evaluation.tasks.facts import SECOND_WORDINGS, Facts
from focusllm.evaluation.tasks.passkey import Passkey
from focusllm.evaluation.tasks.sample import Task

TASKS: dict[str, Task] = {
    "passkey": Passkey("landmark"),
    "passkey-infinitebench": Passkey("infinitebench"),
    "facts": Facts(),
    "facts-second": Facts("facts-second", SECOND_WORDINGS),
}
