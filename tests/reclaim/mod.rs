//! What nothing refers to goes, with its bytes; what something refers to stays.
//!
//! * [`operator`]: a running server and the operator's commands `rreg gc` and `rreg fsck`.
//! * [`model`]: seeded random steps on the storage crate, one at a time, compared with a model after each sweep:
//!   what is there must be exactly what the model holds. `RREG_TEST_ROUNDS` steps from `RREG_TEST_SEED`.
//! * [`rebuild`]: the database is lost and restored from the store.
//! * [`promise`]: what was asked for with HEAD stays for a while.
//! * [`race`]: clients that push and delete the same content while workers of two replicas reclaim it.

mod model;
mod operator;
mod promise;
mod race;
mod rebuild;
mod store;
