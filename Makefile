# posecache. `make` alone prints the targets; every target sets the project up first if it must.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

# Variables a user may set, on the command line or in the environment.
DATASET ?= synthetic
DETECTOR ?=
LIFTER ?= capf
LADDER ?=
RUN ?=
INPUT ?=
DATA_ROOT ?= data
WORKERS ?=
SCHEDULER ?=
DEVICE ?=
ARGS ?=
PIP_FLAGS ?=
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv

BIN := $(VENV)/bin
# The stamp is named after the contents of the files that decide what is installed: a new commit that
# leaves them alone installs nothing, and a checkout that changes them does.
KERNELS := cache/maps/gather.c lifter/ops/cpu_kernel.c lifter/ops/cpu_rows.h
KEY := $(shell cat pyproject.toml constraints.txt $(KERNELS) | sha256sum | cut -c1-12)
STAMP := $(VENV)/.posecache-$(KEY)
DEV_STAMP := $(VENV)/.posecache-dev-$(KEY)

ROOT := --set data_root=$(DATA_ROOT)
SCALE := $(if $(WORKERS),--set extract.workers=$(WORKERS)) $(if $(SCHEDULER),--set extract.scheduler=$(SCHEDULER))
SETTINGS := $(ROOT) $(SCALE) $(if $(DEVICE),--device $(DEVICE))
CHOICE := --dataset $(DATASET) $(if $(DETECTOR),--detector $(DETECTOR))

.PHONY: help
help: ## Print this list
	@echo "make demo first; then make extract, lift, evaluate. Installation happens by itself."
	@echo
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Variables (now): DATASET=$(DATASET) DETECTOR=$(DETECTOR) LIFTER=$(LIFTER) LADDER=$(LADDER) RUN=$(RUN) INPUT=$(INPUT) DATA_ROOT=$(DATA_ROOT)"
	@echo "                 WORKERS=$(WORKERS) SCHEDULER=$(SCHEDULER) DEVICE=$(DEVICE) PIP_FLAGS=$(PIP_FLAGS)  ARGS='--set key=value ...'"

.PHONY: setup
setup: $(STAMP) ## Install everything into .venv (PIP_FLAGS= reaches pip)

# A bare Debian has python3 without ensurepip: the second form then borrows the system's pip.
$(STAMP): pyproject.toml constraints.txt $(KERNELS)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) 2>/dev/null || { \
		rm -rf $(VENV) && $(PYTHON) -m venv --without-pip $(VENV) && \
		$(PYTHON) -m pip --python $(BIN)/python install --quiet pip $(PIP_FLAGS); } || { \
		echo "setup: cannot create $(VENV) with '$(PYTHON)'. Install Python 3.11 and pip, or name one: make setup PYTHON=..." >&2; exit 1; }
	$(BIN)/python -m pip install --no-compile --quiet $(PIP_FLAGS) -c constraints.txt -e '.[detect,scale,datasets,backbones,report,onnx]'
	# mmpose's metadata cannot be resolved any more, timm's asks for torchvision, which no backbone runs; what
	# they need is in the extras.
	$(BIN)/python -m pip install --no-compile --quiet $(PIP_FLAGS) --no-deps -c constraints.txt mmpose==1.3.2 mmcv-lite==2.1.0 onedl-mmengine==0.10.12 timm
	@rm -f $(VENV)/.posecache-* && touch $@

# What only developers need, the tests' own servers among it.
$(DEV_STAMP): $(STAMP)
	$(BIN)/python -m pip install --no-compile --quiet $(PIP_FLAGS) -c constraints.txt -e '.[detect,scale,datasets,backbones,report,onnx,s3,docs,dev]'
	@touch $@

.PHONY: doctor
doctor: $(STAMP) ## Versions, devices, disk; how to mend what is red
	@$(BIN)/posecache doctor $(ROOT) $(ARGS)

.PHONY: demo
demo: $(STAMP) ## Synthetic figures -> cache -> lifters -> result table (minutes on 2 cores)
	@$(BIN)/posecache demo $(SETTINGS) $(ARGS)

.PHONY: detector
detector: $(STAMP) ## Train a 2D detector on DATASET
	@$(BIN)/posecache train-detector $(CHOICE) $(SETTINGS) $(ARGS)

.PHONY: extract
extract: $(STAMP) ## Write the cache of DATASET with DETECTOR (resumes; does nothing when complete)
	@$(BIN)/posecache extract $(CHOICE) $(SETTINGS) $(ARGS)

.PHONY: verify
verify: $(STAMP) ## Read every byte of the cache of DATASET and DETECTOR and check it
	@$(BIN)/posecache cache verify $(CHOICE) $(ROOT) $(ARGS)

