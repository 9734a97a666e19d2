# make demo       trains two regimes on one graph, compares their circuits, writes demo/report.html
# make study      decides the paper's claims on the shipped runs, in a minute, writes report/report.html; STUDY=trm for one study
# make notebook   opens the tour in JupyterLab
# make site       builds the documentation, to be opened at site/index.html; warnings are errors
# make test       every fast check; make test-slow the rest
# make test-tl4   what of it can run with the newest TransformerLens 4; make test-tl4-quick a minute of that, for CI
# Each installs into .venv what it needs; only Python 3.11 or later, pip and make have to be there.
#
# TORCH=cpu, with any of them, takes torch's CPU build, without GPU packages: make demo TORCH=cpu. Other builds are named as
# PyTorch names them (uv knows where they are). A build stays until another one is asked for.

PYTHON ?= python3
VENV ?= .venv
TORCH ?=
STUDY ?=
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
LIBRARY := $(VENV)/.installed-library
NOTEBOOK := $(VENV)/.installed-notebook
TEST := $(VENV)/.installed-test
SITE := $(VENV)/.installed-site
TL4 := $(VENV)-tl4

.PHONY: demo study notebook site test test-slow test-tl4 test-tl4-quick check browser clean

demo: $(LIBRARY)
	$(BIN)/python -m grokscope.analyses.demo --out demo

study: $(LIBRARY)
	$(BIN)/python -m grokscope.analyses.study $(STUDY:%=--study %) --out report

notebook: $(NOTEBOOK)
	$(BIN)/python -m jupyterlab examples/notebooks/tour.ipynb

site: $(SITE)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

test: check browser site
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile --no-loadscope-reorder

test-slow: $(TEST)
	$(BIN)/python -m pytest -m slow

# Tests of what TransformerLens 3 alone has are skipped here, each with its reason.
test-tl4: $(TL4)/.installed browser
	OMP_NUM_THREADS=1 $(TL4)/bin/python -m pytest -m "not slow" -n auto --dist loadfile --no-loadscope-reorder

# The models and checkpoints of the project, and bridges. What is listed here has to take about a minute on two cores, since CI runs it too.
test-tl4-quick: $(TL4)/.installed
	OMP_NUM_THREADS=1 $(TL4)/bin/python -m pytest -m "not slow" -n auto --dist loadfile --no-loadscope-reorder \
	tests/tasks/test_hooked_transformer.py tests/tasks/models tests/tasks/questions/test_pairs.py \
	tests/analyses/forward/test_bridges.py tests/analyses/patching/test_second_oracle.py

# Pages are tested in the distribution's chromium; where it can not be installed those tests are skipped, and say so.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	|| echo "no chromium here, and it cannot be installed: browser tests will be skipped"

check: $(TEST) $(SITE)
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

# Sources are read and not imported, so that the library and torch need not be installed.
$(SITE): pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) $$($(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['site'])")
	touch $@

$(VENV)/.torch-%: constraints.txt | $(BIN)/pip
	rm -f $(VENV)/.torch-*
	$(INSTALL) uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend $* --constraint constraints.txt --no-deps --reinstall torch \
	|| { echo "PyTorch's $* build cannot be fetched: torch is taken from where pip finds it"; $(INSTALL) torch; }
	touch $@

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

# The newest TransformerLens 4 on top of what is installed for `make test`, which thus is not installed twice: its folder comes
# after this environment's own, so that here 4 is found and 3 is not.
$(TL4)/.installed: $(TEST)
	$(BIN)/python -m venv --without-pip $(TL4)
	$(BIN)/python -c "import site; print(f'import site; site.addsitedir({site.getsitepackages()[0]!r})')" \
	> $$($(TL4)/bin/python -c "import site; print(site.getsitepackages()[0])")/below.pth
	sed "s/^transformer-lens==.*/transformer-lens>=4,<5/" constraints.txt > $(TL4)/constraints.txt
	$(TL4)/bin/python -m pip install --quiet --upgrade --constraint $(TL4)/constraints.txt transformer-lens
	touch $@

clean:
	rm -rf $(VENV) $(TL4) build dist demo report site *.egg-info
