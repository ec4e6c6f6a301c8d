PYTHON ?= python3
BIN := .venv/bin
PACKAGES := libs/common libs/client services/vault services/runner services/analytics services/gateway deploy/embedded
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
MODULES := $(foreach package,$(PACKAGES),$(wildcard $(package)/*/py.typed))

.PHONY: help install demo run images release sbom secrets test test-http soak mutants compose-test k8s-lint k8s-api-test check \
	audit format lock schemas rules bench clean

help: ## List what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

install: .venv/installed ## Set up .venv with everything locked by hash

.venv/installed: requirements.lock tests/openai2.lock $(addsuffix /pyproject.toml,$(PACKAGES))
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(addprefix -e ,$(PACKAGES))
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --no-deps --require-hashes --target .venv/openai2 -r tests/openai2.lock
	@touch $@

demo: install ## Run prompts against a simulated provider and show what they cost (DEMO_ARGS=--exit: then stop)
	@$(BIN)/python -m embedded demo $(DEMO_ARGS)

run: install ## Start the stack on your own keys
	@$(BIN)/python -m embedded run

VERSION ?= 0.1.0
DOCKER ?= docker
IMAGE := $(DOCKER) build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null)

images: ## Build the images of the four services, and of the simulated provider
	@for service in gateway vault runner analytics; do \
		$(IMAGE) --build-arg SERVICE=$$service --tag tallyrun/$$service:$(VERSION) . || exit 1; \
	done
	@$(IMAGE) --build-arg SERVICE=simulator --build-arg SOURCE=deploy/embedded --build-arg MODULE=embedded.simulator \
		--tag tallyrun/simulator:$(VERSION) .

release: install ## Push the images to REGISTRY and write what a release consists of into dist/
	$(BIN)/python deploy/images/release.py release $(REGISTRY) $(VERSION)

sbom: install ## Write a bill of materials of each image that was released into dist/ (needs syft)
	$(BIN)/python deploy/images/release.py sbom $(REGISTRY) $(VERSION)

secrets: ## Make the secrets that docker-compose.yml mounts, once; what exists is kept
	@deploy/compose/secrets.sh deploy/compose/secrets .env

test: install ## Every everyday test, on real engines, in two processes
	@$(BIN)/python -m common.engines
	$(BIN)/pytest -n 2 --no-loadscope-reorder

test-http: install ## Analytics' tests once more with the database behind HTTP, as in production
	$(BIN)/pytest -n 2 --no-loadscope-reorder --clickhouse=http services/analytics

soak: install ## The long storms: the everyday ones with many more runs, kills and examples
	$(BIN)/pytest -m soak --timeout 3600 -s

mutants: install ## Take each guard out in turn and see its test fail
	$(BIN)/python tests/mutants.py

k8s-lint: install ## Render every overlay and hold it against the rules and the three newest Kubernetes schemas
	TALLYRUN_REQUIRE=kubectl $(BIN)/pytest -n 0 -q -rs deploy/k8s deploy/images deploy/compose

k8s-api-test: install ## Apply the manifests to a real API server with fake nodes (needs Go; 10 minutes the first time)
	$(BIN)/python -m deploy.k8s.api_test

compose-test: install ## The whole-path tests against `docker compose up` on this machine (needs Docker with compose)
	$(BIN)/python -m deploy.compose.test

check: install ## Lint, types, imports, schema drift, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=$(subst $(SPACE),:,$(PACKAGES)) $(BIN)/mypy $(addprefix -p ,$(foreach file,$(MODULES),$(notdir $(patsubst %/,%,$(dir $(file))))))
	$(BIN)/mypy $(wildcard libs/*/tests services/*/tests deploy/*/tests tests bench)
	$(BIN)/lint-imports
	$(BIN)/python -m common.contracts --check
	$(BIN)/python tests/audit.py

audit: install ## Look for known vulnerabilities in what is locked (part of check)
	$(BIN)/python tests/audit.py

format: install ## Put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

lock: ## Resolve the dependencies anew, with hashes and without index URLs
	$(COMPILE) $(foreach package,$(PACKAGES),--no-emit-package tallyrun-$(notdir $(package))) requirements.in -o requirements.lock
	$(COMPILE) tests/openai2.in -o tests/openai2.lock
	$(BIN)/python deploy/images/locks.py

schemas: install ## Write the JSON Schemas of the contracts
	$(BIN)/python -m common.contracts

rules: ## Write the alerts as a resource of the Prometheus Operator
	$(PYTHON) deploy/monitoring/rule.py

bench: install ## Measure, against comparisons run in the same minute
	$(BIN)/python -m bench

clean: ## Remove the virtual environment and caches (data in .tallyrun stays)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
