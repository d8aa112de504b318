//! `[sbom]`: lists of the packages in pushed images.

use std::fmt;
use std::str::FromStr;

use rreg_oci::Glob;

use super::error::Findings;
use super::section::section;
use super::units::{ByteSize, HumanDuration};

/// Which documents are attached to images that are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachSbom {
    /// None.
    Off,
    /// CycloneDX 1.6.
    Cyclonedx,
    /// SPDX 2.3.
    Spdx,
    /// One of each.
    Both,
}

impl FromStr for AttachSbom {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "cyclonedx" => Ok(Self::Cyclonedx),
            "spdx" => Ok(Self::Spdx),
            "both" => Ok(Self::Both),
            _ => Err("is no document format"),
        }
    }
}

impl fmt::Display for AttachSbom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Cyclonedx => "cyclonedx",
            Self::Spdx => "spdx",
            Self::Both => "both",
        })
    }
}

section! {
    /// Lists of the packages in pushed images.
    pub struct Sbom {
        /// Which documents are attached to each image that is pushed from then on, as referrers, in the background.
        /// Copies of upstreams get none.
        attach: AttachSbom = AttachSbom::Off,
        /// In which repositories.
        repositories: Vec<Glob> = vec![Glob::all()],
        /// Images read at once by this replica. 1 to 16; each takes up to some hundred megabytes for hostile images,
        /// some ten for others.
        workers: u32 = 1,
        /// Largest image that is read: its layers together, compressed.
        max_image_size: ByteSize = ByteSize(16 << 30),
        /// Longest time for one image. 1s to 24h.
        timeout: HumanDuration = HumanDuration::seconds(1800),
    }
}

impl Sbom {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        let (low, high) = (HumanDuration::seconds(1), HumanDuration::seconds(86_400));
        findings.within("sbom.timeout", self.timeout, low, high);
        if !(1..=16).contains(&self.workers) {
            findings.reject("sbom.workers", "is out of range", Some("1 to 16"));
        }
    }
}
