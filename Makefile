# What a person does with a checkout. `make demo` and `make test` are all that a new machine needs.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# A core each for two test processes; what trains uses one thread. Byte code is kept, also where the environment says not
# to: without it each process would rewrite every test's asserts again.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(RUN) -m pytest --dist loadgroup

.PHONY: demo test test-slurm test-fast lint check install bench docs clean

demo: install  ## the main job on the built-in model and data
	$(RUN) -m orchestrator method=dpo,ipo,orpo model=tiny data=toy study=demo -m beta=0.05,0.1,0.5 seed=0,1

# One process more: the tests on a cluster are in one, and mostly wait.
test: install  ## all tests; those on a cluster say so where they are skipped for want of Slurm
	$(PYTEST) -n 3

test-slurm: install  ## the tests on a real two-node Slurm, which root installs from Debian's packages
	$(RUN) -m tests.slurm.cluster check || $(RUN) -m tests.slurm.cluster install
	PREFSWEEP_SLURM_REQUIRED=1 $(PYTEST) -n 2 tests/slurm

test-fast: install  ## the tests that train nothing
	$(PYTEST) -n 2 -m "not slow"

lint: install  ## style, types, and who may import whom
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

check: lint test

bench: install  ## this against what people would use instead, on the same work
	$(RUN) -m benchmarks.setup
	$(RUN) -m benchmarks.sweep
	$(RUN) -m benchmarks.controller
	$(RUN) -m benchmarks.startup
	$(RUN) -m benchmarks.pull
	$(RUN) -m benchmarks.sampler
	$(RUN) -m benchmarks.slurm_scale
	command -v chromium chromedriver && $(RUN) -m benchmarks.report
	$(RUN) -m tests.slurm.cluster check && $(RUN) -m benchmarks.slurm_packing

docs: install  ## docs/methods.md from the table of methods
	$(RUN) -m trainers.method_docs > docs/methods.md

install: $(VENV)/.installed  ## .venv with the pinned versions

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .venv-bench outputs .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
