# Quintet. `make serve` starts the server, `make test` proves it, `make help` lists the rest.
# Everything is installed into .venv from hash-locked files in requirements/; nothing outside the checkout changes.
# Where installing goes through a mirror, pip's own settings are honoured (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, …).

PYTHON ?= python3
VENV ?= .venv
CLIENTS := .venv-clients
BIN := $(VENV)/bin
PIP := PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m pip
PIP_ARGS := install --quiet --no-warn-script-location --disable-pip-version-check
LOCKED := $(PIP_ARGS) --no-deps --require-hashes --only-binary :all:
TEST_PROCESSES ?= 2
PACKAGE := $(PIP_ARGS) --no-deps --no-build-isolation --editable .

.DEFAULT_GOAL := help
.PHONY: help serve convert images test check bench docs lock clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(VENV)/.base ## install what is locked and start the server (QUINTET_HOST, QUINTET_PORT, QUINTET_HOME)
	@exec $(BIN)/quintet serve

convert: $(VENV)/.convert ## install what turns safetensors into OpenVINO IR (torch; about 1 GB), for `quintet pull`

images: $(VENV)/.images ## install what draws pictures and animations (torch and diffusers; about 1 GB)

test: $(VENV)/.dev $(CLIENTS)/hub/.ready $(CLIENTS)/tgi/.ready $(CLIENTS)/visioncraft/.ready ## install what tests need and run them all
	@$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile -m "not alone"; side_by_side=$$?; \
	  $(BIN)/python -m pytest -m alone && exit $$side_by_side

check: $(VENV)/.dev ## format, lint, types, layers, sizes
	@PATH="$(abspath $(BIN)):$$PATH" tools/check

bench: $(VENV)/.dev ## measure speed and memory; results go to docs/performance.md
	@$(BIN)/python -m bench

docs: $(VENV)/.base ## write the pages that are made from the code
	@$(BIN)/python tools/write_configuration.py

lock: ## renew the lock files (needs uv; `make lock UPGRADE=--upgrade` for newer versions)
	@tools/lock $(UPGRADE)

clean: ## remove what these targets made
	rm -rf $(VENV) $(CLIENTS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# An environment with the locked pip in it. Debian's python3 has no ensurepip unless python3-venv is installed, so
# the environment is made without pip, and the machine's own pip puts the locked one in; ensurepip is the spare.
define make_environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Quintet needs Python 3.11 or newer, this is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv --without-pip $(1)
	@$(1)/bin/python -m pip --version >/dev/null 2>&1 \
	  || { $(PYTHON) -m pip --version >/dev/null 2>&1 \
	       && $(PYTHON) -m pip --python $(1)/bin/python $(LOCKED) --no-compile -r requirements/build.txt; } \
	  || $(PYTHON) -m venv --upgrade $(1) >/dev/null 2>&1 \
	  || { echo "No working pip found. On Debian or Ubuntu: apt-get install python3-pip" >&2; exit 1; }
endef

# Only what the server imports is compiled to bytecode (tools/warm.py): compiling everything would add 45 MB.
$(VENV)/.base: requirements/base.txt requirements/build.txt pyproject.toml
	@echo "Installing Quintet into $(VENV) (once; about 100 MB to download) ..."
	$(call make_environment,$(VENV))
	@$(PIP) $(LOCKED) --no-compile -r requirements/build.txt
	@$(PIP) $(LOCKED) --no-compile -r requirements/base.txt
	@$(PIP) $(PACKAGE)
	@$(BIN)/python tools/warm.py
	@touch $@

$(VENV)/.convert: $(VENV)/.base requirements/convert.txt
	@echo "Installing what conversion needs into $(VENV) (once; some minutes) ..."
	@$(PIP) $(PIP_ARGS) torch==2.13.0
	@$(PIP) $(LOCKED) -r requirements/convert.txt
	@touch $@

$(VENV)/.images: $(VENV)/.base requirements/images.txt
	@echo "Installing what drawing needs into $(VENV) (once; some minutes) ..."
	@$(PIP) $(PIP_ARGS) torch==2.13.0
	@$(PIP) $(LOCKED) -r requirements/images.txt
	@touch $@

# torch comes first, alone and without a hash: its build depends on the machine. The registry's own is large and
# made for CUDA; to get the CPU build, set PIP_EXTRA_INDEX_URL to an index that has it. Tests only need a CPU.
$(VENV)/.dev: requirements/dev.txt requirements/build.txt pyproject.toml
	@echo "Installing what tests and checks need into $(VENV) (once; some minutes) ..."
	$(call make_environment,$(VENV))
	@$(PIP) $(PIP_ARGS) torch==2.13.0
	@$(PIP) $(LOCKED) -r requirements/dev.txt
	@$(PIP) $(PACKAGE)
	@$(BIN)/python tools/warm.py
	@touch $@

# Other people's clients that the tests run unmodified, and that can't share an environment with us.
$(CLIENTS)/%/.ready: requirements/client-%.txt
	@echo "Installing the $* client into $(CLIENTS)/$* ..."
	$(call make_environment,$(CLIENTS)/$*)
	@$(CLIENTS)/$*/bin/python -m pip $(LOCKED) -r requirements/client-$*.txt
	@touch $@

# This one comes as source: its own rule, for it must be built, by setuptools that is locked beside it.
$(CLIENTS)/visioncraft/.ready: requirements/client-visioncraft.txt
	@echo "Installing the visioncraft client into $(CLIENTS)/visioncraft ..."
	$(call make_environment,$(CLIENTS)/visioncraft)
	@sed -n '/^setuptools==/,/[^\\]$$/p' requirements/client-visioncraft.txt >$(CLIENTS)/visioncraft/setuptools.txt
	@$(CLIENTS)/visioncraft/bin/python -m pip $(LOCKED) -r $(CLIENTS)/visioncraft/setuptools.txt
	@$(CLIENTS)/visioncraft/bin/python -m pip $(LOCKED) --no-binary visioncraftapi --no-build-isolation -r requirements/client-visioncraft.txt
	@touch $@
