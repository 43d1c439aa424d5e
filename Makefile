# Everything a developer types.  `make test` is what CI calls.
PYTHON := .venv/bin/python
.DEFAULT_GOAL := help
.PHONY: help setup test check lint bench update fuzz frontend clean

help:
	@echo "make test      all tests, also those that need the kernel, perf and chromium"
	@echo "make check     lint, types, house tests and fast tests, in under a minute"
	@echo "make bench     speed and memory beside the peers"
	@echo "make update    rewrite the expectations of tests/cases and show the difference"
	@echo "make fuzz      ten minutes of damaged input under AddressSanitizer"
	@echo "make frontend  bundle the pages' TypeScript (needs node)"

setup:
	@tools/setup dev

lint: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

test: setup lint
	$(PYTHON) -m pytest -n 2 --dist loadfile -rs tests

check: setup lint
	$(PYTHON) -m pytest -n 2 --dist loadfile -m "not slow and not kernel" -x tests

bench: setup
	$(PYTHON) bench/run.py

update: setup
	$(PYTHON) -m pytest -q tests/cases --update-cases
	git diff --stat -- tests/cases

fuzz: setup
	fuzz/run

frontend:
	cd frontend && npm ci --no-audit --no-fund && npm run build

clean:
	rm -rf build .venv frontend/node_modules
