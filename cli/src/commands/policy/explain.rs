//! `rreg policy explain IMAGE`: every rule with its reason, from the registry's own decision or from policies here.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use rreg_oci::{Digest, Operation};
use rreg_policy::{Decision, Outcome, Point};
use serde::{Deserialize, Serialize};

use super::what_if;
use crate::commands::gate::policies::Policies;
use crate::commands::gate::report::{Report, Status, exit_of};
use crate::commands::gate::table::{self, Detail};
use crate::commands::gate::{How, Judge};
use crate::connect::Connect;
use crate::exit::{Exit, Failure};
use crate::named::{Host, ImageName};
use crate::output::Output;
use crate::text::{BAD, GOOD, HINT, NAME, paint, plain};

const CODES: &str =
    "Without --policy and --what-if, what the registry has decided is shown; it must be rreg then.

Exit codes: 0 allowed (or: the question is answered), 1 denied, 2 could not find out, 64 wrong usage";

#[derive(Args, Debug)]
#[command(after_help = CODES)]
pub(crate) struct Explain {
    /// host[:port]/repository[:tag][@digest]; with --what-if a registry, or host[:port]/PATTERN of repositories
    #[arg(value_name = "IMAGE", required = true)]
    targets: Vec<String>,
    /// Ask these policies here, not the registry's decision
    #[arg(long = "policy", value_name = "FILE|DIR")]
    policies: Vec<PathBuf>,
    /// Ask the registry which of its images would have another outcome if this were a policy of it
    #[arg(long, value_name = "FILE", conflicts_with = "policies")]
    what_if: Option<PathBuf>,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    connect: Connect,
}

/// What a registry has decided about an image.
#[derive(Deserialize, Serialize)]
struct Stored {
    repository: String,
    digest: Digest,
    /// Digest of the policies.
    revision: String,
    decisions: Points,
}

/// By point. Pushes are over when an image is there.
#[derive(Deserialize, Serialize)]
struct Points {
    promote: Option<Decision>,
    pull: Option<Decision>,
    admit: Option<Decision>,
    run: Option<Decision>,
}

impl Points {
    fn at(&self, point: Point) -> Option<&Decision> {
        match point {
            Point::Push => None,
            Point::Promote => self.promote.as_ref(),
            Point::Pull => self.pull.as_ref(),
            Point::Admit => self.admit.as_ref(),
            Point::Run => self.run.as_ref(),
        }
    }
}

impl Explain {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        if let Some(file) = &self.what_if {
            return what_if::run(output, file, &self.targets, self.how.at.point(), &self.connect).await;
        }
        let images = self
            .targets
            .iter()
            .map(|text| text.parse::<ImageName>().map_err(|e| Failure::new(Exit::Usage, e)));
        let images = images.collect::<Result<Vec<_>, _>>()?;
        if self.policies.is_empty() {
            self.stored(output, &images).await
        } else {
            self.here(output, &images).await
        }
    }

    async fn here(&self, output: &Output, images: &[ImageName]) -> Result<Exit, Failure> {
        let policies = Policies::load(&self.policies)?;
        let judge = Judge::new(&policies, &self.connect, self.how);
        let images = judge.all(images).await?;
        let report = Report { at: self.how.at.point(), images, files: policies.files.clone() };
        output.result(&report.images, || table::write(&report, Detail::All))?;
        Ok(report.exit())
    }

    async fn stored(&self, output: &Output, images: &[ImageName]) -> Result<Exit, Failure> {
        let mut all = Vec::new();
        for image in images {
            all.push((image, self.ask(image).await?));
        }
        let point = self.how.at.point();
        let value: Vec<&Stored> = all.iter().map(|(_, stored)| stored).collect();
        output.result(&value, || all.iter().map(|(image, stored)| human(image, stored, point)).collect())?;
        let decided: Vec<Status> =
            all.iter().filter_map(|(_, stored)| stored.decisions.at(point)).map(Status::of).collect();
        if decided.len() < all.len() {
            let why = format!("the registry has decided nothing at {}", point.word());
            return Err(Failure::new(Exit::Unreachable, why));
        }
        Ok(exit_of(decided.into_iter()))
    }

    async fn ask(&self, image: &ImageName) -> Result<Stored, Failure> {
        let client = self.connect.client(&image.host)?;
        let operation =
            Operation::DecisionGet { repository: image.repository.clone(), reference: image.reference() };
        let answer = client.own(operation, None).await.map_err(|error| {
            let hint = "only rreg keeps decisions; name policies with --policy to ask them here";
            unreachable_hint(error, hint)
        })?;
        read(&answer, &image.host)
    }
}

/// A failed question is "could not find out", whatever the registry's reason.
fn unreachable_hint(error: rreg_runtime::client::ClientError, hint: &str) -> Failure {
    let not_found = error.is_not_found();
    let mut failure = Failure::from(error);
    failure.exit = Exit::Unreachable;
    if not_found { failure.hint(hint) } else { failure }
}

fn read(answer: &Bytes, host: &Host) -> Result<Stored, Failure> {
    serde_json::from_slice(answer).map_err(|e| {
        let why = format!("{host} did not answer with a decision that this version understands: {e}");
        Failure::new(Exit::Unreachable, why)
    })
}

fn human(image: &ImageName, stored: &Stored, point: Point) -> String {
    let Some(decision) = stored.decisions.at(point) else {
        return format!("{image}: nothing is decided at {}\n", point.word());
    };
    let (style, word) = match decision.outcome {
        Outcome::Allow => (GOOD, "allowed"),
        Outcome::Warn => (HINT, "warned"),
        Outcome::Deny => (BAD, "denied"),
    };
    let head = paint(style, format_args!("{word:<9}"));
    let mut text = format!("{head} {} at {}\n", plain(&image.to_string()), point.word());
    let decided = decision.decided_at.format("%Y-%m-%dT%H:%M:%SZ");
    let until =
        decision.holds_until.map(|time| format!(", holds until {}", time.format("%Y-%m-%dT%H:%M:%SZ")));
    let until = until.unwrap_or_default();
    text.push_str(&format!("  {} decided {decided}{until}\n", paint(NAME, stored.digest)));
    text + &table::decision(decision, Detail::All)
}
