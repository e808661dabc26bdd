# ezha: what can be done here. `make` alone tells.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MORE := $(addprefix tests/lab/test_,$(addsuffix .py,getting_started resources monitor migration outside attacker rotation etcd))
# Long hunts take half the time with PyPy, where tools/pypy has put it (tools/pypy --version does).
HUNTER = $(if $(wildcard .pythons/pypy/usr/bin/pypy3),tools/pypy,$(BIN)/python)
AGENTS := /usr/lib/ocf/resource.d/heartbeat/Dummy=resource-agents

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ezha needs Python 3.11 or later: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

.PHONY: setup
setup: $(VENV)/.made ## Make .venv, with ezha in .venv/bin

.PHONY: system
system: ## Install the few system programs that the lab needs (Debian, as root)
	@tools/system-packages

.PHONY: demo
demo: setup system ## Two nodes, a web server, the active one loses its power: watch
	$(BIN)/python -m ha.cli.ezha demo

.PHONY: test
test: setup system ## What must hold every day: unit tests, the simulator, then the cluster end to end in the lab
	@tools/system-packages etcd=etcd-server
	@tools/system-packages chromium || echo "no Chromium here: the simulator's page is not tried in a browser" >&2
	$(BIN)/python -m pytest tests/unit --numprocesses=2 --quiet
	$(BIN)/python -m pytest tests/simulation --numprocesses=2 --quiet
	$(HUNTER) -m ha.cli.ezha sim hunt --seeds 0..499 --jobs 2
	$(BIN)/python -m pytest tests/lab $(MORE:%=--ignore=%) --numprocesses=2 --dist=loadfile --quiet --durations=10

.PHONY: test-more
test-more: setup system ## The rest: resources and the whole tutorial, a migration, arbiters, attackers
	@tools/system-packages etcd=etcd-server mkfs.xfs=xfsprogs mkfs.btrfs=btrfs-progs $(AGENTS)
	$(BIN)/python -m pytest $(MORE) --numprocesses=2 --dist=loadfile --quiet --durations=10

.PHONY: test-vm
test-vm: setup system deb ## Machines in place of namespaces: boots, watchdogs, pulled plugs (GATE=1: a share of it)
	@tools/system-packages qemu-system-x86_64=qemu-system-x86 qemu-img=qemu-utils mmdebstrap mke2fs=e2fsprogs
	EZHA_VM_PACKAGE="$$(ls -t dist/ezha_*_all.deb | head -n 1)" $(BIN)/python -m pytest tests/vm $(if $(GATE),-m gate) --quiet --durations=10

.PHONY: deb
deb: setup ## Build the Debian package dist/ezha_VERSION_all.deb (as root where tools for it are missing)
	@tools/package/build

.PHONY: test-package
test-package: setup ## Install, upgrade, remove and purge it on a Debian made for that, under systemd (Debian, as root)
	@tools/system-packages mmdebstrap lintian
	$(BIN)/python -m pytest tests/package --quiet --durations=5

.PHONY: unit
unit: setup ## Unit tests alone
	$(BIN)/python -m pytest tests/unit --numprocesses=2 --quiet

.PHONY: pythons
pythons: setup ## The simulator gives the same histories on CPython 3.12 to 3.14 (needs node and npm)
	$(BIN)/python -m tests.simulation.pythons

.PHONY: planted
planted: setup ## Take each guard away and search for the first seed that shows it (some minutes)
	$(BIN)/python -m tests.simulation.planted --write

.PHONY: lint
lint: setup ## ruff, mypy --strict, import contracts, shell scripts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if command -v shellcheck >/dev/null; then shellcheck init/ezha.init ha/lab/vm/guest/boot ha/lab/vm/guest/initrd ha/lab/vm/guest/lab-node.init conf/examples/*.cluster tools/system-packages tools/pypy tools/package/build debian/ezha.p* .ci/run && shellcheck --shell=sh init/env.sh; fi

.PHONY: bench
bench: setup ## The full measurements of docs/performance.md (30 minutes)
	@tools/system-packages keepalived pg_createcluster=postgresql $(AGENTS)
	$(BIN)/python -m bench

.PHONY: docs
docs: setup ## Make docs/states.md and the tables of docs/simulator.md anew from the code
	$(BIN)/python -m ha.fsm.diagram > docs/states.md.new && mv docs/states.md.new docs/states.md
	$(BIN)/python -m ha.simulation.language docs/simulator.md > docs/simulator.md.new && mv docs/simulator.md.new docs/simulator.md

.PHONY: clean
clean: ## Remove what the above made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
