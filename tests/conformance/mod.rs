//! The distribution specification as black-box checks: each check of the official conformance program in our
//! own structure, and what the program leaves out. With `RREG_CONFORMANCE` the program itself runs too.

mod basics;
mod blobs;
mod deletes;
mod lifecycle;
mod malformed;
mod manifests;
mod mounts;
mod program;
mod referrers;
mod refused_manifests;
mod tags;
mod uploads;
