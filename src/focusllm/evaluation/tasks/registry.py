"""The benchmarks by the names people type."""

from focusllm.evaluation.tasks.facts import Facts
from focusllm.evaluation.tasks.passkey import Passkey
from focusllm.evaluation.tasks.sample import Task

TASKS: dict[str, Task] = {
    "passkey": Passkey("landmark"),
    "passkey-infinitebench": Passkey("infinitebench"),
    "facts": Facts(),
}
