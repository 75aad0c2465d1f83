"""Folders as users of published benchmarks have them: the layout of the repositories, small, with text of our own."""

import json
from pathlib import Path
from typing import Any

LONGBENCH_TEMPLATES = {
    "hotpotqa": "Passages follow.\n{context}\n\nSay who.\n\nAsked: {input}\nSaid:",
    "gov_report": "Sum this up.\n\nReport:\n{context}\n\nSum it up now.\n\nSum:",
    "multi_news": "Sum these up. \n\nNews:\n{context}\n\nSum them up now.\n\nSum:",
    "samsum": "Some talk.\n\n{context}\n\n{input}",
    "trec": "Some kinds.\n\n{context}\n{input}",
    "lcc": "Go on. \n{context}Next:\n",
}
INFINITE_TEMPLATES = """yarn_mistral_templates = {
    "passkey": "A key is hidden.\\n\\n{context}\\n\\n{input}\\n\\nIt is",  # noqa
    "longbook_choice_eng": "Read on.\\n\\n{context}\\n\\nAsked: {question}\\n"
    "A. {OPTION_A}\\nB. {OPTION_B}\\nC. {OPTION_C}\\nD. {OPTION_D}\\nIt is",
    "code_run": "Here is {func}.\\n\\n{context}\\n\\nWhat is {func_call}?",
    "math_find": "{prefix}\\n\\n{context}\\n\\n{input}",
}
other_templates = {"passkey": "{context}" + "{input}"}
raise SystemExit("this file must never be run")
"""
INFINITE_LIMITS = """import nowhere

DATA_NAME_TO_MAX_NEW_TOKENS = {"passkey": 6, "longbook_choice_eng": 40, "code_run": 5, "math_find": 3}


def create_prompt(prompt):
    target_number = prompt.lower()[:-3]
    prefix = f"Which is {target_number} here?"
    return prefix
"""
BABILONG_PROMPTS = """TASK = '{instruction}|{examples}|{post_prompt}'
USER = '<context>{context}</context> {question}'
DEFAULT_TEMPLATE = f'{TASK}\\n{USER}\\n'
DEFAULT_PROMPTS = {
    'qa1': {'instruction': 'Say where. ' 'Be short.', 'examples': 'None.', 'post_prompt': 'Now:'},
    'qa8': {'instruction': 'Say what.', 'examples': 'None.', 'post_prompt': 'Now:'},
}
"""
BABILONG_LABELS = "TASK_LABELS = {'qa1': ['kitchen', 'Garden']}\n"
LONG_TEXT = "".join(f"In the year {1000 + n} nothing of note happened. " for n in range(12))


def write(path: Path, content: Any) -> Path:
    """Write a text, JSON, or (from a list) JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list):
        content = "".join(json.dumps(part) + "\n" for part in content)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def longbench_sample(**changes: Any) -> dict[str, Any]:
    """Return a sample of LongBench."""
    sample = {"input": "Who came?", "context": LONG_TEXT, "answers": ["Ada", "Bob"], "length": 500, "all_classes": None}
    return {**sample, **changes}


def longbench_folder(folder: Path) -> Path:
    """Write a LongBench with two subsets, and the same as LongBench-E."""
    write(folder / "config" / "dataset2prompt.json", LONGBENCH_TEMPLATES)
    write(folder / "config" / "dataset2maxlen.json", dict.fromkeys(LONGBENCH_TEMPLATES, 4))
    samples = [longbench_sample(length=length) for length in (10, 5000, 9000)]
    for name in ("hotpotqa", "gov_report"):
        write(folder / "data" / f"{name}.jsonl", samples)
        write(folder / "data" / f"{name}_e.jsonl", samples)
    return folder


def longbench_v2_folder(folder: Path) -> Path:
    """Write a LongBench v2 with two questions, to be answered at once or behind reasoning."""
    choices = "$C_A$/$C_B$/$C_C$/$C_D$"
    write(folder / "prompts" / "0shot.txt", f"$DOC$\n$Q$ {choices} again $Q$")
    write(folder / "prompts" / "0shot_cot.txt", f"$DOC$\n$Q$ {choices} Think:")
    write(folder / "prompts" / "0shot_cot_ans.txt", f"No text. $Q$ {choices} Thought: $COT$ Which?")
    shared = {f"choice_{letter}": f"choice {letter} " for letter in "ABCD"}
    samples = [
        {
            "context": f" {LONG_TEXT} costs $Q$ ",
            "question": " What?",
            **shared,
            "answer": "B",
            "difficulty": d,
            "length": n,
        }
        for d, n in (("hard", "long"), ("easy", "short"))
    ]
    write(folder / "data.json", json.dumps(samples))
    return folder


def infinitebench_folder(folder: Path) -> Path:
    """Write an InfiniteBench with four subsets."""
    write(folder / "src" / "prompt.py", INFINITE_TEMPLATES)
    write(folder / "src" / "eval_utils.py", INFINITE_LIMITS)
    options = {"options": ["Ada", "Bob", "Cy", "Di"]}
    for name, asked, answer, more in (
        ("passkey", "Which key?", "71432", {}),
        ("longbook_choice_eng", "Who?", ["Cy"], options),
        ("code_run", "Please call func_7(-3) now.", [4], {}),
        ("math_find", "The second largest number of all is", [9], {}),
    ):
        sample = {"id": 0, "context": LONG_TEXT, "input": asked, "answer": answer, **more}
        write(folder / "data" / "InfiniteBench" / f"{name}.jsonl", [sample])
    return folder


def babilong_folder(folder: Path) -> Path:
    """Write a BABILong with one task at three lengths."""
    write(folder / "babilong" / "prompts.py", BABILONG_PROMPTS)
    write(folder / "babilong" / "metrics.py", BABILONG_LABELS)
    sample = {"input": f" {LONG_TEXT}\n", "question": "Where is Ada?", "target": "garden"}
    for length in ("2k", "16k", "1M"):
        write(folder / "data" / "qa1" / f"{length}.json", [sample, sample])
    return folder


FOLDERS = {
    "longbench": longbench_folder,
    "longbench-e": longbench_folder,
    "longbench-v2": longbench_v2_folder,
    "infinitebench": infinitebench_folder,
    "babilong": babilong_folder,
}
