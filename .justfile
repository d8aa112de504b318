# Recipes for `just`; each is one command that can be typed as well.

# List them.
default:
    @just --list

# A registry with nothing but defaults, on loopback.
serve *args:
    cargo run --release -- serve --listen 127.0.0.1:5000 --data data {{ args }}

# Quick check of everything that compiles.
check:
    cargo clippy --workspace --all-targets -- -D warnings

# All tests, with what they need installed first.
test *args:
    tests/run {{ args }}

# Unit tests of one crate.
unit crate:
    cargo test -p {{ crate }}

# The black-box suite against a registry that is already running, for example 127.0.0.1:5000.
compare address *args:
    RREG_TEST_REGISTRY={{ address }} cargo test -p rreg --test it -- {{ args }}

# The official conformance program on both backends.
conformance program:
    RREG_CONFORMANCE={{ program }} cargo test -p rreg --test it -- conformance::program --nocapture

fmt:
    cargo fmt --all

# Licences, duplicate versions, sources.
deny:
    cargo deny --config .deny.toml check bans licenses sources

doc:
    cargo doc --workspace --no-deps --open

# What a change must pass.
ci:
    .ci/run
