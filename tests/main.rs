//! Black-box tests.

mod durability;
mod malformed;
