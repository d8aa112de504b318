//! Is this content fit to serve or to run?
//!
//! Signatures, attestations, rules and decisions belong here. None of it exists yet: today the registry serves what
//! was pushed, and `rreg` has no command that judges content.
