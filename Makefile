# Everything runs in .venv, which the first target makes; stamp files keep the second run quick. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
N ?= 200
# Where this is set, as in many containers, each process of Tallystream would compile all of it anew, a third of a start.
export PYTHONDONTWRITEBYTECODE :=
KINESALITE := tests/aws/kinesalite

emulators := .venv-ministack/.installed $(KINESALITE)/node_modules/.installed

# With the directories, so that a removed file is noticed too.
dashboard_sources := $(shell find dashboard -not -path '*/node_modules*' -not -name '*.tsbuildinfo')

.DEFAULT_GOAL := help
.PHONY: help setup demo aws-demo test bench soak lint format types dashboard-check system-packages lock clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed $(emulators) system-packages ## install everything for developing into .venv

demo: $(VENV)/.installed ## start Tallystream with realistic traffic on http://127.0.0.1:8080, or on PORT=…
	@$(BIN)/tally demo $(if $(PORT),--port $(PORT))

aws-demo: $(VENV)/.installed .venv-ministack/.installed ## show the same definition as a stack on an emulator of AWS
	@$(BIN)/python -m scripts.aws_demo $(if $(RATE),--rate $(RATE)) $(if $(SECONDS),--seconds $(SECONDS))

test: $(VENV)/.installed $(emulators) system-packages lint types dashboard-check ## check and test everything, as CI does
	$(BIN)/pytest --numprocesses 2 --dist loadfile --cov --cov-report=term

bench: $(VENV)/.installed ## measure the speed and write docs/benchmarks.md
	$(BIN)/python -m benchmarks

soak: $(VENV)/.installed ## kill the server N times under load, and simulate N schedules of alarms: make soak N=1000
	TALLY_SOAK_KILLS=$(N) TALLY_SOAK_SCHEDULES=$(N) $(BIN)/pytest tests/simulation -k "kill or alarms"
	TALLY_SOAK_DELIVERIES=100000 $(BIN)/pytest tests/simulation/test_aws_counting.py

lint: $(VENV)/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed
	$(BIN)/mypy

dashboard-check: $(VENV)/.installed
	$(BIN)/python hatch_build.py npm run --if-present check
	$(BIN)/python hatch_build.py npm run --if-present test

format: $(VENV)/.installed ## format the code and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: ## choose the newest versions of all dependencies and write constraints.txt
	$(PYTHON) scripts/lock.py

clean: ## remove everything that the targets above made
	rm -rf $(VENV) .venv-ministack build dist demo-data dashboard/node_modules $(KINESALITE)/node_modules src/tallystream/web/static
	rm -rf .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The build runs in .venv itself, so that constraints.txt pins the builder too.
$(VENV)/.packages: constraints.txt pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || PYTHON=$(PYTHON) scripts/make-venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt pip
	$(BIN)/pip install --quiet --constraint constraints.txt --group dev --group build
	touch $@

$(VENV)/.installed: $(VENV)/.packages hatch_build.py $(dashboard_sources)
	$(BIN)/python hatch_build.py requirements | $(BIN)/pip install --quiet --constraint constraints.txt --requirement /dev/stdin
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable .
	touch $@

# The emulator of AWS wants another botocore than we do.
.venv-ministack/.installed: tests/aws/ministack.txt
	PYTHON=$(PYTHON) scripts/make-venv .venv-ministack
	.venv-ministack/bin/pip install --quiet --requirement $<
	touch $@

# The emulator of Kinesis alone, which splits and merges shards. LevelDB is optional, and would be compiled.
$(KINESALITE)/node_modules/.installed: $(KINESALITE)/package.json $(KINESALITE)/package-lock.json | $(VENV)/.installed
	$(BIN)/python hatch_build.py npm ci --prefix ../$(KINESALITE) --omit=optional --ignore-scripts
	touch $@

# Without a stamp: what was installed once may have been removed.
system-packages: $(VENV)/.packages
	@scripts/system-packages $(BIN)/python
