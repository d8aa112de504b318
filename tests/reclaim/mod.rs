//! What nothing refers to goes, with its bytes; what something refers to stays.
//!
//! * [`operator`]: a running server and the operator's commands `rreg gc` and `rreg fsck`.
//! * [`model`]: seeded random steps on the storage crate, one at a time, compared with a model after each sweep:
//!   what is there must be exactly what the model holds. `RREG_TEST_ROUNDS` steps from `RREG_TEST_SEED`.
//! * [`race`]: clients that push and delete the same content while workers of two replicas reclaim it.

mod model;
mod operator;
mod race;
mod store;
