# tunebench. `make demo` runs the main job, `make check` is what CI runs, `make help` lists the rest.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
QUANTIZATION := $(VENV)/quantization
CHAT := $(VENV)/chat

# Which Python builds .venv (make install PYTHON=/usr/bin/python3.12); unset, the first fitting one is taken.
PYTHON ?=
# Which build of torch is installed: anything that `pip install` takes, for example
#   make install TORCH="torch==2.13.0 --index-url URL"
TORCH ?= -r requirements-torch.txt
# Pins move only when asked: make lock UPGRADE=--upgrade
UPGRADE ?=

# Test files are shared out among processes; every one of them may hold two small models.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadfile

RUNS := runs/demo
# Which run `make chat` talks to.
RUN ?= starter
DEMO := starter-majority starter-tfidf starter-full starter-lora starter-ia3 starter-head

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install starter demo app chat test test-fast test-e2e test-quant format lint types layers docs docs-check \
        lock-check check wheel screenshots bench-train bench-check bench-overhead bench-llm bench-infer bench-tta lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## make .venv with everything that the project and its tests need

# A build of torch that is named on the command line replaces the one that is there.
ifeq ($(origin TORCH),command line)
.PHONY: $(STAMP)
endif

$(STAMP): pyproject.toml requirements.lock requirements-torch.txt
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; then exit 0; fi; \
	lacking=; \
	for python in $(or $(PYTHON),python3.11 python3 python3.12 python3.13 python3.14); do \
	    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    if $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	        echo "make: $(VENV) with $$($$python --version)"; \
	        exec $$python -m venv --clear $(VENV); \
	    fi; \
	    lacking=$${lacking:-$$($$python -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')}; \
	done; \
	if [ -n "$$lacking" ]; then \
	    echo "make: this Python cannot make virtual environments, its module ensurepip is missing." >&2; \
	    echo "make: install python3-venv and try again; on Debian or Ubuntu: apt-get install $$lacking" >&2; \
	else \
	    echo "make: no Python 3.11 or newer was found; install one, or name it: make install PYTHON=/path/to/python3" >&2; \
	fi; \
	exit 1
	@rm -f $@
	@echo "make: installing the pinned packages"
	@if command -v uv >/dev/null 2>&1 && uv pip install -q --python $(BIN)/python --no-deps --only-binary :all: \
	    --compile-bytecode -r requirements.lock; then exit 0; fi; \
	$(BIN)/python -m pip install -q --no-deps --only-binary :all: -r requirements.lock
	@echo "make: installing torch"
ifeq ($(origin TORCH),command line)
	@$(BIN)/python -m pip uninstall -q -y torch
endif
	@$(BIN)/python -m pip install -q $(TORCH)
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

starter: $(STAMP) ## unpack the starter model and texts into the cache
	$(BIN)/tunebench starter

# A thread that waits spins only for an instant: nearly full speed on an idle machine, no collapse on a busy one.
demo: export GOMP_SPINCOUNT = 1000
demo: starter ## the main job: four methods and two baselines on real reviews, one table
	$(BIN)/tunebench compare $(DEMO) --runs $(RUNS) --output $(RUNS)

test: export OMP_WAIT_POLICY = PASSIVE
test: export GOMP_SPINCOUNT = 0
test: starter ## all tests
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m 'not e2e' $(SIDE_BY_SIDE)

test-e2e: export OMP_WAIT_POLICY = PASSIVE
test-e2e: export GOMP_SPINCOUNT = 0
test-e2e: starter $(CHAT)/.installed ## the studio and the chat in headless Chromium, end to end
	PYTHONPATH=$(CURDIR)/$(CHAT) HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m e2e

app: starter ## open the studio in the browser
	$(BIN)/tunebench app --runs runs

chat: $(CHAT)/.installed ## open a chat with a run in the browser: make chat RUN=my-run
	PYTHONPATH=$(CURDIR)/$(CHAT) $(BIN)/tunebench chat $(RUN)

# Beside the environment: it wants other versions of what trackers bring along, and ninety packages that nothing else needs.
$(CHAT)/.installed: requirements-chat.txt $(STAMP)
	rm -rf $(CHAT)
	$(BIN)/python -m pip install -q --no-deps --only-binary :all: --no-binary cuid,literalai,syncer --target $(CHAT) -r requirements-chat.txt
	@touch $@

test-fast: export OMP_WAIT_POLICY = PASSIVE
test-fast: export GOMP_SPINCOUNT = 0
test-fast: $(STAMP) ## the tests that need no pretrained weights
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m 'not slow and not e2e'

# Beside the environment, not in it: there every import of peft would import it too, which takes seconds.
$(QUANTIZATION)/.installed: requirements-quantization.txt $(STAMP)
	rm -rf $(QUANTIZATION)
	$(BIN)/python -m pip install -q --no-deps --only-binary :all: --target $(QUANTIZATION) -r requirements-quantization.txt
	@touch $@

test-quant: export OMP_WAIT_POLICY = PASSIVE
test-quant: export GOMP_SPINCOUNT = 0
test-quant: $(QUANTIZATION)/.installed ## the tests of nf4 and int8, with bitsandbytes on the CPU
	PYTHONPATH=$(CURDIR)/$(QUANTIZATION) HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests/test_quantized.py

format: $(STAMP) ## put the sources into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

layers: $(STAMP) ## import-linter: data flows one way, light rooms stay light
	$(BIN)/lint-imports --no-logo

docs: $(STAMP) ## write the generated parts of the docs
	$(BIN)/python tools/docs.py

screenshots: starter ## make the README's pictures of the studio, with Chromium
	HF_HUB_OFFLINE=1 $(BIN)/python tools/screenshots.py

docs-check: $(STAMP) ## fail where the generated parts are out of date
	$(BIN)/python tools/docs.py --check

lock-check: $(STAMP) ## fail where installed packages do not fit together
	$(BIN)/python -m pip check

check: lint types layers docs-check lock-check test wheel ## all that CI runs

wheel: starter ## build the wheel and try it, without torch, in an empty environment
	$(BIN)/python tools/try_wheel.py

bench-train: export GOMP_SPINCOUNT = 1000
bench-train: starter ## examples per second next to a plain Trainer
	$(BIN)/python bench/train.py --gate

bench-overhead: export GOMP_SPINCOUNT = 1000
bench-overhead: starter ## what a run costs beside the bare loop, and what its checkpoints cost
	$(BIN)/python bench/overhead.py --gate

bench-llm: export GOMP_SPINCOUNT = 1000
bench-llm: starter ## decoders: answers per second, training, memory, beside what people run by hand
	$(BIN)/python bench/llm.py --gate

bench-infer: export GOMP_SPINCOUNT = 1000
bench-infer: starter ## predictions per second, latency and cold start: by hand, the pipeline, ours, every export
	$(BIN)/python bench/infer.py --gate

bench-tta: export GOMP_SPINCOUNT = 1000
bench-tta: starter ## time to an accuracy of 0.89 on IMDb, next to the usual notebook: hours, goes on where it was stopped
	$(BIN)/python bench/tta.py --gate

bench-check: $(STAMP) ## time and memory of `tunebench check` on a million rows
	$(BIN)/python bench/check.py --gate

lock: $(STAMP) ## solve pyproject.toml into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra train --extra hub --extra gguf --extra tensorboard --extra wandb --extra trackio \
	    --extra onnx --extra openvino --extra search --extra app --extra dev --universal --python-version 3.11 $(UPGRADE) \
	    --constraints requirements-torch.txt --excludes requirements-excludes.txt --no-emit-package torch \
	    --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --quiet --output-file requirements.lock
	sed -n 's/^\([a-z0-9._-]*==[^ ]*\).*/\1/p' requirements.lock | grep -v '^opentelemetry' > $(VENV)/pins.txt
	echo 'chainlit>=2.12,<3' | $(BIN)/uv pip compile - --constraints $(VENV)/pins.txt --constraints requirements-torch.txt \
	    --excludes requirements-excludes.txt --universal --python-version 3.11 \
	    $$(sed -n 's/^\([a-z0-9._-]*\)==[^;]*\\$$/--no-emit-package \1/p' requirements.lock | grep -v opentelemetry) \
	    --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --quiet --output-file requirements-chat.txt

clean: ## remove what was built and the tools' caches; .venv and runs stay
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} +
