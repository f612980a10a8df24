# From a fresh clone, with Python 3.11 or newer and make: `make demo` and `make test` need nothing else.

PYTHON ?= python3
VENV ?= .venv
# The one package with several builds: TORCH="torch==2.13.0 --index-url URL" takes another one.
TORCH ?= torch==2.13.0
PYTEST_ARGS ?=

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
OUT := build/demo

.PHONY: demo test lint clean

demo: $(VENV)/.core
	mkdir -p $(OUT)
	$(BIN)/mvc encode samples/kodim23.png -q 4 -f -o $(OUT)/kodim23.mvc
	$(BIN)/mvc decode $(OUT)/kodim23.mvc -f -o $(OUT)/kodim23.png
	@echo "sizes in bytes:" && wc -c samples/kodim23.png $(OUT)/kodim23.mvc | head -n 2
	$(BIN)/mvc verify $(OUT)/kodim23.mvc --against samples/kodim23.png

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf build $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) $(TORCH)
	$(INSTALL) -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(INSTALL) -c constraints.txt -e '.[dev]'
	touch $@
