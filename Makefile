# QLUSTER: what people do with a checkout. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCAL := inventories/local
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.DEFAULT_GOAL := help
.PHONY: help deploy status destroy test check lint types floors unit edge cluster collection sanity \
        faults ledger ledger-report ledger-planted fuzz simulate campaign planted bench-consensus bench-health bench-transport bench-qnetd bench-tasks bench-failover bench-switchover lab lab-deploy lab-down lab-test lock clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- what is needed -----------------------------------------------------------

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11 or newer is needed: make PYTHON=python3.11 …" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "cannot make a virtual environment: install the package python3-venv, then run make again" >&2; exit 1; }

$(VENV)/controller.stamp: requirements/controller.txt | $(VENV)/pyvenv.cfg
	@echo "installing the pinned dependencies of the controller (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt | $(VENV)/pyvenv.cfg
	@echo "installing the pinned dependencies of checks and tests (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@ $(VENV)/controller.stamp

$(VENV)/fuzz.stamp: requirements/fuzz.txt $(VENV)/dev.stamp
	@echo "installing the pinned fuzzer (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/bench.stamp: requirements/bench.txt $(VENV)/dev.stamp
	@echo "installing the pinned dependencies of the benchmark (once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# --- a cluster on this machine ------------------------------------------------

deploy: $(VENV)/controller.stamp ## a cluster on this machine, no root needed
	@$(BIN)/ansible-playbook -i $(LOCAL) deploy.yml

status: $(VENV)/controller.stamp ## how that cluster is
	@$(BIN)/ansible-playbook -i $(LOCAL) playbooks/status.yml

destroy: $(VENV)/controller.stamp ## stop and remove that cluster with all its data
	@$(BIN)/ansible-playbook -i $(LOCAL) playbooks/destroy.yml -e qluster_destroy_confirm=local

# --- hosts with systemd in containers (as root) --------------------------------

lab: $(VENV)/controller.stamp ## five hosts with systemd in containers, and inventories/lab (as root)
	@$(BIN)/python lab/lab.py up

lab-deploy: lab ## a cluster on these hosts; the daemon is packed first, since their network has no way out
	@minor=$$($(BIN)/python lab/lab.py ssh db1 "python3 --version" | sed -E 's/^Python ([0-9]+\.[0-9]+).*/\1/') && \
	  $(BIN)/python packaging/build_release.py --python "$$minor" --architecture "$$(uname -m)" > /dev/null
	@$(BIN)/python lab/lab.py exec -- $(BIN)/ansible-playbook -i inventories/lab deploy.yml

lab-down: ## remove every trace of them
	@$(PYTHON) lab/lab.py down

# --- checks and tests -----------------------------------------------------------

test: $(VENV)/dev.stamp ## everything that runs on this machine, under 15 minutes
	@$(BIN)/python tests/run.py

check: lint types floors unit ## format, lint, types, floors, fast tests: under a minute

lint: $(VENV)/dev.stamp ## style of Python, YAML and Ansible
	@$(BIN)/ruff check . && $(BIN)/yamllint --strict . && $(BIN)/ansible-lint

types: $(VENV)/dev.stamp ## strict types of the daemon
	@MYPYPATH=node $(BIN)/mypy

floors: $(VENV)/dev.stamp ## who may import whom
	@cd node && PYTHONPATH=. ../$(BIN)/lint-imports --config pyproject.toml

unit: $(VENV)/dev.stamp ## pure parts, scenarios, plugins
	@$(BIN)/pytest tests/node tests/unit tests/fuzz --ignore tests/node/edge --ignore tests/node/sim --ignore tests/node/swarm

edge: $(VENV)/dev.stamp ## real sockets, files, databases
	@$(BIN)/python tests/run.py edge database

cluster: $(VENV)/dev.stamp ## a real cluster on this machine, with real faults
	@$(BIN)/pytest tests/local

collection: $(VENV)/dev.stamp ## build the collection's archive
	@$(BIN)/python packaging/build_collection.py

sanity: $(VENV)/dev.stamp ## ansible-test sanity on a copy
	@$(BIN)/python tests/collection/sanity.py

lab-test: $(VENV)/dev.stamp ## deploy, kill, reinit, destroy on hosts with systemd (as root)
	@$(BIN)/pytest tests/lab

SEEDS ?= 0-199
WORLD ?= swarm sim
simulate: $(VENV)/dev.stamp ## clusters in one process, QRaft alone (swarm) and whole nodes (sim): make simulate SEEDS=0-999
	@code=0; for world in $(WORLD); do echo "== $$world"; \
	  PYTHONPATH=node:tests/node $(BIN)/python -m $$world --seeds $(SEEDS) || code=1; done; exit $$code

HOURS ?= 1
campaign: $(VENV)/dev.stamp ## years of simulated clusters; goes on where it was left: make campaign HOURS=8 (or OPERATIONS=10000000)
	@PYTHONPATH=node:tests/node nice $(BIN)/python -m swarm $(if $(OPERATIONS),--operations $(OPERATIONS),--hours $(HOURS))

