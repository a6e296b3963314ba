# `make` alone says what there is. Everything lives in .venv and ${DATA_DIR:-var}.
# The first that is new enough. Debian builds its own with what makes Python faster.
PYTHON ?= /usr/bin/python3 python3
BIN := .venv/bin
export DATA_DIR ?= var
export PORT ?= 8000
# Where the pictures of `make screenshots` go.
FOLDER ?= $${TMPDIR:-/tmp}/taglock-screenshots

.DEFAULT_GOAL := help
.PHONY: help run test check screenshots lock

help:  ## Say what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

run: .venv/run  ## Start Taglock on 127.0.0.1:${PORT:-8000}, with demo data in ${DATA_DIR:-var}
	@requirements/debian docker-registry nginx skopeo curl
	@exec $(BIN)/python -m packages_site.run

test: .venv/dev  ## Run every test on PostgreSQL, and a part of them on SQLite too
	@tests/run

check: .venv/dev  ## Lint, types, imports, templates, migrations, deployment settings
	@tests/check

screenshots: .venv/dev  ## Draw every page in every state, light and dark, wide and narrow, into FOLDER
	@requirements/debian chromium-headless-shell fonts-dejavu-core
	@$(BIN)/python -m tests.screenshots "$(FOLDER)"

lock: .venv/dev  ## Pin the dependencies of pyproject.toml again
	@requirements/lock $(BIN)/uv

.venv/run: requirements/run.txt
	@requirements/install run $(PYTHON)

.venv/dev: requirements/dev.txt requirements/run.txt
	@requirements/install dev $(PYTHON)
