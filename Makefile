# Two commands do it all: `make lab` shows the main job, `make test` passes the tests.
# Both install what they need where they may, and name what is missing where they may not.

CARGO ?= cargo

# More arguments for the lab's scenarios, for example `--kube-apiserver PATH --etcd PATH`.
LAB_ARGS ?=

# Which kills the story tries: some of each, `every` one, or those with a word in their name.
KILLS ?=

.PHONY: lab scenarios servers conformance test fmt clippy docs deny unit alerts explore tools \
  packages packers manifests e2e story

lab: nft
	$(CARGO) run --release -- lab

# Every fault in namespaces and in real time, some 25 minutes, two at a time: a leader that relays
# badly is moved, and nothing else moves one; an arbiter that dies in the middle of a move leaves
# one that the next can end. One table at the end; `NAME=api` runs those with that in their name.
scenarios: nft
	$(CARGO) build --release
	./target/release/tanist lab --scenarios=$(NAME) $(LAB_ARGS)

# The real API server and etcd, from their Go modules, into out/servers (or $$SERVERS).
servers:
	tools/servers

# What the embedded API server is held to, asked of the real one.
conformance:
	$(CARGO) test --test apiserver --no-run
	tools/with-servers $(CARGO) test --test apiserver

# One story on a real API server, from installation to removal, with whoever has a part in it killed
# around a write of each kind; `make story KILLS=every` tries each kill, some 25 minutes.
story: nft servers packers
	$(CARGO) test --test story -- $(KILLS)

# All of it that is shown on the real servers: the packages, what the embedded API server is held to,
# the story, and the main job, under the shipped accounts and rights. The tests have built the program.
e2e: nft packages conformance story
	servers=$$(tools/servers) && ./target/debug/tanist lab --without-tanist 0s \
	  --kube-apiserver "$$servers/kube-apiserver" --etcd "$$servers/etcd"

test: nft fmt clippy docs deny unit alerts

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items

# Licences, bans and sources only: the advisory database needs a clone from the internet.
deny: tools
	$(CARGO) deny check bans licenses sources

# The properties draw from one seed here, so that a commit passes or fails for itself;
# `make explore` draws anew each time.
unit:
	PROPTEST_RNG_SEED=489 $(CARGO) test

# The packages on a real API server: all that is rendered is accepted, every forbidden write is
# refused, the documents' commands work.
packages: servers packers
	$(CARGO) test --test packages

# What the packages are rendered with.
packers:
	@command -v go >/dev/null || { echo "go is missing: install Go 1.26 or later" >&2; exit 1; }
	[ -x out/tools/helm ] || GOBIN=$(CURDIR)/out/tools go install helm.sh/helm/v3/cmd/helm@v3.22.0
	[ -x out/tools/kustomize ] || GOBIN=$(CURDIR)/out/tools \
	  go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.2

# What is written down of the types, and what the chart has a copy of.
manifests:
	mkdir -p out
	{ echo '# Printed by `tanist crds`; `make manifests` renews it.'; \
	  $(CARGO) run --quiet -- crds; } > out/crds.yaml
	mv out/crds.yaml deploy/shared/crds.yaml
	cp deploy/shared/crds.yaml deploy/shared/roles.yaml deploy/shared/policy.yaml \
	  deploy/base/accounts.yaml deploy/base/rbac.yaml charts/tanist/files/

# Alert rules, unit tests that make each fire and not fire, and what a process shows: by promtool.
alerts: promtool
	promtool check rules charts/tanist/files/alerts.yaml
	promtool test rules tests/alerts/alerts.yaml
	$(CARGO) run --quiet -- metrics --exposition > target/exposition
	promtool check metrics < target/exposition

explore:
	for n in 1 2 3 4 5 6 7 8 9 10; do $(CARGO) test --lib || exit 1; done

tools:
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked --version 0.20.2 cargo-deny

.PHONY: nft
nft:
	@command -v nft >/dev/null || [ -x /usr/sbin/nft ] \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	       && apt-get update -qq && apt-get install -y -qq nftables; } \
	  || { echo "nft is missing: install the package nftables" >&2; exit 1; }

.PHONY: promtool
promtool:
	@command -v promtool >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	       && apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus; } \
	  || { echo "promtool is missing: install the package prometheus" >&2; exit 1; }
