.PHONY: help setup demo test lint bench
help:
	@echo "make setup   make .venv with the command .venv/bin/spendgate"
	@echo "make demo    a budget from its first cent to its last, with the official SDKs through a real Envoy"
	@echo "make test    set up everything, run all tests"
	@echo "make lint    ruff, mypy --strict, import contracts"
	@echo "make bench   Envoy alone, a no-op processor and spendgate side by side"
setup:
	@scripts/setup.sh
demo: setup
	@.venv/bin/python scripts/demo.py
test: setup
	@.venv/bin/python -m pytest
lint: setup
	@.venv/bin/ruff check src tests scripts
	@.venv/bin/mypy
	@PYTHONPATH=src .venv/bin/lint-imports
bench: setup
	@.venv/bin/python bench/run.py