planted: $(VENV)/dev.stamp ## hunt every planted fault anew and write docs/planted-faults.md
	@PYTHONPATH=node:tests/node nice $(BIN)/python -m swarm.hunt

faults: $(VENV)/dev.stamp ## real daemons under real faults (as root): make faults SECONDS=600
	@PYTHONPATH=node:tests/node:tests $(BIN)/python -m faults --seconds $(or $(SECONDS),300) --seed $(or $(SEED),1)

LEDGER := PYTHONPATH=node:tests/node:tests $(BIN)/python -m ledger
ledger: $(VENV)/dev.stamp ## databases struck while clients note what was acknowledged (as root); goes on where it was left: make ledger SECONDS=3600
	@$(LEDGER) --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED)) $(if $(MODE),--mode $(MODE)) $(foreach fault,$(FAULT),--fault $(fault))

ledger-report: $(VENV)/dev.stamp ## what all its rounds came to
	@$(LEDGER) --report

ledger-planted: $(VENV)/dev.stamp ## whether the ledger finds faults that are planted into a copy of the daemon (as root)
	@$(LEDGER).planted

# make bench-consensus CELL='http-64-256 bytes-*' ROUNDS=5; QUICK=1 shows in three minutes whether it works
bench-consensus: $(VENV)/bench.stamp ## the product beside etcd and PySyncObj: make bench-consensus CELL=http-64-256
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SOURCE),--source $(SOURCE)) $(if $(REALTIME),--realtime) $(if $(ADD),--add) $(foreach cell,$(CELL),--cell '$(cell)')

# make bench-failover CELL='kill-* host-quorum-fast' SYSTEM=qluster TRIALS=5 MINUTES=60; QUICK=1 shows whether it works.
# What is measured is stored and not measured again: an interrupted run goes on. ANEW=1 forgets it.
bench-failover: $(VENV)/bench.stamp ## how long clients wait when a primary is struck, here and at Patroni (as root)
	@$(BIN)/python -m bench.database $(if $(TRIALS),--trials $(TRIALS)) $(if $(MINUTES),--minutes $(MINUTES)) \
	  $(if $(SYSTEM),--system $(SYSTEM)) $(if $(SOURCE),--source $(SOURCE)) $(if $(ANEW),--anew) $(if $(LOGS),--logs) \
	  $(if $(REALTIME),--realtime) $(if $(MEMORY),--memory) \
	  $(if $(QUICK),--trials 1 --cell 'kill-quorum-fast' --cell 'switchover-off-default') $(foreach cell,$(CELL),--cell '$(cell)')

bench-health: $(VENV)/bench.stamp ## what the routes of load balancers bear, sound and while the database hangs (as root)
	@PYTHONPATH=node:tests/node:. $(BIN)/python -m bench.health $(if $(SECONDS),--seconds $(SECONDS)) $(if $(REALTIME),--realtime)

bench-transport: $(VENV)/dev.stamp ## what a datagram costs, with and without the kernel's help, and how pacing holds
	@PYTHONPATH=node $(BIN)/python bench/transport.py $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(REALTIME),--realtime)

bench-qnetd: $(VENV)/dev.stamp ## what a vote of the arbiter costs, beside corosync-qnetd: ROUNDS=3 SECONDS=3 REALTIME=1
	@PYTHONPATH=node:. $(BIN)/python -m bench.qnetd $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS)) \
	  $(if $(REALTIME),--realtime)

bench-tasks: $(VENV)/bench.stamp ## what tasks cost, beside Celery with Redis: CELL=submit ROUNDS=3 REALTIME=1 RESUME=1
	@PYTHONPATH=node:. $(BIN)/python -m bench.tasks $(if $(CELL),$(foreach cell,$(CELL),--cell $(cell))) \
	  $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(REALTIME),--realtime) \
	  $(if $(RESUME),--resume)

bench-switchover: $(VENV)/dev.stamp ## how long clients wait when the primary moves by plan (as root): ROUNDS=12 MODE=quorum REALTIME=1
	@PYTHONPATH=node:tests:tests/node $(BIN)/python -m edge.switchover_figures \
	  $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(REALTIME),--realtime) $(foreach mode,$(MODE),--mode $(mode))

fuzz: $(VENV)/fuzz.stamp ## bad input guided by coverage: make fuzz SECONDS=600 TARGET=node (decode link log routes config; all)
	@PYTHONPATH=node:tests:tests/node nice $(BIN)/python -m fuzz $(or $(TARGET),all) --seconds $(or $(SECONDS),60)

lock: $(VENV)/controller.stamp ## pin the dependencies anew, with hashes
	@for f in controller dev bench fuzz; do $(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --python-version 3.11 requirements/$$f.in -o requirements/$$f.txt || exit 1; done
	@for f in node dask; do $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --python-version 3.11 requirements/$$f.in -o requirements/$$f.txt || exit 1; done
	@echo "Now bring docs/licences.md up to date: packaging/licences.py"

clean: ## remove what commands here made again and again (not the cluster)
	@rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
