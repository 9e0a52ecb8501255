# make demo and make test do all set-up by themselves; see .ci/setup for what they install, and when.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory
unexport VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/.venv/bin:$(HOME)/.cargo/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

CRATE := shardproxy/dataplane
CARGO := cd $(CRATE) && cargo
BENCH_CARGO := cd $(CRATE)/benches && cargo
SAY := @printf '==> %s\n'

# The module is built again when its sources changed, when it is missing, or when something else built it since.
RUST := $(shell find $(CRATE)/src -name '*.rs') $(CRATE)/Cargo.toml $(CRATE)/Cargo.lock shardproxy/commands/table.json
MODULE := $(wildcard $(CRATE)/_native*.so)
ENVIRONMENT := .venv/.stamp-environment
NATIVE := .venv/.stamp-native

.PHONY: help demo test test-dataplane test-product failover chaos kubernetes charts lint bench build wheels deb clean engines references force
help:
	@echo 'make demo    start a local fleet and the proxy in front of it (ARGS="--check": a short tour)'
	@echo 'make test    run all tests (ARGS="-k name": some of the Python tests)'
	@echo 'make failover  kill and freeze real primaries and proxies under load (ARGS="--rounds 3": each fault more often)'
	@echo 'make chaos   the same for longer, in all modes, peers beside ours (ARGS="--help": choices)'
	@echo 'make kubernetes  test with a real kube-apiserver (built once: 20 minutes or more)'
	@echo 'make charts  test the Helm chart and the kustomizations (builds helm once: some minutes)'
	@echo 'make lint    check format, types, layers and lints'
	@echo 'make bench   measure the proxy beside its peers (ARGS="--help": choices)'
	@echo 'make build   set up .venv and build, and no more'
	@echo 'make wheels  build wheels for x86-64 and aarch64 into dist/ (ARGS="x86_64": one)'
	@echo 'make deb     build a Debian package for this machine into dist/'
	@echo 'make clean   remove what was built, .venv too'

demo: engines build
	@exec shardproxy demo $(ARGS)

test: test-dataplane test-product

test-dataplane: build
	$(SAY) 'testing the data plane'
	@$(CARGO) test --locked
	@$(BENCH_CARGO) test --locked

# Most of them wait for real processes: more run side by side than there are cores.
test-product: engines references build
	$(SAY) 'testing the whole, with real engines'
	@python -m pytest --numprocesses 3 --dist loadfile $(ARGS)

# They wait for more than they compute: two side by side, as there are cores.
failover: engines references build
	$(SAY) 'killing and freezing real primaries and proxies under load'
	@python -m pytest --numprocesses 2 --dist loadfile tests/failover tests/fleet $(ARGS)

chaos: engines references build
	$(SAY) 'measuring what faults do: about half an hour a round (wants a quiet machine)'
	@PATH="$$PATH:/usr/sbin" python -m tests.fleet.chaos $(ARGS)

kubernetes: engines references build
	@server=$$(.ci/kubernetes) && tools=$$(.ci/charts) && \
	printf '==> %s\n' 'testing with a real kube-apiserver' && \
	PATH="$$tools:$$PATH" SHARDPROXY_KUBE_APISERVER="$$server" python -m pytest tests/kubernetes tests/integration/store/contract \
	  -k kubernetes $(ARGS)

charts: engines build
	@tools=$$(.ci/charts) && printf '==> %s\n' 'rendering charts and kustomizations' && \
	PATH="$$tools:$$PATH" python -m pytest tests/kubernetes/test_charts.py tests/kubernetes/test_kustomize.py $(ARGS)

lint: build
	$(SAY) 'ruff'
	@ruff check . && ruff format --check .
	$(SAY) 'mypy'
	@mypy
	$(SAY) 'stubtest'
	@python -m mypy.stubtest shardproxy.dataplane._native
	$(SAY) 'import-linter'
	@lint-imports --no-logo
	$(SAY) 'rustfmt'
	@$(CARGO) fmt --check
	@$(BENCH_CARGO) fmt --check
	$(SAY) 'clippy'
	@$(CARGO) clippy --locked --all-targets --all-features -- -D warnings
	@$(BENCH_CARGO) clippy --locked --all-targets -- -D warnings

bench: build
	@.ci/setup system redis-server memcached nutcracker haproxy
	@PATH="$$PATH:/usr/sbin" python -m tests.bench $(ARGS)

build: $(ENVIRONMENT) $(NATIVE)

wheels: build
	$(SAY) 'building wheels (some minutes each)'
	@.ci/wheels $(ARGS)

# Of the wheel of this machine, and all that it needs.
deb: build
	$(SAY) 'building a Debian package'
	@rm -rf .build/deb && mkdir -p .build/deb
	@VIRTUAL_ENV=$(CURDIR)/.venv maturin build --release --locked --out .build/deb/wheel
	@python -m pip install -q --target .build/deb/site "$$(ls $(CURDIR)/.build/deb/wheel/*.whl)[caching,otel]"
	@.ci/deb .build/deb/site .venv/bin/python dist

force:

engines:
	@.ci/setup system redis-server redis-cli redis-benchmark memcached

# Programs that the tests compare ours with, where proxies agree, that cut networks, that speak TLS, a database to
# cache from, a browser for the console, Prometheus, who reads completions and the man page; an S3 server.
references:
	@.ci/setup system nutcracker memcping redis-sentinel haproxy etcd etcdctl nft ip faketime openssl postgres \
	  chromium prometheus promtool zsh fish mandoc
	@.ci/s3 >/dev/null || printf '==> %s\n' 'without an S3 server: its tests are skipped'

$(ENVIRONMENT): pyproject.toml
	@.ci/setup system
	@.ci/setup rust
	@.ci/setup venv
	$(SAY) 'installing maturin into .venv'
	@python -m pip install -q 'maturin>=1.9,<2'
	$(SAY) 'building the data plane and installing the dependencies (a few minutes, the first time)'
	@VIRTUAL_ENV=$(CURDIR)/.venv maturin develop --release --locked --extras dev,test
	@touch $@ $(NATIVE)

$(NATIVE): $(ENVIRONMENT) $(RUST) $(or $(MODULE),force)
	$(SAY) 'building the data plane'
	@VIRTUAL_ENV=$(CURDIR)/.venv maturin develop --release --locked --skip-install
	@touch $@

clean:
	rm -rf .venv .build dist $(CRATE)/target $(CRATE)/*/target $(CRATE)/_native*.so
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find shardproxy tests -name __pycache__ -prune -exec rm -rf {} +
