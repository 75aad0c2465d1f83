"""Use a streamer, sampling and scores as in transformers, with a prompt far longer than the window.

python examples/as_in_transformers.py book.txt "What is the name of the ship?"
"""

import argparse
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from transformers import TextStreamer

from focusllm import FocusModel


def main() -> None:
    """Stream a greedy answer, then sample three and print how likely each was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="Text file.")
    parser.add_argument("question", help="What to ask about it.")
    options = parser.parse_args()

    model = FocusModel.from_pretrained()
    tokenizer: Any = model.tokenizer
    prompt = options.text.read_text() + model.config.question_template.replace("{question}", options.question)
    input_ids = torch.tensor([model.encode(prompt)])
    print(f"{input_ids.shape[1]:,} tokens, a window of {model.window:,}")

    model.generate(
        input_ids, max_new_tokens=16, stop_strings=["\n"], streamer=TextStreamer(tokenizer, skip_prompt=True)
    )

    settings = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "num_return_sequences": 3, "seed": 0}
    found = model.generate(
        input_ids, max_new_tokens=16, stop_strings=["\n"], return_dict_in_generate=True, output_scores=True, **settings
    )
    # Short outputs are padded to the length of the longest.
    padding = {tokenizer.pad_token_id, tokenizer.eos_token_id}
    for row, sequence in enumerate(found.sequences[:, input_ids.shape[1] :].tolist()):
        token_ids = list(takewhile(lambda token: token not in padding, sequence))
        steps = zip(found.scores, token_ids, strict=False)
        log_probability = sum(float(scores[row].log_softmax(-1)[token]) for scores, token in steps)
        print(f"{log_probability:7.2f}  {tokenizer.decode(token_ids).strip()!r}")


if __name__ == "__main__":
    main()
