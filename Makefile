# Two commands do it all: `make lab` shows the main job, `make test` passes the tests.
# Both install what they need where they may, and name what is missing where they may not.

CARGO ?= cargo

.PHONY: lab test fmt clippy docs deny unit tools

lab: nft
	$(CARGO) run --release -- lab

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

unit:
	$(CARGO) test

tools:
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked --version 0.20.2 cargo-deny

.PHONY: nft
nft:
	@command -v nft >/dev/null || [ -x /usr/sbin/nft ] \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	       && apt-get update -qq && apt-get install -y -qq nftables; } \
	  || { echo "nft is missing: install the package nftables" >&2; exit 1; }
