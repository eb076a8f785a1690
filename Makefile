# The only door: `make` lists what there is. A fresh machine needs Python 3.11 and make, nothing else.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TOOLS := .venv-tools
UV := $(TOOLS)/bin/uv
BIN := .venv/bin
INSTALL := $(UV) pip install --quiet --python $(BIN)/python --require-hashes
OURSELVES := $(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
# uv brings certificates of its own; where the machine has a store, that one also knows a company's.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem),)
export UV_SYSTEM_CERTS ?= true
endif
# Most tests wait for a process, so two files of them run at a time.
BESIDE := -n 2 --dist loadfile
MODEL := model_store/swin_digits-1.0.mar
FUZZ := tests/fuzz tests/e2e/test_fuzz.py
# Fuzzers that share the time.
FUZZERS := 5

.PHONY: help setup demo serve test test-full gpu lint format typecheck check proto proto-check docs reference lock sbom audit \
	train load bench-crosscheck bench-decode bench-gateway bench-gpu bench-memory bench-model bench-overload bench-pipeline bench-serve \
	bench-start rolling soak fuzz dashboard pictures manifests ray wheel image clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv installs in seconds what takes pip minutes; it is itself installed by pip, from a locked hash.
$(UV): requirements/uv.txt
	@echo "Setting up the installer …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(BIN)/python: | $(UV)
	@$(UV) venv --quiet --python $(PYTHON) .venv

.venv/.serve: requirements/serve.txt pyproject.toml | $(BIN)/python
	@echo "Installing the service (torch is large: the first time takes minutes, later ones come from the cache) …"
	@$(INSTALL) -r requirements/serve.txt
	@$(OURSELVES)
	@touch $@

.venv/.dev: requirements/dev.txt pyproject.toml | $(BIN)/python
	@echo "Installing the service and the development tools (torch is large: the first time takes minutes) …"
	@$(INSTALL) -r requirements/dev.txt
	@$(OURSELVES)
	@touch $@ .venv/.serve

# Environments of their own, beside the service's.
.venv-audit/.done .venv-docs/.done .venv-proto/.done .venv-triton/.done: .venv-%/.done: requirements/%.txt | $(UV)
	@$(UV) venv --quiet --python $(PYTHON) --clear .venv-$*
	@$(UV) pip install --quiet --python .venv-$*/bin/python --require-hashes -r requirements/$*.txt
	@touch $@

.venv-ray/.done: requirements/serve.txt deploy/ray/requirements.txt | $(UV)
	@$(UV) venv --quiet --python $(PYTHON) --clear .venv-ray
	@$(UV) pip install --quiet --python .venv-ray/bin/python --require-hashes -r requirements/serve.txt \
		-r deploy/ray/requirements.txt
	@$(UV) pip install --quiet --python .venv-ray/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

$(MODEL): .venv/.serve $(wildcard model_store/swin_digits/*) $(wildcard handler/swin_handler/*.py) \
		$(foreach part,build engine kernels models,$(wildcard handler/swin_handler/$(part)/*.py)) \
		$(wildcard handler/swin_handler/native/*)
	@$(BIN)/swinserve build swin_digits --model-store model_store --no-tune

setup: .venv/.dev  ## install everything for development into .venv

demo: $(MODEL)  ## start the service, classify real images over gRPC and REST, stop
	@$(BIN)/python deploy/demo.py

serve: $(MODEL)  ## start the service on the default model and stay (SWINSERVE_* variables apply)
	@$(BIN)/swinserve serve --model-store model_store

test: .venv/.dev .venv-proto/.done .venv-audit/.done .venv-triton/.done .venv-docs/.done  ## what CI runs: lint, types, contracts, unit and e2e tests with coverage
	@$(MAKE) --no-print-directory check
	@$(BIN)/python -m pytest $(BESIDE) --cov --cov-report=term -m "not gpu and not slow"

test-full: .venv/.dev .venv-proto/.done .venv-audit/.done .venv-triton/.done .venv-docs/.done check  ## the same and the minutes-long tests
	@$(BIN)/python -m pytest $(BESIDE) --cov --cov-report=term -m "not gpu"

gpu: .venv/.dev  ## everything that needs a CUDA device
	@$(BIN)/python -m pytest -m gpu

check: lint typecheck proto-check

lint: .venv/.dev  ## ruff and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

format: .venv/.dev  ## rewrite the sources in the house format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

typecheck: .venv/.dev  ## mypy, strict
	@$(BIN)/python -m mypy

proto: .venv-proto/.done  ## regenerate the committed stubs
	@PATH="$(CURDIR)/.venv-proto/bin:$$PATH" .venv-proto/bin/python proto/generate.py

proto-check: .venv-proto/.done
	@PATH="$(CURDIR)/.venv-proto/bin:$$PATH" .venv-proto/bin/python proto/generate.py --check

docs: .venv-docs/.done  ## the documentation as a site in build/docs; a link that leads nowhere fails
	@.venv-docs/bin/sphinx-build --fail-on-warning --keep-going --fresh-env --write-all --quiet docs build/docs
	@echo "open build/docs/index.html"

reference: .venv/.dev .venv-proto/.done  ## rewrite docs/reference/{grpc,rest,settings,cli}.md from what they describe
	@$(BIN)/python docs/generate

lock: $(UV)  ## resolve the dependencies anew into requirements/*.txt
	@compile() { $(UV) pip compile "$$@" --quiet --no-header --python-version 3.11 --generate-hashes \
		--no-emit-index-url --upgrade; }; \
	compile requirements/uv.in -o requirements/uv.txt; \
	compile requirements/proto.in -o requirements/proto.txt; \
	compile requirements/audit.in -o requirements/audit.txt; \
	compile requirements/triton.in -o requirements/triton.txt; \
	compile requirements/docs.in -o requirements/docs.txt; \
	compile pyproject.toml requirements/build.in --extra serve -c requirements/constraints.in \
		-o requirements/serve.txt; \
	compile pyproject.toml requirements/build.in --extra serve --extra openvino --extra load --extra bench \
		--extra dev \
		-c requirements/serve.txt -o requirements/dev.txt; \
	compile deploy/ray/requirements.in -c requirements/serve.txt -o deploy/ray/requirements.txt; \
	compile loadtests/peers/model.in -c requirements/serve.txt -o loadtests/peers/model.txt; \
	for peer in loadtests/peers/*/requirements.in; do \
		override=$${peer%requirements.in}override.in; \
		compile $$peer $$([ ! -f $$override ] || echo --override $$override) -o $${peer%.in}.txt; \
	done

sbom: .venv-audit/.done  ## dist/swinserve.cdx.json: every locked package of the service, and TorchServe's jars
	@.venv-audit/bin/python deploy/sbom.py

audit: .venv-audit/.done  ## known vulnerabilities of the locked packages; asks the advisory service over the network
	@.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements/serve.txt

train: .venv/.dev  ## train swin_digits anew and rewrite model_store/swin_digits
	@$(BIN)/python model_store/train_swin_digits.py

load: .venv/.dev  ## Locust and its SLO on a fresh service, or on URL=http://…; USERS=8 TIME=30s SLO=file LOAD="--shape steps"
	@$(BIN)/python loadtests/load_gate.py --users $(or $(USERS),8) --time $(or $(TIME),30s) $(if $(URL),--url $(URL)) \
		$(if $(GRPC),--grpc-url $(GRPC)) $(if $(SLO),--slo $(SLO)) $(LOAD)

bench-crosscheck: .venv/.dev  ## Locust against wrk on the same service
	@$(BIN)/python loadtests/bench_crosscheck.py $(BENCH)

bench-serve: .venv/.dev  ## served against the engine alone and against other servers; BENCH="--no-peers" and others
	@$(BIN)/python loadtests/bench_serve.py $(BENCH)

bench-pipeline: .venv/.dev  ## JPEG to answers in the worker alone, against its engine and its decoding, on a GPU too
	@$(BIN)/python loadtests/bench_pipeline.py $(BENCH)

bench-gateway: .venv/.dev  ## what the gateway costs, against TorchServe's own gRPC port
	@$(BIN)/python loadtests/bench_gateway.py

bench-overload: .venv/.dev  ## up to three times what the service can take: goodput, p99, refusals
	@$(BIN)/python loadtests/bench_overload.py $(BENCH)

fuzz: .venv/.dev  ## make fuzz MINUTES=60: every fuzzer in turn, each its share of the time; what was tried and what it got
	@FUZZ_SECONDS=$$(( $(or $(MINUTES),60) * 60 / $(FUZZERS) )) $(BIN)/python -m pytest -q -s -o timeout=0 $(FUZZ)

rolling: .venv/.dev  ## restart two services behind HAProxy in turn, under load: no call may fail
	@$(BIN)/python loadtests/rolling.py

soak: .venv/.dev  ## make soak MINUTES=30: memory, descriptors, threads and p99 over time
	@$(BIN)/python loadtests/soak.py --minutes $(or $(MINUTES),30)

pictures: .venv/.dev  ## take the demo page's pictures in docs/images anew; needs chromium
	@$(BIN)/python -m tests.e2e.page_pictures

dashboard: .venv/.dev  ## rewrite deploy/grafana/swinserve.json from panels.py
	@$(BIN)/python deploy/grafana/dashboard.py

manifests:  ## render every promised combination of deploy/k8s into out/manifests, by kubectl; rewrite the operator's rules
	@$(PYTHON) deploy/k8s/prometheus_rule.py
	@$(PYTHON) deploy/k8s/render.py

bench-model: .venv/.dev  ## ours against every other way to run the models, on this CPU; BENCH="--quick" and others
	@$(BIN)/python loadtests/bench_model.py $(BENCH)

bench-gpu:  ## the model part on a GPU machine that has torch, timm and triton; needs no installation of ours
	@$(PYTHON) loadtests/bench_gpu.py $(BENCH)

bench-decode: .venv/.dev  ## decoding and resizing JPEGs, ours against other ways: time, pixels, logits, top-1
	@$(BIN)/python loadtests/bench_decode.py $(BENCH)

bench-start: .venv/.dev  ## from a worker's start to ready, with what was compiled ahead
	@$(BIN)/python loadtests/bench_start.py $(BENCH)

bench-memory: .venv/.dev  ## resident memory at rest and after 5,000 requests
	@$(BIN)/python loadtests/bench_memory.py

ray: $(MODEL) .venv-ray/.done  ## the archive under Ray Data on two local workers, its answers held against the service's
	@.venv-ray/bin/python deploy/ray/prove.py

wheel: .venv/.dev  ## build the distribution into dist/
	@$(BIN)/python -m build --no-isolation --outdir dist .

image:  ## the container image, by docker or buildah; TARGET=cuda BASE_IMAGE=… TORCH_INDEX=… MODELS="…": docs/howto/container.md
	@bash deploy/docker/build.sh

clean:  ## remove what was installed and built
	@rm -rf .venv .venv-tools .venv-proto .venv-audit .venv-triton .venv-docs .venv-ray dist build out $(MODEL)
