# Everything runs in .venv, made from constraints.txt at the first use; python3 must be 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt

.PHONY: demo test test-anywhere quick check format audit bench clean

demo: $(VENV)/.installed  ## train on the bundled films, report, serve a page
	$(BIN)/tastemaker demo $(if $(NO_SERVE),--no-serve)

test: $(VENV)/.installed-dev  ## the whole suite
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

test-anywhere: $(VENV)/.installed-dev  ## the suite under each condition of .ci/anywhere
	.ci/anywhere

quick: $(VENV)/.installed-dev  ## the suite without its slow tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup -m "not slow"

check: $(VENV)/.installed-dev  ## lint, format, types, words
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python .ci/words.py

format: $(VENV)/.installed-dev  ## fix what the linter can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

audit:  ## look for known weaknesses in the pinned versions
	$(PYTHON) .ci/audit.py $(VENV)/audit

bench: $(VENV)/.installed-dev  ## what can be measured; then: .venv/bin/python -m benchmarks ID
	$(PIP) --editable '.[bench]'
	$(BIN)/python -m benchmarks --list

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .hypothesis
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Tastemaker needs Python 3.11 or later; try: make PYTHON=python3.11"; exit 2; }
	@$(PYTHON) -c 'import ctypes, sys; sys.platform != "linux" or ctypes.CDLL("libgomp.so.1")' 2>/dev/null \
		|| { echo "LightGBM needs libgomp.so.1, which this system lacks; Debian and Ubuntu:" \
			"apt install libgomp1; Fedora: dnf install libgomp"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv is missing; Debian and Ubuntu: apt install python3-venv"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	touch $@
