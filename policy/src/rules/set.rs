//! Policies that are asked together.

use std::collections::BTreeSet;

use rreg_oci::Digest;

use super::Policy;
use crate::decision::Point;
use crate::facts::ImageFacts;
use crate::trust::TrustRoot;

/// Policies that are asked together.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    policies: Vec<Policy>,
}

impl PolicySet {
    /// A set. Its order is that of the names, so that decisions do not depend on the order of files.
    pub fn new(mut policies: Vec<Policy>) -> Self {
        policies.sort_by(|a, b| (&a.name, &a.revision).cmp(&(&b.name, &b.revision)));
        Self { policies }
    }

    /// The policies in order.
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// The policies that are asked about an image at a point.
    pub fn applies<'a>(&'a self, image: &'a ImageFacts, at: Point) -> impl Iterator<Item = &'a Policy> {
        self.policies.iter().filter(move |policy| policy.applies(image, at))
    }

    /// Whether what was attached to the images of an index decides about it.
    pub fn asks_of_images(&self) -> bool {
        self.policies.iter().any(Policy::asks_of_images)
    }

    /// The trust roots of all of them, each once.
    pub fn trust_roots(&self) -> Vec<TrustRoot> {
        let mut seen = BTreeSet::new();
        let roots = self.policies.iter().flat_map(Policy::trust_roots);
        roots.filter(|root| seen.insert(root.id().to_string())).cloned().collect()
    }

    /// Names the set: the same revision decides the same.
    pub fn revision(&self) -> Digest {
        let revisions: Vec<String> = self.policies.iter().map(|policy| policy.revision.to_string()).collect();
        Digest::sha256(revisions.join("\n").as_bytes())
    }

    /// Whether an answer may differ between a request by tag and one by digest of the same content.
    pub fn depends_on_request(&self) -> bool {
        self.policies.iter().any(Policy::depends_on_request)
    }
}
