# `make demo` and `make test` do everything, from a virtual environment on.
# PYTHON=python3.12 make demo   chooses another interpreter (3.11 to 3.14).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python main.py
DEMO := --config=configs/demo.py --workdir=runs/demo

.DELETE_ON_ERROR:
.PHONY: demo report test bench bench-venv quality study lint clean

demo: $(VENV)/installed
	$(RUN) --mode=prepare --config=configs/demo.py
	$(RUN) --mode=train $(DEMO)
	$(RUN) --mode=evaluate $(DEMO)
	$(RUN) --mode=sample $(DEMO)
	$(RUN) --mode=report --workdir=runs/demo
	@echo
	@echo "Look at:"
	@echo "  runs/demo/samples/demo.gif        truth above, prediction below (demo.mp4, clip_*.png too)"
	@echo "  runs/demo/report.html             curves, figures and samples in one page"
	@echo "  runs/demo/curves/                 the curves as PNG"
	@echo "  runs/demo/evaluation/latest.json  the figures, with the protocol that they were made by"

report: $(VENV)/installed
	$(RUN) --mode=report --workdir=runs/demo

test: lint
	$(BIN)/python -m pytest -q -n 2 tests

bench: $(VENV)/installed-tests bench-venv
	$(BIN)/python -m pytest -q tests/test_peer.py
	$(BIN)/python -m benchmarks.data
	$(BIN)/python -m benchmarks.speed --growth
	$(BIN)/python -m benchmarks.speed --table --plot

quality: $(VENV)/installed bench-venv
	$(BIN)/python -m benchmarks.quality

study: $(VENV)/installed
	$(BIN)/python -m benchmarks.study

bench-venv: .cache/bench-venv/installed

lint: $(VENV)/installed-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/installed: requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 14) else \
	"error: $(PYTHON) is Python %d.%d; needs 3.11 to 3.14: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.cache/bench-venv/installed: benchmarks/requirements.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@touch $@

$(VENV)/installed-tests: $(VENV)/installed tests/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) .cache build cvae_jax.egg-info
