# Targets only call the command line; all logic is in services/cli. Node 24 comes with node_modules.
SHELL := /bin/sh
NODE := node_modules/.bin/node
CLI := $(NODE) services/cli/main.ts
INSTALLED := node_modules/.package-lock.json

.DEFAULT_GOAL := help
.PHONY: all deploy deploy-docker demo env status logs smoke stop start sweep dead replay test test-faults bench clean clean-docker help check

all: ## deploy, test, clean, one after the other
	@$(MAKE) deploy && $(MAKE) test && $(MAKE) clean ARGS=--yes

deploy: $(INSTALLED) ## bring everything up (Docker when an engine answers, else native; SCALE=3, RUNTIME=native)
	@$(CLI) deploy

deploy-docker: $(INSTALLED) ## the same, with Docker Compose
	@RUNTIME=docker $(CLI) deploy

demo: $(INSTALLED) ## upload five objects and watch their verdicts come
	@$(CLI) demo

env: $(INSTALLED) ## exports for the uploader: eval "$$(make -s env)"
	@$(CLI) env

status: $(INSTALLED) ## parts, queues, signatures, verdicts
	@$(CLI) status

logs: $(INSTALLED) ## the logs as text (ARGS="--follow avscan")
	@$(CLI) logs $(ARGS)

smoke: $(INSTALLED) ## check a running deployment in seconds
	@$(CLI) smoke

sweep: $(INSTALLED) ## scan what has no proven verdict, now, and watch (ARGS=--no-wait)
	@$(CLI) sweep $(ARGS)

dead: $(INSTALLED) ## what was given up, and why (ARGS="--bucket x --long")
	@$(CLI) dead $(ARGS)

replay: $(INSTALLED) ## send it back to be tried again (ARGS="--bucket x --dry-run")
	@$(CLI) replay $(ARGS)

stop: $(INSTALLED) ## stop everything, keep the data
	@$(CLI) stop

start: $(INSTALLED) ## start what was stopped
	@$(CLI) start

test: $(INSTALLED) ## every test; does its own set-up and touches no deployment
	@$(NODE) testing/run.ts $(ARGS)

test-faults: $(INSTALLED) ## break everything that can break, and count what is lost (ARGS="--only broker-down --store minio")
	@$(NODE) testing/faults/run.ts $(ARGS)

bench: $(INSTALLED) ## how close to the engine's limit, beside two yardsticks (QUICK=1, FULL=1, SECTIONS=latency)
	@$(NODE) testing/bench/run.ts

check: $(INSTALLED) ## types, lint, format
	@node_modules/.bin/tsc
	@node_modules/.bin/oxlint services testing
	@node_modules/.bin/oxfmt --check services testing

clean: $(INSTALLED) ## remove the deployment and its data (asks on a terminal; ARGS=--yes; with --tools what was built as well)
	@$(CLI) clean $(ARGS)

clean-docker: $(INSTALLED) ## the same, for Docker Compose
	@RUNTIME=docker $(CLI) clean $(ARGS)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { gsub(/\$$\$$/, "$$", $$2); printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# npm writes this file at the end of an installation; on stderr, for `eval "$(make -s env)"` reads stdout.
$(INSTALLED): package.json package-lock.json
	@echo 'installing the dependencies (npm ci), some 20 s …' >&2
	@npm ci --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@
