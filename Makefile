# Each target is a command that you could type. They share one build of everything, so that none recompiles what
# another has compiled; the first one compiles the EC2 SDK, which takes minutes and 8 GB of memory.

BUILD := cargo build --workspace --all-targets
TEST_PYTHON := python3 crates/ec2-sim/tests/python/run.py

.PHONY: demo demo-down test test-python check image crds bench

demo: ## A real Kubernetes, a simulated EC2, and pods that read filled volumes of a pool
	$(BUILD)
	target/debug/demo up

demo-down: ## Take the demo down and leave nothing behind
	$(BUILD) --quiet
	target/debug/demo down

test: ## Everything: unit tests, contracts, house rules, and a real cluster when root
	$(BUILD)
	target/debug/demo prepare
	cargo test --workspace
	$(TEST_PYTHON)

test-python: ## The simulator under boto3 and the AWS CLI, which come from PyPI the first time
	cargo build --quiet --package ec2-sim
	$(TEST_PYTHON)

check: ## Format, lints and unit tests: seconds when warm
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	cargo test --workspace --lib --bins
	cargo test --test tidy

image: ## The image of controller and agent, loaded in the nodes when the demo is up
	$(BUILD)
	target/debug/demo image

crds: ## The custom resource definitions, from src/api
	$(BUILD) --quiet
	target/debug/volume-dispatcher crds --write crds
	target/debug/volume-dispatcher crds --write charts/volume-dispatcher/files/crds

bench: ## All benchmarks, or one: make bench ONLY=name
	$(BUILD) --quiet
	cargo test --quiet --bench bench -- $(ONLY)
