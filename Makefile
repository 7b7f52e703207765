# Commands of this repository; `make` lists them. Settings come from the environment, for example
# POSECLUSTER_PORT=8081 make run. The first use installs what a command needs, inside this folder.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:
VENV := .venv
BIN := $(VENV)/bin
VARIANT := $(or $(POSECLUSTER_MODEL_VARIANT),full)
MODELS := $(or $(POSECLUSTER_MODEL_DIR),models)
export PYTHON VENV
# make deploy DRY_RUN=1 prints the commands without running them
DRY := $(if $(DRY_RUN),--dry-run)
export ENGINE BASE_IMAGE BUILD BUILD_FLAGS PLATFORMS PUSH KIND_IMAGE CONTEXT LOAD VALUES NAMESPACE

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' Makefile

.PHONY: run
run: set-up ## install what the server needs and serve on http://127.0.0.1:8080
	@$(BIN)/python -m scripts.models --variant $(VARIANT)
	@POSECLUSTER_HOST="$${POSECLUSTER_HOST-127.0.0.1,::1}" exec $(BIN)/posecluster-inference serve

.PHONY: run-operator
run-operator: set-up ## run the operator on this machine, against the cluster of KUBECONFIG
	@exec $(BIN)/posecluster-operator run

.PHONY: test
test: set-up-dev test-models scanners ## run every test that this machine can run, and list those that were skipped
	@$(BIN)/python scripts/tiers.py $(TIERS)

.PHONY: check
check: set-up-dev test-models ## before a commit: lint, the unit tests, and a few tests of each tier that this machine can run
	@failed=0; $(MAKE) lint || failed=1; $(BIN)/python scripts/tiers.py unit || failed=1; \
	  $(BIN)/python scripts/tiers.py --smoke component apiserver chart browser e2e || failed=1; exit $$failed

.PHONY: test-unit
test-unit: set-up-dev ## run the tests that need only Python
	@$(BIN)/python scripts/tiers.py unit

.PHONY: test-pythons
test-pythons: set-up-dev models ## run the unit tests and some server tests with every other installed Python version
	@scripts/pythons

.PHONY: test-component
test-component: set-up-dev test-models scanners ## run the tests against real server processes
	@$(BIN)/python scripts/tiers.py component

.PHONY: test-apiserver
test-apiserver: set-up-dev ## test the operator with a real API server (scripts/envtest fetches one; or set KUBEBUILDER_ASSETS or KUBECONFIG)
	@$(BIN)/python scripts/tiers.py apiserver

.PHONY: test-chart
test-chart: set-up-dev scanners ## render the chart and test its alerts (needs helm and promtool on PATH, or see scripts/promtool)
	@$(BIN)/python scripts/tiers.py chart

.PHONY: test-browser
test-browser: set-up-dev test-models ## run the tests of the pages in Chromium (scripts/chromium installs it)
	@$(BIN)/python scripts/tiers.py browser

.PHONY: test-e2e
test-e2e: set-up-dev ## run the end-to-end tests on the cluster of KUBECONFIG or ~/.kube/config (first: make kind-up kind-images)
	@KUBECONFIG="$${KUBECONFIG:-$$HOME/.kube/config}" $(BIN)/python scripts/tiers.py e2e

.PHONY: test-summary
test-summary: set-up-dev ## print the last results of TIERS again, with the unstable and the slowest ten tests
	@$(BIN)/python scripts/tiers.py --summary $(TIERS)

.PHONY: lint
lint: set-up-dev ## check style, types and import contracts
	@failed=0; for tool in "ruff check --output-format concise ." "ruff format --check ." mypy "lint-imports --no-cache --no-logo"; do \
	  echo "== $$tool"; $(BIN)/$$tool || failed=1; \
	done; exit $$failed

.PHONY: images
images: ## build both images (ENGINE=docker|podman|buildah, BASE_IMAGE=, BUILD_FLAGS=, PLATFORMS=, PUSH=)
	@scripts/images $(DRY)

.PHONY: kind-up
kind-up: ## create the kind cluster of kind-config.yaml if it does not exist (KIND_IMAGE= replaces its node image)
	@scripts/kind $(DRY) up

.PHONY: kind-images
kind-images: ## build the images and load them into the kind cluster, without installing anything
	@scripts/images $(DRY) --load scripts/kind load

.PHONY: kind-down
kind-down: ## delete the kind cluster
	@scripts/kind $(DRY) down

.PHONY: deploy
deploy: ## build the images and install the chart and the example into kind (or another cluster: CONTEXT=, LOAD=)
	@scripts/deploy $(DRY)

.PHONY: scanners
scanners: set-up-dev ## install the scanners that the tests run on sources, images and manifests (one or two minutes)
	@scripts/scanners

.PHONY: sbom
sbom: scanners ## write the bills of materials of both images to build/sbom (CycloneDX)
	@$(BIN)/python scripts/sbom.py build/sbom

.PHONY: bench
bench: set-up-dev ## measure the server beside bare landmarkers and a simple server (needs an idle machine)
	@$(MAKE) models
	@$(BIN)/python -m bench.run

.PHONY: bench-heavy
bench-heavy: set-up-dev ## measure the heaviest pictures and their effect on an ordinary caller (needs an idle machine)
	@$(BIN)/python -m bench.heavy

.PHONY: bench-operator
bench-operator: set-up-dev ## measure the operator with a separate API server (needs an idle machine)
	@KUBEBUILDER_ASSETS=$$(scripts/envtest) $(BIN)/python -m bench.operator

.PHONY: bench-scaling
bench-scaling: set-up-dev ## compare the autoscaler with others on recorded traces (needs SIMULATOR=FILE TRACES=FOLDER)
	@$(BIN)/python -m bench.scaling $(if $(SIMULATOR),--simulator $(SIMULATOR)) $(if $(TRACES),--traces $(TRACES))

.PHONY: models
models: set-up ## fetch and verify the model files: lite, full, heavy (docs/models.md)
	@$(BIN)/python -m scripts.models --variant all

.PHONY: test-models
test-models: set-up-dev
	@{ $(BIN)/python -m scripts.models --variant all --as-published --dir "$(MODELS)/published" && \
	   $(BIN)/python -m scripts.models --variant all --from "$(MODELS)/published"; } || \
	   echo "Tests whose model files are missing will be skipped and listed"

.PHONY: reference
reference: set-up-dev ## regenerate docs/reference.md from the CRD
	@$(BIN)/python scripts/reference.py

.PHONY: manifests
manifests: set-up-dev ## regenerate the chart's copies, its table of values, and deploy/install.yaml (needs helm)
	@$(BIN)/python scripts/manifests.py

.PHONY: screenshots
screenshots: set-up-dev models ## regenerate the screenshots in docs/ (needs Chromium)
	@$(BIN)/python scripts/screenshots.py

.PHONY: lock
lock: set-up-dev ## regenerate the lock files from pyproject.toml (UPGRADE=1: newest versions)
	@scripts/lock

.PHONY: clean
clean: ## remove everything that was installed or built, including model files
	@rm -rf .venv build models .mypy_cache .ruff_cache .pytest_cache .hypothesis ./*.egg-info operator/*.egg-info \
	  inference/*.egg-info common/*.egg-info
	@find operator inference common tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: set-up set-up-dev
# scripts/setup first reports whether this system is supported, so it uses a shell that every system has
set-up set-up-dev: SHELL := /bin/sh
set-up set-up-dev: .SHELLFLAGS := -c
set-up:
	@scripts/setup run
set-up-dev:
	@scripts/setup dev
