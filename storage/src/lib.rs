//! rreg