.PHONY: lift
lift: $(STAMP) ## Train LIFTER from the cache and evaluate it (extracts first when needed)
	@$(BIN)/posecache lift $(CHOICE) --lifter $(LIFTER) $(SETTINGS) $(ARGS)

.PHONY: evaluate
evaluate: $(STAMP) ## Evaluate RUN (default: the newest run)
	@$(BIN)/posecache evaluate $(RUN) $(ARGS)

.PHONY: ablate
ablate: $(STAMP) ## Train lifters side by side from one store: LADDER=ladder|levels|points|lifters|temporal|...
	@$(BIN)/posecache ablate $(LADDER) $(CHOICE) $(SETTINGS) $(ARGS)

.PHONY: compare
compare: $(STAMP) ## Compare runs: make compare RUN='runs/a runs/b'
	@$(BIN)/posecache compare $(RUN) $(ARGS)

.PHONY: report
report: $(STAMP) ## A page of RUN for a browser (default: the newest run); of several, a comparison
	@$(BIN)/posecache report $(RUN) $(ARGS)

.PHONY: list-runs
list-runs: $(STAMP) ## All runs, finished or not (ARGS='--where lifter=capf --sort test')
	@$(BIN)/posecache list-runs $(ARGS)

.PHONY: robustness
robustness: $(STAMP) ## How errors of RUN='runs/a runs/b' grow on degraded test frames (default: newest capf, pose_only)
	@$(BIN)/posecache robustness $(RUN) $(if $(DEVICE),--device $(DEVICE)) $(ARGS)

.PHONY: predict
predict: $(STAMP) ## 3D poses of your own INPUT=picture|video|folder with RUN (default: the newest run)
	@test -n "$(INPUT)" || { echo "predict: name a picture, a video or a folder: make predict INPUT=walk.mp4" >&2; exit 2; }
	@$(BIN)/posecache predict "$(INPUT)" $(if $(RUN),--run $(RUN)) $(if $(DEVICE),--device $(DEVICE)) $(ARGS)

.PHONY: bench
bench: $(DEV_STAMP) ## Every benchmark against its baseline (a long while; ARGS='cache_read' for one, ARGS=--quick)
	@$(BIN)/posecache bench $(ARGS)

PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile

.PHONY: test
test: lint typecheck ## Lint, types, import contracts and the quick tests, on all cores
	@$(PYTEST) -m "not slow" $(ARGS)

.PHONY: test-all
test-all: lint typecheck ## All tests: big detectors, many seeds, every documented command; Triton's if it is installed
	@$(PYTEST) $(ARGS)

.PHONY: test-triton
test-triton: $(DEV_STAMP) ## The GPU kernels in Triton's interpreter, without a GPU (installs Triton: 1 GB)
	@$(BIN)/python -c 'import triton' 2>/dev/null || $(BIN)/python -m pip install --no-compile --quiet $(PIP_FLAGS) 'triton==3.9.0'
	@$(PYTEST) tests/test_lifter/test_triton.py $(ARGS)

.PHONY: test-gpu
test-gpu: $(DEV_STAMP) ## What needs a CUDA device; skipped where there is none
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m gpu $(ARGS)

.PHONY: lint
lint: $(DEV_STAMP) ## Style and import contracts; writes nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

.PHONY: format
format: $(DEV_STAMP) ## Rewrite the sources in the project's style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: typecheck
typecheck: $(DEV_STAMP) ## mypy --strict on the four packages
	@$(BIN)/mypy

.PHONY: docs
docs: $(DEV_STAMP) ## Build the documentation into site/, strictly and without a network
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html; with search: python3 -m http.server -d site"

.PHONY: clean-runs
clean-runs: ## Delete runs/ (asks; YES=1 skips the question)
	@if [ -d runs ]; then du -sh runs; [ "$(YES)" = 1 ] || { read -p "Delete runs/? [y/N] " a && [ "$$a" = y ]; } && rm -rf runs; else echo "no runs/"; fi

.PHONY: clean-cache
clean-cache: ## Delete the stores *.zarr below DATA_ROOT (asks; YES=1 skips the question)
	@shopt -s nullglob; stores=($(DATA_ROOT)/*.zarr); if [ $${#stores[@]} -gt 0 ]; then du -sh "$${stores[@]}"; \
		[ "$(YES)" = 1 ] || { read -p "Delete these stores? [y/N] " a && [ "$$a" = y ]; } && rm -rf "$${stores[@]}"; else echo "no stores below $(DATA_ROOT)"; fi
