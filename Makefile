# make demo, make test, make lint, make site: each creates its own environment in .venv first, if it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# uv takes a fourth of pip's time. It does not know of an index that only pip is told of: then pip does it.
INSTALL := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint format conf docs site wheel release-check clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(INSTALL) '.[dev]' || $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(READY) ## FUCRT and two controls against ten retrained models, on letters drawn on the spot (less than two minutes on two cores)
	$(BIN)/fedunlearn -m +experiment=demo method=fucrt,head_mask,retrain output.dir=outputs/demo

test: $(READY) ## the tests (18 minutes on two cores, the installation included)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(READY) ## the tests that train for minutes
	$(BIN)/python -m pytest -m slow

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy fedunlearn

format: $(READY) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

conf: $(READY) ## write conf/ anew from the settings dataclasses and their comments
	$(BIN)/python -m fedunlearn.settings.conf_files

docs: $(READY) ## write the table of findings in docs/audits.md from what the audits declare
	$(BIN)/python docs/reference.py

site: $(READY) ## the documentation's site in dist/site; a broken link is an error
	$(BIN)/python -c 'import mkdocs, gen_files' 2>/dev/null || $(INSTALL) '.[docs]' || $(BIN)/python -m pip install --quiet --editable '.[docs]'
	DISABLE_MKDOCS_2_WARNING=true NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

wheel: $(READY) ## build the wheel into dist/
	$(BIN)/python -m build --wheel

release-check: $(READY) ## build sdist and wheel, install the wheel in a clean environment and run a quick job from it
	$(BIN)/python .ci/release_check.py

clean: ## remove the environment and built files (results in outputs/ stay)
	rm -rf $(VENV) dist build
