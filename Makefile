# From a fresh clone: `make demo` shows the main job, `make test` runs the tests.
# Both make the environment (.venv) themselves when it is missing, outdated or broken.

PY := .venv/bin/python
# Processes of the tests; each takes up to 3 GB.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help env app demo demo-rsa demo-sem test test-slow lint docs check

help:
	@echo 'make demo       train and test Lambda-FRCNN on the embedded data set (about ten minutes)'
	@echo 'make demo-rsa   a small AlexNet beside a model of V1 while it trains (minutes)'
	@echo 'make demo-sem   a micrograph restored in seconds, then a U-net trained for it (minutes)'
	@echo 'make app        a page in the browser that restores micrographs'
	@echo 'make test       the tests that take seconds each'
	@echo 'make test-slow  the tests that train or start several processes'
	@echo 'make lint       the style checks'
	@echo 'make docs       build the documentation into site/'
	@echo 'make env        only make or mend .venv'
	@echo 'make check      print versions and operators, and how to mend what is wrong'

env:
	@sh tools/env/make_env.sh

demo: env
	$(PY) demo/demo_detection.py $(DEMO_ARGS)

demo-rsa: env
	$(PY) demo/demo_rsa.py $(DEMO_ARGS)

demo-sem: env
	$(PY) demo/demo_sem.py $(DEMO_ARGS)

app: env
	$(PY) tools/restore.py --serve $(APP_ARGS)

test: env
	$(PY) -m pytest -q -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

test-slow: env
	$(PY) -m pytest -q -m slow $(PYTEST_ARGS)

lint: env
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

docs: env
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

check: env
	$(PY) tools/env/check_env.py
