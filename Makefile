# Everything is set up by the first target that needs it, in $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Keeps the allocator from handing large blocks back to the system at every step; several times faster on CPUs.
TRAINING_ENVIRONMENT := MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=268435456
TINY := runs/tiny

.PHONY: help demo test lint format bench docs tiny families clean

help:  ## Show this list.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

demo: $(READY)  ## Hide a fact in 400,000 tokens of real text and ask the bundled model for it.
	$(BIN)/focusllm demo

test: lint  ## Run the checks and the fast tests.
	$(BIN)/python -m pytest -n 2 -q

lint: $(READY)  ## Check style, types and the import directions.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(READY)  ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## Compare speeds and memory side by side.
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/documents.py
	$(BIN)/python benchmarks/many_documents.py
	$(BIN)/python benchmarks/decoding.py
	$(BIN)/python benchmarks/processes.py

docs: $(READY)  ## Run the code in the documents and check what they link to.
	$(BIN)/python -m pytest -q tests/surface/test_documents.py

tiny: $(READY)  ## Train the bundled model from nothing (hours on two CPU cores) and put it into the package.
	$(BIN)/python recipes/tiny/tokenizer.py $(TINY)/tokenizer
	$(TRAINING_ENVIRONMENT) $(BIN)/python recipes/tiny/base.py --tokenizer $(TINY)/tokenizer --output $(TINY)/base
	$(TRAINING_ENVIRONMENT) $(BIN)/focusllm train --config recipes/tiny/adapter.yaml base=$(abspath $(TINY))/base output=$(TINY)/adapter
	$(BIN)/python recipes/tiny/bundle.py --base $(TINY)/base --adapter $(TINY)/adapter

families: $(READY)  ## Train small bases of three architectures and adapters for each, and compare them (hours).
	for shape in llama gpt-neox opt; do for size in 1m 3m; do \
	  $(TRAINING_ENVIRONMENT) $(BIN)/python recipes/tiny/base.py --steps 2400 --tokenizer src/focusllm/bundled/weights/base \
	    --shape recipes/families/$$shape-$$size.json --output runs/families/bases/$$shape-$$size || exit 1; done; done
	$(TRAINING_ENVIRONMENT) $(BIN)/focusllm ablate --config recipes/families/ablations.yaml

clean:  ## Remove the environment and caches; runs are kept.
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache
