"""``python -m focusllm`` is the command ``focusllm``."""

from focusllm.cli.main import main

main()
