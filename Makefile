.PHONY: help setup test lint
help:
	@echo "make setup   make .venv with the command .venv/bin/spendgate"
	@echo "make test    set up everything, run all tests"
	@echo "make lint    ruff, mypy --strict, import contracts"
setup:
	@scripts/setup.sh
test: setup
	@.venv/bin/python -m pytest
lint: setup
	@.venv/bin/ruff check src tests scripts
	@.venv/bin/mypy
	@PYTHONPATH=src .venv/bin/lint-imports
