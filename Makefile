# make demo       trains two regimes on one graph, compares their circuits, writes demo/report.html
# make study      decides the paper's claims on the shipped runs, writes report/report.html
# make notebook   opens the tour in JupyterLab
# make test       every fast check; make test-slow the rest
# Each installs into .venv what it needs; only Python 3.11 or later, pip and make have to be there.
#
# TORCH=cpu, with any of them, takes torch's CPU build, without GPU packages: make demo TORCH=cpu. Other builds are named as
# PyTorch names them (uv knows where they are). A build stays until another one is asked for.

PYTHON ?= python3
VENV ?= .venv
TORCH ?=
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
LIBRARY := $(VENV)/.installed-library
NOTEBOOK := $(VENV)/.installed-notebook
TEST := $(VENV)/.installed-test

.PHONY: demo study notebook test test-slow check browser clean

demo: $(LIBRARY)
	$(BIN)/python -m grokscope.analyses.demo --out demo

study: $(LIBRARY)
	$(BIN)/python -m grokscope.analyses.study --out report

notebook: $(NOTEBOOK)
	$(BIN)/python -m jupyterlab examples/notebooks/tour.ipynb

test: check browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile --no-loadscope-reorder

test-slow: $(TEST)
	$(BIN)/python -m pytest -m slow

# Pages are tested in the distribution's chromium; where it can not be installed those tests are skipped, and say so.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	|| echo "no chromium here, and it cannot be installed: browser tests will be skipped"

check: $(TEST)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	rm -rf build/typing
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target build/typing .
	$(BIN)/pyright --pythonpath $(BIN)/python

$(LIBRARY): WHAT := .
$(NOTEBOOK): WHAT := .[notebook]
$(TEST): WHAT := .[test]
$(LIBRARY) $(NOTEBOOK) $(TEST): pyproject.toml constraints.txt $(TORCH:%=$(VENV)/.torch-%) | $(BIN)/pip
	$(INSTALL) --editable "$(WHAT)"
	touch $@

$(VENV)/.torch-%: constraints.txt | $(BIN)/pip
	rm -f $(VENV)/.torch-*
	$(INSTALL) uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend $* --constraint constraints.txt --no-deps --reinstall torch \
	|| { echo "PyTorch's $* build cannot be fetched: torch is taken from where pip finds it"; $(INSTALL) torch; }
	touch $@

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist demo report *.egg-info
