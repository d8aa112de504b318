//! Black-box tests: everything here talks to a running `rreg` over HTTP or through a real client, and knows
//! nothing of its insides.
//!
//! `tests/run` installs the programs that the tests call and runs them all. Environment:
//! `RREG_TEST_REQUIRE=1` (or `CI=true`) makes a missing program a failure instead of a printed skip;
//! `RREG_CONFORMANCE=PATH` names the official conformance program; `RREG_KUBERNETES=DIR` a directory with
//! `kube-apiserver`, `kube-controller-manager`, `kubectl` and `etcd`; `RREG_TEST_REGISTRY=HOST:PORT` runs the
//! suite against a registry that is already running, for comparison with others.
//!
//! How to add a test: write an `async fn name(registry: Registry)` in the room it belongs to and name it in
//! that file's `on_each_backend!` list; it then runs on SQLite with a directory and on PostgreSQL with S3.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what is wrong by panicking"
)]

#[macro_use]
mod harness;

mod admission;
mod auth;
mod beside;
mod clients;
mod conformance;
mod deploy;
mod durability;
mod gate;
mod malformed;
mod mirror;
mod plans;
mod policy;
mod readme;
mod reclaim;
mod reload;
mod sbom;
mod story;
mod tags;
mod trust;
