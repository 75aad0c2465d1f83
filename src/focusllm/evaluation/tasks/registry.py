"""The benchmarks by the names people type."""

from focusllm.evaluation.tasks.arithmetic import CodeRun, MathFind
from focusllm.evaluation.tasks.facts import SECOND_WORDINGS, THIRD_WORDINGS, Facts
from focusllm.evaluation.tasks.frequency import CommonWords, FrequentWords
from focusllm.evaluation.tasks.key_value import KeyValue
from focusllm.evaluation.tasks.lines import Lines
from focusllm.evaluation.tasks.niah import NIAH
from focusllm.evaluation.tasks.number import NumberString
from focusllm.evaluation.tasks.passkey import Passkey
from focusllm.evaluation.tasks.sample import Task
from focusllm.evaluation.tasks.tracking import VariableTracking
from focusllm.evaluation.tasks.world import WORLD

_GENERATED: tuple[Task, ...] = (
    Facts(),
    Facts("facts-second", SECOND_WORDINGS),
    Facts("facts-third", THIRD_WORDINGS),
    NumberString(),
    KeyValue(),
    Lines(),
    *NIAH,
    VariableTracking(),
    CommonWords(),
    FrequentWords(),
    MathFind(),
    CodeRun(),
    *WORLD,
)
# One of each kind, for a first look at a model.
SUITE = (
    "passkey", "number-string", "key-value", "lines", "niah-single-2", "niah-multikey-1", "niah-multivalue",
    "niah-multiquery", "variable-tracking", "common-words", "frequent-words", "math-find", "code-run", "world-person",
    "world-count", "facts",
)  # fmt: skip
TASKS: dict[str, Task] = {
    "passkey": Passkey("landmark"),
    "passkey-infinitebench": Passkey("infinitebench"),
    **{task.name: task for task in _GENERATED},
}
