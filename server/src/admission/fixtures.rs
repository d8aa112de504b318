//! Decisions for tests.

use chrono::Utc;
use rreg_oci::Digest;
use rreg_policy::{Facts, ImageFacts, Policy, TrustError, TrustReference, TrustRoot, TrustSource};

use super::active::{Asked, Good};
use super::decide::Decisions;

struct Nothing;

impl TrustSource for Nothing {
    fn load(&self, _: &TrustReference) -> Result<TrustRoot, TrustError> {
        Err(TrustError::new("trust", "there is none"))
    }
}

/// What these policies decide of an image of which nothing is known but its digest.
pub(super) fn decided(policies: &str) -> Decisions {
    let asked = Asked::new(Policy::parse(policies, &Nothing).unwrap(), Vec::new());
    let image = ImageFacts { unknown: false, ..ImageFacts::bare("team/app", Digest::sha256(b"an image")) };
    Decisions::make(&asked, "revision", &mut Facts::bare(image, None), Utc::now(), &Good::new())
}
