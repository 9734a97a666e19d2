# make demo       trains two regimes on one graph, compares their circuits, writes demo/report.html
# make study      decides the paper's claims on the shipped runs, writes report/report.html
# make test       every fast check; make test-slow the rest
# Everything is installed into .venv; only Python 3.11 or later, pip and make are needed.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo study test test-slow check browser clean

demo: $(INSTALLED)
	$(BIN)/python -m grokscope.analyses.demo --out demo

study: $(INSTALLED)
	$(BIN)/python -m grokscope.analyses.study --out report

test: check browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile --no-loadscope-reorder

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

# Pages are tested in the distribution's chromium; where it can not be installed those tests are skipped, and say so.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	|| echo "no chromium here, and it cannot be installed: browser tests will be skipped"

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	rm -rf build/typing
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target build/typing .
	$(BIN)/pyright --pythonpath $(BIN)/python

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) build dist demo *.egg-info
