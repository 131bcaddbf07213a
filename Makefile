# `make` lists the targets. Downloads, builds and servers' data live in TALLY_CACHE, not in this folder.

SHELL := bash
.DEFAULT_GOAL := help

export TALLY_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tally
export CARGO_TARGET_DIR ?= $(TALLY_CACHE)/target
# As root, a target installs the Debian packages it lacks; otherwise it names the command that does.
export TALLY_SETUP_INSTALL ?= 1
# Haswell and its equals have AVX2 and AES: decoding, hashing and compression use them.
RELEASE_FLAGS := -C link-arg=-fuse-ld=mold -C target-cpu=x86-64-v3 -C target-feature=+aes,+pclmulqdq
# Huge pages where the kernel gives them when asked (`madvise`): otherwise a fifth of the time of the stream is the
# kernel clearing small ones. MALLOC_CONF in the environment has the last word.
RELEASE_MALLOC := thp:always,metadata_thp:auto
RELEASE_TARGET ?= $(or $(TALLY_RELEASE_TARGET),$(TALLY_CACHE)/release)
# The version that `make upgrade` comes from.
FROM ?=
# Further arguments of `cargo test`, such as ARGS='-p tally-rating' or ARGS='--test faults'.
ARGS ?=

.PHONY: help setup build release image demo test lint lint-chart chart-run chart-apiserver dashboards upgrade fuzz bench soak kafka s3 fmt clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## check every tool; as root, install what is missing; fetch Kafka, S3 and the Python packages
	@scripts/setup.sh

build: ## build the tally program
	@scripts/setup.sh build
	cargo build --locked -p tally -p tally-deps

release: ## build the program for operators, in TALLY_CACHE/release; needs AVX2 and AES (2013 or later)
	@CARGO_TARGET_DIR=$(RELEASE_TARGET) scripts/setup.sh build
	CARGO_TARGET_DIR=$(RELEASE_TARGET) RUSTFLAGS='$(RELEASE_FLAGS)' JEMALLOC_SYS_WITH_MALLOC_CONF='$(RELEASE_MALLOC)' \
		cargo build --release --locked

image: release ## the image as an OCI archive, made without a container engine: TALLY_CACHE/tally-image.tar
	@rm -rf $(TALLY_CACHE)/image-root
	@scripts/image-root.sh $(RELEASE_TARGET)/release/tally $(TALLY_CACHE)/image-root
	@python3 scripts/image_oci.py $(TALLY_CACHE)/image-root $(TALLY_CACHE)/tally-image.tar "$${VERSION:-0.1.0}" "$$(git rev-parse HEAD 2>/dev/null || echo unknown)"

demo: ## build, run everything in one process on a local folder, feed it traffic, show the result, stop
	@scripts/setup.sh build
	@scripts/demo.sh

test: ## run every test against real Kafka and real S3, brought up and stopped here (ARGS='-p CRATE')
	@scripts/setup.sh build test
	@scripts/test.sh $(ARGS)

soak: ## the fault tests with their full counts, a million steps beside the oracle, a rolling upgrade; takes hours
	@scripts/setup.sh build test
	@scripts/soak.sh $(ARGS)

lint: ## format, clippy, supply chain, shell scripts, file sizes, machine paths, chart, image, alert rules
	@scripts/setup.sh build lint
	@scripts/lint.sh

lint-chart: ## only the chart, alert rules, dashboards, runbooks, Dockerfile and compose.yaml (ARGS=--update)
	@scripts/setup.sh lint
	@scripts/lint-chart.sh $(ARGS)

chart-run: build ## the roles as the chart renders them, on real Kafka and S3, and the chart's own test
	@scripts/setup.sh test
	@scripts/chart-run.sh $(CARGO_TARGET_DIR)/debug/tally

chart-apiserver: ## install, upgrade, uninstall the chart on a real API server without nodes; builds it first
	@scripts/setup.sh lint
	@scripts/chart-apiserver.sh

dashboards: build ## every query of dashboards and runbooks on a real Prometheus that scrapes a real tally
	@scripts/setup.sh test
	@scripts/dashboards.sh $(CARGO_TARGET_DIR)/debug/tally

upgrade: build ## upgrade a running stream from another version and go back (FROM=GIT_REF ARGS=--refusal-expected)
	@scripts/setup.sh test
	@[[ -n "$(FROM)" ]] || { echo 'which version to come from? make upgrade FROM=GIT_REF'; exit 2; }
	@old=$$(scripts/build-ref.sh $(FROM)) && scripts/upgrade.sh $(ARGS) "$$old" $(CARGO_TARGET_DIR)/debug/tally

fuzz: ## fuzz every reader for FUZZ_SECONDS (60) each, FUZZ_JOBS (1) at a time (ARGS='TARGET…')
	@scripts/setup.sh build
	@scripts/fuzz.sh $(ARGS)

bench: ## measure, and print the figures
	@scripts/setup.sh build test
	@benches/run.sh

kafka: ## start a real Kafka broker on 127.0.0.1:9092 to play with
	@broker=$$(scripts/kafka.sh start) && echo "Kafka on $$broker" && echo "use it:  tally up --kafka $$broker"
	@echo 'stop it: scripts/kafka.sh stop, or scripts/kafka.sh wipe to remove its data too'

s3: ## start a real S3 server on 127.0.0.1:7070 to play with
	@scripts/s3.sh start
	@echo '# use it:  eval "$$(scripts/s3.sh start)"; tally up --store s3://tally/PREFIX'
	@echo '# stop it: scripts/s3.sh stop, or scripts/s3.sh wipe to remove its objects too'

fmt: ## format the Rust sources
	cargo fmt --all

clean: ## stop the servers of `make kafka` and `make s3` with their data, and remove the build
	@scripts/kafka.sh wipe
	@scripts/s3.sh wipe
	cargo clean
