# robobench: `make run` shows it, `make test` tests it, `make help` lists the rest.
# Needs Python 3.11 or newer and nothing else; with uv on the PATH, clones share their wheels.

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev,samples

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEER := $(VENV)/.imagecorruptions
PAGES := $(VENV)/.pages
TESTING := NO_ALBUMENTATIONS_UPDATE=1 HF_HUB_OFFLINE=1 GOMP_SPINCOUNT=2000
# a process for each core, up to 8, with one thread each; a file's tests stay together, they share what they set up
BESIDE := -n auto --maxprocesses 8 --dist loadfile

MODERN := import sys; sys.exit(sys.version_info < (3, 11))
AGE := import sys; print(".".join(map(str, sys.version_info[:3])))

.DEFAULT_GOAL := help
.PHONY: help run test test-slow test-pages check bench docs gallery clean setup

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /: /' | awk -F': ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

run: setup  ## rank four small models on real digits and write a page (installing, then a minute or two)
	@echo "==> running the quickstart: robobench run quickstart"
	@$(BIN)/robobench run quickstart
	@echo "==> done: open the page named above in a browser"

test: setup  ## all tests but the slow ones
	@echo "==> running the tests"
	@$(TESTING) OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(BESIDE)

test-slow: setup  ## the tests that take minutes or need an accelerator
	@echo "==> running the slow tests"
	@$(TESTING) OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(BESIDE) -m "slow or gpu"

test-pages: setup $(PAGES)  ## the page in a real browser, tables in a real LaTeX (installs both from Debian)
	@echo "==> running the tests that need a browser or LaTeX"
	@$(TESTING) $(BIN)/python -m pytest -m pages tests/pages

check: setup  ## style, types, layers, generated docs, shipped suites
	@echo "==> ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "==> mypy --strict"
	@$(BIN)/mypy --strict
	@echo "==> layers"
	@$(TESTING) $(BIN)/python -m pytest tests/test_layers.py
	@echo "==> docs"
	@$(BIN)/python docs/build.py --check
	@echo "==> suites"
	@$(BIN)/robobench check suites/*.yaml

bench: setup $(PEER)  ## the benchmarks (start-up, sweep, draws, corruptions)
	@echo "==> running the benchmarks"
	@$(TESTING) $(BIN)/python -m pytest benchmarks -o addopts="-p no:cacheprovider" \
	  --benchmark-only --benchmark-columns=min,median,max,rounds -s

gallery: setup  ## picture every perturbation in docs/gallery.md
	@$(TESTING) $(BIN)/python docs/gallery.py

docs: setup  ## write the generated pages of docs/
	@$(BIN)/python docs/build.py

clean:  ## remove the environment, caches and build outputs; results/ stays
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(STAMP)

# What the benchmark of corruptions is measured against. It asks for a second OpenCV, which it does without.
$(PEER): $(STAMP)
	@echo "==> installing imagecorruptions and scikit-image, to measure against"
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install --quiet --python $(BIN)/python -c constraints.txt 'scikit-image>=0.26' && \
	  uv pip install --quiet --python $(BIN)/python --no-deps imagecorruptions==1.1.2; \
	else \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt 'scikit-image>=0.26' && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps imagecorruptions==1.1.2; \
	fi
	@touch $@

# Chromium and LaTeX come from Debian, axe-core (which looks for what is in a screen reader's way) from npm.
$(PAGES): $(STAMP)
	@need=""; \
	command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || need="chromium"; \
	command -v pdflatex >/dev/null 2>&1 || need="$$need texlive-latex-base texlive-latex-recommended"; \
	command -v npm >/dev/null 2>&1 || need="$$need npm"; \
	if [ -n "$$need" ]; then \
	  if ! command -v apt-get >/dev/null 2>&1; then \
	    echo "the tests of pages need what Debian calls: $$need; install it, then run make test-pages again" >&2; exit 2; \
	  fi; \
	  echo "==> installing $$need"; \
	  if [ "$$(id -u)" = 0 ]; then as=""; else as="sudo"; fi; \
	  $$as apt-get update -qq && \
	  $$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$need >/dev/null; \
	fi
	@echo "==> installing playwright and axe-core"
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS),pages]'; \
	else \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS),pages]'; \
	fi
	@npm install --silent --no-audit --no-fund --prefix $(VENV)/pages axe-core@4
	@touch $@

# Made anew where it is missing, brought up to date where pyproject.toml or constraints.txt is newer.
$(STAMP): pyproject.toml constraints.txt
	@if command -v uv >/dev/null 2>&1; then \
	  if ! $(BIN)/python -c '$(MODERN)' 2>/dev/null; then \
	    which=">=3.11"; if $(PYTHON) -c '$(MODERN)' 2>/dev/null; then which="$(PYTHON)"; fi; \
	    echo "==> making $(VENV) with uv (Python: $$which)"; \
	    uv venv --quiet --clear --python "$$which" $(VENV); \
	  fi && \
	  echo "==> installing robobench[$(EXTRAS)] into $(VENV) with uv (the first time about 6 GB)" && \
	  uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS)]'; \
	else \
	  if ! $(BIN)/python -c '$(MODERN)' 2>/dev/null || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    if ! $(PYTHON) -c pass 2>/dev/null; then \
	      echo "robobench needs Python 3.11 or newer, and there is no $(PYTHON) here:" \
	        "install one, or name yours with 'make PYTHON=/path/to/python3.11'" >&2; exit 2; \
	    fi; \
	    if ! $(PYTHON) -c '$(MODERN)'; then \
	      echo "robobench needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -c '$(AGE)'):" \
	        "name a newer one with 'make PYTHON=/path/to/python3.11'" >&2; exit 2; \
	    fi; \
	    echo "==> making $(VENV) with $(PYTHON) ($$($(PYTHON) -c '$(AGE)'))"; \
	    $(PYTHON) -m venv --clear $(VENV); \
	  fi && \
	  echo "==> installing robobench[$(EXTRAS)] into $(VENV) with pip (the first time about 6 GB, several minutes)" && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'; \
	fi
	@touch $@
