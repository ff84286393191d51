# Two commands do it all: `make lab` shows the main job, `make test` passes the tests.
# Both install what they need where they may, and name what is missing where they may not.

CARGO ?= cargo

.PHONY: lab scenarios test fmt clippy docs deny unit explore tools

lab: nft
	$(CARGO) run --release -- lab

# Every fault in namespaces and in real time, some 20 minutes: a leader that relays badly is moved,
# and nothing else moves one.
SCENARIOS = new-flows vxlan-wedge partial:25 partial:5 forward-off one-way mtu:1200 node-dead \
  member-dead agent-dead agent-restart wan-cut:onprem,cloud api-down cpu-starved probes-dropped

scenarios: nft
	$(CARGO) build --release
	@failed=; for fault in $(SCENARIOS); do \
	  echo "== $$fault"; \
	  ./target/release/tanist lab --without-tanist 0s --fault $$fault || failed="$$failed $$fault"; \
	done; \
	echo "== vxlan-wedge in a mesh of two by two"; \
	./target/release/tanist lab --without-tanist 0s --locations 2 --nodes 2 --fault vxlan-wedge \
	  || failed="$$failed two-by-two"; \
	[ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

test: nft fmt clippy docs deny unit

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
