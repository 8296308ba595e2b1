# Every command of the project; `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
UV_VERSION := 0.13.9
UV := .tools/uv/bin/uv
PYTHON := .venv/bin/python
export UV_PYTHON_DOWNLOADS := never
# Dozens of short processes load torch, kfp and polars: without cached bytecode each compiles them anew.
unexport PYTHONDONTWRITEBYTECODE
# The first that is there builds the images.
IMAGE_TOOL = $(firstword $(foreach tool,docker buildah podman,$(if $(shell command -v $(tool)),$(tool))))
IMAGE_TARGETS := signals train serving search
HELM := helm
APT := apt-get install make python3-pip python3-venv libpython3.11

.PHONY: help demo test test-journey test-long test-gpu test-cluster cluster-tools check compile generate bench bench-1b images charts sbom checkov lock preflight clean

help: ## list the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

demo: .venv/.installed ## the whole journey on this machine; results in demo-out/
	$(PYTHON) -m reelspace.cli demo run --out demo-out

test: .venv/.installed ## every test without containers and clusters, one line per skip
	$(PYTHON) -m pytest -n 2 -m "not journey and not long and not gpu and not cluster" -q

test-journey: .venv/.installed ## the tests that walk whole journeys: kills, servers, your own tables; after make demo
	$(PYTHON) -m pytest -m "journey and not long" -q

test-long: .venv/.installed ## the full counts named in the issues; takes hours
	$(PYTHON) -m pytest -m "journey or long" -q

test-gpu: .venv/.installed ## the tests that need a GPU
	$(PYTHON) -m pytest -m gpu -q

cluster-tools: .venv/.installed ## build the pinned programs of the test clusters with Go, once; about 20 minutes
	$(PYTHON) -m tests.cluster.build

test-cluster: .venv/.installed ## the tests on a real Kubernetes; those with a real node need root
	$(PYTHON) -m tests.cluster.isolation $(PYTHON) -m pytest -m "cluster and not long" -q tests/cluster tests/containers tests/charts

check: .venv/.installed ## lint, types, direction of imports, generated files, docs
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	$(PYTHON) kfp_compile.py --check
	$(PYTHON) -m reelspace.serving.signatures --check
	$(PYTHON) dashboards/generate.py --check
	$(PYTHON) charts/generate.py --check
	$(PYTHON) -m reelspace.core.digest --check-lock requirements/dev.lock reelspace/core/lock_digest.txt
	$(PYTHON) -m pytest -q tests/docs

compile: .venv/.installed ## pipelines/*.py -> pipelines/compiled/*.yaml
	$(PYTHON) kfp_compile.py

generate: compile ## write every generated file anew
	$(PYTHON) -m reelspace.serving.signatures --write
	$(PYTHON) dashboards/generate.py
	$(PYTHON) charts/generate.py
	$(PYTHON) -m reelspace.core.digest --write-lock requirements/dev.lock reelspace/core/lock_digest.txt
	$(PYTHON) docs/generate.py

bench: .venv/.installed ## run every benchmark; results in benchmarks/results/
	failed=; for script in benchmarks/[a-z]*.py; do $(PYTHON) $$script || failed="$$failed $$script"; done; \
	  [ -z "$$failed" ] || { echo "a bar is missed, or an error: $$failed" >&2; exit 1; }

bench-1b: .venv/.installed ## three optimizer steps of a model of a billion parameters on this CPU
	$(PYTHON) -m benchmarks.one_billion

images: ## build the images of the steps and servers with docker, buildah or podman; BASE=IMAGE takes another base
	@[ -n "$(IMAGE_TOOL)" ] || { echo "expected docker, buildah or podman on PATH; IMAGE_TOOL=PATH names another" >&2; exit 2; }
	for target in $(IMAGE_TARGETS); do \
	  $(IMAGE_TOOL) build $(if $(BASE),--build-arg BASE=$(BASE)) $(IMAGE_OPTIONS) --target $$target \
	    -t reelspace/python-$$target:0.1.0 . || exit 1; \
	done

charts: .venv/.installed ## pack the charts, the same bytes each time, into dist/charts; HELM=PATH names Helm 4; IMAGES=LOCK adds values by digest
	$(PYTHON) -m supply.packages --helm "$(HELM)"
	$(if $(IMAGES),$(PYTHON) -m supply.digests --images "$(IMAGES)")

sbom: .venv/.installed ## what Python packages each image holds, as CycloneDX 1.6, into dist/sbom
	$(PYTHON) -m supply.sbom

checkov: .venv/.installed ## install Checkov and the linters of YAML that tests of charts run
	$(PYTHON) -m tests.charts.checkov
	$(PYTHON) -m tests.charts.ct

lock: $(UV) ## resolve pyproject.toml into requirements/*.lock
	rm -f requirements/pins.txt; touch requirements/pins.txt
	for extra in dev signals media train serving search; do \
	  $(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --extra $$extra \
	    --constraint requirements/pins.txt pyproject.toml -o requirements/$$extra.lock || exit 1; \
	  [ $$extra != dev ] || sed -nE 's/^([A-Za-z0-9._-]+==[^\\]+[^ \\]) *\\?$$/\1/p' requirements/dev.lock > requirements/pins.txt; \
	done; rm requirements/pins.txt
	echo hatchling | $(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header - -o requirements/build.lock
	$(MAKE) generate

preflight:
	@python3 -m pip --version >/dev/null 2>&1 && python3 -c 'import venv' 2>/dev/null \
	  && { ldconfig -p | grep -q 'libpython3\.1[12]\.so' || ls $$(python3 -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')/libpython3.1[12].so* >/dev/null 2>&1; } \
	  || { echo "missing system packages: $(APT)" >&2; exit 2; }

$(UV): | preflight
	python3 -m pip install -q --disable-pip-version-check --root-user-action ignore --target .tools/uv uv==$(UV_VERSION)

.venv/.installed: requirements/dev.lock pyproject.toml $(UV)
	[ -x $(PYTHON) ] || $(UV) venv -q --python python3 .venv
	$(UV) pip install -q --python $(PYTHON) --require-hashes -r requirements/dev.lock
	$(UV) pip install -q --python $(PYTHON) --no-deps -e .
	touch $@

clean: ## remove what the commands made
	rm -rf .venv .tools demo-out
