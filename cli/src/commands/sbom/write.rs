//! Results: as a table, as a document, as JSON.

use rreg_sbom::Sbom;
use rreg_sbom::read::DocumentFormat;
use serde::Serialize;

use super::attached::{Hanging, Search};
use super::{Format, table};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::text::{HINT, paint, plain};

impl Format {
    /// The forms of attached documents that can be shown so. None is turned into another.
    pub(super) fn documents(self) -> &'static [DocumentFormat] {
        const ALL: [DocumentFormat; 4] = [
            DocumentFormat::CycloneDx,
            DocumentFormat::Spdx,
            DocumentFormat::SpdxTagValue,
            DocumentFormat::Syft,
        ];
        match self {
            Self::Table | Self::Json => &ALL,
            Self::Cyclonedx => &[DocumentFormat::CycloneDx],
            Self::Spdx => &[DocumentFormat::Spdx],
        }
    }
}

/// What was found in the layers.
pub(super) fn scanned(output: &Output, format: Format, sbom: &Sbom) -> Result<Exit, Failure> {
    let failed = |e: rreg_sbom::OutputError| Failure::new(Exit::Internal, e.to_string());
    match format {
        Format::Table => output.result(sbom, || table::packages(sbom)),
        Format::Json => json(output, sbom),
        Format::Cyclonedx => json(output, &rreg_sbom::cyclonedx(sbom).map_err(failed)?),
        Format::Spdx => json(output, &rreg_sbom::spdx(sbom).map_err(failed)?),
    }
}

/// What an attached document says.
#[derive(Serialize)]
pub(super) struct AttachedResult<'a> {
    pub(super) image: &'a str,
    pub(super) digest: String,
    pub(super) attached: &'a Hanging,
    /// Never anything else: nothing here checks signatures.
    pub(super) signature: &'static str,
    pub(super) findings: &'a [rreg_sbom::Finding],
}

pub(super) fn attached(output: &Output, format: Format, result: &AttachedResult) -> Result<Exit, Failure> {
    match format {
        Format::Table => output.result(result, || table::attached(result)),
        Format::Json => json(output, result),
        // Its maker's bytes, untouched.
        Format::Cyclonedx | Format::Spdx => output.raw(&result.attached.attached.bytes),
    }
}

/// Why documents that hang on the image were passed over.
pub(super) fn passed_over(search: &Search) {
    let mut to = anstream::stderr().lock();
    for finding in &search.findings {
        use std::io::Write as _;
        let path = finding.path.as_deref().unwrap_or("attached");
        let kind = paint(HINT, finding.kind.name());
        // What cannot be written to standard error cannot be told.
        let _ = writeln!(to, "{kind}  {}: {}", plain(path), plain(&finding.message));
    }
}

fn json(output: &Output, value: &impl Serialize) -> Result<Exit, Failure> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|e| Failure::new(Exit::Internal, format!("cannot write JSON: {e}")))?;
    output.raw((text + "\n").as_bytes())
}
