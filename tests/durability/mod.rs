//! Nothing acknowledged is lost, nothing unverified is seen, nothing damaged is served.
//!
//! * [`kill`]: a real `rreg serve` is killed at random moments under seeded random clients and started again.
//! * [`faults`]: the storage crate under the same clients, with an object store that fails, delays and truncates.
//! * [`reclaim`]: the same with one replica or two that reclaim without patience over a store that fails; at the end
//!   nothing is left that nothing refers to, and the database is lost and rebuilt.
//! * [`damage`]: stored bytes are truncated, flipped and removed behind the server's back.
//! * [`trouble`]: `rreg serve` over a bucket behind a proxy that loses, breaks, delays and invents answers.
//! * [`stray`]: the same with one wrong answer at a time.
//! * [`lies`]: the same with answers that say what is not so.
//! * [`storm`]: the random clients over such a bucket, with trouble of every kind from a seed.
//! * [`recovery`]: the database is lost or comes from a backup, and the store is in trouble while it is restored.
//! * [`foreign`]: the same over stores that were written by others, where they are installed.
//! * [`ranges`]: parts of blobs that nobody has read whole.
//! * [`copies`]: two copies of one database on one store, and markers that were written over.
//! * [`untaken`]: clients that take nothing of what they asked for.
//! * [`full`]: a disk without room.
//! * [`disconnect`]: clients that leave in the middle, and a server that is asked to stop.
//!
//! `RREG_TEST_ROUNDS` is the number of rounds of the random tests, `RREG_TEST_SEED` where they begin. A failure
//! names its seed. [`faults`] runs on PostgreSQL too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what is wrong by panicking"
)]

mod chunks;
mod client;
mod copies;
mod damage;
mod direct;
mod disconnect;
pub(crate) mod faults;
mod foreign;
mod full;
mod kill;
mod lies;
mod manifests;
mod model;
pub(crate) mod random;
mod ranges;
mod reclaim;
mod recovery;
pub(crate) mod server;
mod store;
mod storm;
mod stray;
mod target;
mod trouble;
mod untaken;
mod verify;
