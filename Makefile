# `make demo` and `make test` work from a bare clone; both begin with `make setup`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Leave cores to whatever else runs on the computer.
export OMP_NUM_THREADS ?= 2

IN_ENV := source ./env.sh &&
# Not `python -m pytest`: with the checkout on the path, the folder launch/ would pass for ROS's launch.
PYTEST := pytest
PYTEST_ARGS ?=
# Files of tests that run side by side, more than cores: much of their time they wait for processes
# and messages.
TEST_WORKERS ?= 3

.PHONY: help setup kernels test test-slow test-soak test-full-size test-parity lint format demo lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## make .venv and build the ROS package into install/ (PYTHON=..., TORCH=... to choose)
	@scripts/setup.sh

kernels: setup ## Triton, so that `make test` tests the GPU kernels too (1 GB; no GPU needed)
	@$(IN_ENV) python -m pip install --requirement requirements/kernels.txt

test: setup ## every test but the slow and full-size ones (PYTEST_ARGS=... for options, TEST_WORKERS=3)
	@$(IN_ENV) OMP_NUM_THREADS=1 $(PYTEST) -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder \
	  -m 'not slow and not full_size' $(PYTEST_ARGS) test

test-slow: setup ## the slow tests: soak runs, long recordings
	@$(IN_ENV) $(PYTEST) -m 'slow and not full_size' $(PYTEST_ARGS) test

test-soak: setup ## 10,000 frames through the node: memory, threads and handles stay
	@$(IN_ENV) $(PYTEST) -m slow -s -o faulthandler_timeout=0 $(PYTEST_ARGS) test/node/over_dds/test_soak.py

test-full-size: setup ## parity of the full-size network: minutes and 8 GB of memory
	@$(IN_ENV) $(PYTEST) -m full_size $(PYTEST_ARGS) test

# What runs on any CPU runs here with the kernels that other CPUs have; `make test` runs this CPU's own.
PARITY_TESTS := test/sam3/test_golden.py test/sam3/test_model.py test/segmentation/test_golden.py

test-parity: setup ## parity with the references, with the kernels of other CPUs
	@$(IN_ENV) own=$$(python -c 'import torch; print(torch.backends.cpu.get_cpu_capability().lower())'); \
	  for kernels in default avx2; do \
	  if [ "$$kernels" = "$$own" ]; then echo "$$kernels: this CPU's own, which make test runs"; continue; fi; \
	  echo "ATEN_CPU_CAPABILITY=$$kernels"; \
	  ATEN_CPU_CAPABILITY=$$kernels ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 \
	  $(PYTEST) $(PYTEST_ARGS) $(PARITY_TESTS); done

lint: setup ## ruff and mypy
	@$(IN_ENV) ruff check . && ruff format --check . && mypy

format: setup ## let ruff rewrite what it can
	@$(IN_ENV) ruff check --fix . && ruff format .

demo: setup ## a synthetic drive through the real node, results in out/demo/
	@$(IN_ENV) activesam demo run --weights weights/demo/model.safetensors --output out/demo

lock: ## resolve requirements/project.in anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.10 --no-annotate --no-header \
	  --custom-compile-command 'make lock' requirements/project.in --output-file requirements/lock.txt

clean: ## remove everything the other targets make, .venv included
	rm -rf .venv build install log out .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
