//! Crates of a binary, as cargo-auditable embeds them: JSON in zlib (cargo-auditable, PARSING.md).

use std::io::Read as _;

use flate2::read::ZlibDecoder;
use serde::Deserialize;

use super::Content;
use crate::finding::{Complaint, FindingKind};
use crate::limits::Limits;
use crate::package::{Ecosystem, Package};

/// Longest list, in bytes of JSON.
const MAX_JSON: u64 = 8 << 20;

#[derive(Deserialize)]
struct Audit {
    packages: Vec<AuditPackage>,
}

#[derive(Deserialize)]
struct AuditPackage {
    name: String,
    version: String,
    #[serde(default)]
    kind: Option<String>,
}

/// The `.dep-v0` section's content.
pub(crate) fn dep_v0(section: &[u8], limits: &Limits, content: &mut Content) {
    let mut json = Vec::new();
    let read = ZlibDecoder::new(section).take(MAX_JSON + 1).read_to_end(&mut json);
    let complaint = match read {
        Err(e) => Complaint::malformed(format!("the .dep-v0 section is no zlib stream: {e}")),
        Ok(_) if json.len() as u64 > MAX_JSON => {
            let why = format!("the .dep-v0 section decompresses to more than {MAX_JSON} bytes");
            Complaint::new(FindingKind::ArchiveTooLarge, why)
        }
        Ok(_) => match serde_json::from_slice::<Audit>(&json) {
            Err(e) => Complaint::malformed(format!("the .dep-v0 section is no list of crates: {e}")),
            Ok(audit) => {
                // Build scripts' and macros' crates are not in the binary.
                let linked = audit.packages.into_iter().filter(|p| p.kind.as_deref() != Some("build"));
                for (at, package) in linked.enumerate() {
                    if at == limits.packages_per_file {
                        let why = format!("more than {at} crates");
                        content.complaints.push(Complaint::new(FindingKind::TooMany, why));
                        break;
                    }
                    content.add(Package::new(Ecosystem::Cargo, package.name, Some(package.version)));
                }
                return;
            }
        },
    };
    content.complaints.push(complaint);
}
