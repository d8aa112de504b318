//! `rreg gate IMAGE… --policy FILE|DIR`: asks policies about images of any registry. Nothing is asked of the registry but
//! what every registry answers, and nothing that it says about signatures is believed.

mod judge;
mod junit;
pub(super) mod policies;
pub(super) mod report;
mod sarif;
pub(super) mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

pub(super) use judge::Judge;

use crate::connect::Connect;
use crate::exit::{Exit, Failure};
use crate::named::ImageName;
use crate::output::{Output, warning};
use crate::revocation::Check;
use policies::Policies;
use report::Report;
use table::Detail;

const CODES: &str = "Exit codes:
   0  all images are allowed; warnings are shown
   1  an image is denied
   2  an image could not be checked, or a policy could not be read
  64  wrong usage";

#[derive(Args, Debug)]
#[command(after_help = CODES)]
pub(crate) struct Gate {
    /// host[:port]/repository[:tag][@digest]
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<ImageName>,
    /// A policy, or a directory of policies (*.yaml, *.yml). Keys, roots and stores in a policy are relative to its
    /// file. May be given several times
    #[arg(long = "policy", value_name = "FILE|DIR", required = true)]
    policies: Vec<PathBuf>,
    #[command(flatten)]
    how: How,
    /// What to write
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Write it to this file; a table goes to standard output then, unless --quiet
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Let images pass that no policy is about
    #[arg(long)]
    allow_unmatched: bool,
    /// Show rules that hold, too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    connect: Connect,
}

/// How images are judged here.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct How {
    /// The point at which policies are asked
    #[arg(long, value_enum, default_value = "run")]
    pub(crate) at: At,
    /// Give an image up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: u64,
    /// Whether the authorities of Notation signatures are asked about revoked certificates. Nothing else asks a network
    #[arg(long, value_enum, default_value = "strict")]
    pub(crate) revocation: Check,
}

/// Where a policy is asked, for an image that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum At {
    /// A tag is made or moved
    Promote,
    /// The image is pulled
    Pull,
    /// A cluster wants to run it
    Admit,
    /// A node wants to run it
    Run,
}

impl At {
    pub(crate) fn point(self) -> rreg_policy::Point {
        match self {
            Self::Promote => rreg_policy::Point::Promote,
            Self::Pull => rreg_policy::Point::Pull,
            Self::Admit => rreg_policy::Point::Admit,
            Self::Run => rreg_policy::Point::Run,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people; with --output json, the same as json
    Table,
    /// An array of {image, digest, platforms, status, decision, error}
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit XML: a suite for each image, a case for each rule
    Junit,
}

impl Gate {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let policies = Policies::load(&self.policies)?;
        for warning in &policies.warnings {
            output.note(warning);
        }
        let judge = Judge::new(&policies, &self.connect, self.how).allowing_unmatched(self.allow_unmatched);
        let images = judge.all(&self.images).await?;
        for judged in &images {
            let warned = judged.result.iter().flat_map(|found| found.decision.warnings());
            warned.for_each(|text| warning(&format!("{}: {text}", judged.image)));
        }
        let report = Report { at: self.how.at.point(), images, files: policies.files.clone() };
        self.write(output, &report)?;
        Ok(report.exit())
    }

    fn write(&self, output: &Output, report: &Report) -> Result<Exit, Failure> {
        let detail = if self.all { Detail::All } else { Detail::Problems };
        let table = || table::write(report, detail);
        let text = match self.format {
            Format::Table => None,
            Format::Json => Some(json(&report.images)?),
            Format::Sarif => Some(json(&sarif::write(report))?),
            Format::Junit => Some(junit::write(report)),
        };
        match (&self.report, text) {
            (None, None) => output.result(&report.images, table),
            (None, Some(text)) => output.raw(text.as_bytes()),
            (Some(path), text) => {
                let text = text.unwrap_or_else(|| anstream::adapter::strip_str(&table()).to_string());
                save(path, &text)?;
                output.done(&report.images, table)
            }
        }
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    let text =
        text.map_err(|e| Failure::new(Exit::Internal, format!("cannot write the report as JSON: {e}")))?;
    Ok(text + "\n")
}

fn save(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|e| {
        let why = format!("cannot write the report to {}: {e}", path.display());
        Failure::new(Exit::Unreachable, why).hint("is --report a path in a directory that exists?")
    })
}
