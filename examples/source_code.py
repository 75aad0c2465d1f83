"""Ask about all source files in a folder at once, and see which file and line the answer comes from.

    python examples/source_code.py src "What is the version?"

Each file is a document of its own: a chunk never spans two.
"""

import argparse
from pathlib import Path

from focusllm import FocusModel


def main() -> None:
    """Read the files, ask, and print the answer with the places it rests on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="Folder of the files, with its subfolders.")
    parser.add_argument("question", help="What to ask about them.")
    parser.add_argument("--pattern", default="**/*.py", help="Glob pattern of the files.")
    options = parser.parse_args()

    files = [path for path in sorted(options.folder.glob(options.pattern)) if path.is_file() and path.stat().st_size]
    if not files:
        parser.error(f"no file in {options.folder} fits {options.pattern}")
    model = FocusModel.from_pretrained()
    # If the files are too long, this says which setting would help, before anything is read.
    cost = model.estimate(sum(len(model.encode(path.read_text())) for path in files))
    print(f"{len(files)} files: about {cost.index_seconds:.0f} s to read, {cost.document_bytes / 1e6:.0f} MB")

    answer = model.ask(files, options.question)
    print(f"\n{answer.text}  ({answer.num_tokens:,} tokens, {answer.num_chunks} chunks, {answer.seconds:.1f} s)")
    for span in answer.evidence:
        print(f"{span.share:5.0%}  {span.document}:{span.first_line}")


if __name__ == "__main__":
    main()
