//! Black-box tests.

mod durability;
