# Two commands do all the set-up: `make demo` shows the package at work, `make test` checks it.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint clean

demo: .venv/ready
	$(BIN)/capsulegan study digits --out runs/digits

# One process a core and one thread a process: threads that share a core wait for each other.
test: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto

lint: .venv/ready
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

.venv/ready: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv runs
