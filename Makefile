PYTHON ?= python3.11
VENV   ?= .venv
BIN     = $(VENV)/bin
# Tests run one process per core, each with one thread: half the time of one process with all threads.
PYTEST  = HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile
# The tests of what computes.
ON_FAKE = $(addprefix tests/,device adversaries architectures sparse vision tickets evaluation training)
EXTRAS ?= dev,attack,plots,demo,docs

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-gpu test-fake features docs bench bench-gpu evidence evidence-vision style quality clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

# torch first: a CPU build where the index has one. TextAttack last and alone: one of its pins refuses transformers 5.
$(BIN)/.installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps textattack==0.3.11
	@touch $@

install: $(BIN)/.installed  ## Make the virtual environment and install everything

demo: install  ## Run the whole job on a small synthetic corpus; writes demo-output/summary.html
	rm -rf demo-output
	$(BIN)/robust-tickets demo --output_dir demo-output

test: install  ## Run the tests: on the CPU, and what is meant for accelerators on a device that is none
	$(PYTEST) -m 'not slow and not gpu'
	ROBUST_TICKETS_TEST_DEVICE=fake $(PYTEST) -m gpu tests/device

test-slow: install  ## Run the tests that take long
	$(PYTEST) -m slow

test-gpu: install  ## Run on the CUDA devices of this machine what is meant for accelerators
	HF_HUB_OFFLINE=1 ROBUST_TICKETS_TEST_DEVICE=cuda $(BIN)/python -m pytest -m gpu tests/device

test-fake: install  ## Run on the device that is none what computes: tests/testing/not_on_fake.py says what stays out
	ROBUST_TICKETS_TEST_DEVICE=fake $(PYTEST) -m 'not slow' $(ON_FAKE)

features: install  ## Run the tests behind the table of docs/adversaries.md and write it anew
	HF_HUB_OFFLINE=1 ROBUST_TICKETS_RECORD_FEATURES=1 $(BIN)/python -m pytest -m feature tests/training tests/invariants
	$(BIN)/python docs/generate.py

docs: install  ## Build the documentation site, which needs no network; writes build/site
	HF_HUB_OFFLINE=1 NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --config-file docs/site/mkdocs.yml
	@echo "open build/site/index.html"

bench: install  ## Print speed and memory ratios, both sides measured in one run
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/bench.py

bench-gpu: install  ## Measure on the accelerator: steps, widths, attacks; writes accelerator.json (four minutes)
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/accelerator.py --device cuda

evidence: install  ## Make the figures of docs/results.md (hours; resumes where it was cut off)
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/search_evidence.py
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/search_evidence.py --data train --gate_budget 1 \
	    --arms dense taylor@50 gate@50 --seeds 0
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/recipe_evidence.py --trials
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/recipe_evidence.py
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/gate_evidence.py
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/development_trials.py
	for data in ag_news imdb mrpc; do \
	    HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/recipe_evidence.py --data $$data --seeds 0 1 2 || exit 1; \
	done
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/evidence.py

evidence-vision: install  ## Make the figures of docs/results_vision.md (two hours; resumes where it was cut off)
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/vision_evidence.py

style: install  ## Format the code
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

quality: install  ## Check format and style
	$(BIN)/ruff format --check . && $(BIN)/ruff check .

clean:  ## Remove the virtual environment, what the demo wrote, and the site
	rm -rf $(VENV) demo-output build/site
