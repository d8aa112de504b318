//! Is this content fit to serve or to run?
//!
//! Facts about a digest come in ([`Facts`]), a [`Decision`] with its reasons goes out. Nothing here touches a network,
//! a disk or a clock: callers pass bytes, trust material and the time.
//!
//! The way through: [`gather`] finds [`Evidence`] through [`Content`]; [`verify`] judges a piece of it under a
//! [`TrustRoot`] and answers a [`Verification`]; both become [`Facts`]; a [`Policy`] asks its rules about them. How
//! something is signed is known only in [`sigstore`] and [`notation`], what a policy may say only in [`rules`].

// The private Sigstore of the tests is compiled into the black-box tests too, and names this crate from outside.
#[cfg(test)]
extern crate self as rreg_policy;

pub mod cases;
pub mod certificates;
mod content;
mod contents;
mod context;
mod decision;
mod disguise;
mod evaluate;
mod evidence;
mod facts;
mod gather;
pub mod key;
mod limits;
pub mod notation;
pub mod quality;
pub mod rules;
pub mod sign;
mod signer;
pub mod sigstore;
mod statement;
mod trust;
mod verdict;
mod verify;

pub use content::{Content, ManifestContent, ReadError};
pub use contents::{SbomsRead, sbom_facts};
pub use context::VerifyContext;
pub use decision::{Decision, Mode, Outcome, Outturn, Point, PolicyResult, Reason, without_digests};
pub use disguise::{evidence_size, is_evidence};
pub use evaluate::{EvaluateContext, evaluate};
pub use evidence::{Evidence, EvidenceKind, Found, is_evidence_type};
pub use facts::{
    ChildFacts, ConfigFacts, EvidenceFact, Fact, Facts, FindingFact, ImageFacts, OfImages, SbomFacts,
    UnreadSbom,
};
pub use gather::{
    Attached, Attachment, Gathered, attached, attestation_of, embeds, evidence_kind, evidence_of, form_of,
    gather, gather_images, image_facts,
};
pub use limits::Limits;
pub use rules::{
    OnError, Place, Policy, PolicyError, PolicyErrors, PolicySet, TrustReference, TrustSource, policy_schema,
    predicate_type,
};
pub use signer::Signer;
pub use statement::{COSIGN_SIGN, PAYLOAD_TYPE, Statement, StatementError};
pub use trust::{PUBLIC_GOOD, TrustError, TrustRoot};
pub use verdict::{Check, Checks, Verdict, Verification};
pub use verify::{evidence_facts, verify};
