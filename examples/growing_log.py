"""Ask about a log that grows: what was read before is kept in a folder, and only the new end is read.

    python examples/growing_log.py /var/log/service.log service.focus "What is the error code of the last run?"

Run it again whenever the log has grown.
"""

import argparse
from pathlib import Path

from focusllm import FocusModel


def main() -> None:
    """Index the log into its folder, from where the last call ended, and ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="Log file.")
    parser.add_argument("folder", type=Path, help="Folder that keeps what was read.")
    parser.add_argument("question", help="What to ask about it.")
    options = parser.parse_args()

    model = FocusModel.from_pretrained()
    read = 0

    def count(done: int, _: int) -> None:
        nonlocal read
        read = done

    document = model.index(options.log, options.folder, progress=count)
    print(f"{read:,} of {document.num_chunk_tokens:,} chunk tokens were new.")
    # The keys and values of the document are at hand now: this costs the question alone.
    print(model.ask(document, options.question).text)


if __name__ == "__main__":
    main()
