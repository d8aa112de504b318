//! `rreg verify IMAGE`: every piece of evidence with its verdict, and whether one is a valid signature by whom was asked
//! for.

use clap::Args;
use rreg_oci::Digest;
use rreg_policy::{EvidenceKind, Found, Gathered, Limits, Verdict, Verification, gather};
use rreg_runtime::transfer::{Origin, Platform};
use serde::Serialize;

use super::asked::{Asked, Judged, Trust, style, words};
use super::attest::predicate_type;
use crate::connect::Connect;
use crate::content::{RemoteContent, manifest_content};
use crate::exit::{Exit, Failure};
use crate::named::ImageName;
use crate::output::Output;
use crate::text::{BAD, GOOD, HINT, NAME, fields, paint, plain};

#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 there is a valid signature by whom was asked for, 1 there is none, 2 it could not be found out"
)]
pub(crate) struct Verify {
    /// host[:port]/repository[:tag][@digest]
    #[arg(value_name = "IMAGE")]
    image: ImageName,
    /// Ask for an attestation of this type instead of a signature (names as for rreg attest, or a URI)
    #[arg(long = "type", value_name = "TYPE", value_parser = predicate_type)]
    kind: Option<String>,
    /// Ask about one image of an index, os/architecture[/variant]; what is about the index covers it
    #[arg(long)]
    platform: Option<Platform>,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified<'a> {
    image: String,
    digest: Digest,
    /// The index that it was chosen from, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<Digest>,
    /// Whom was asked for.
    asked: &'a str,
    /// A signature, or the type of an attestation.
    wanted: &'a str,
    verified: bool,
    evidence: Vec<Piece>,
    incomplete: &'a [String],
    passed_over: &'a [String],
}

/// One piece of evidence.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Piece {
    id: Digest,
    manifest: Digest,
    subject: Digest,
    kind: EvidenceKind,
    found: Vec<Found>,
    signature: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicate_type: Option<String>,
    /// Valid, and by whom was asked for.
    accepted: bool,
    /// Nothing where nobody signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<Verification>,
}

impl From<Judged> for Piece {
    fn from(judged: Judged) -> Self {
        let Judged { fact, verification, accepted } = judged;
        Self {
            signature: fact.is_signature(),
            predicate_type: fact.statement.map(|statement| statement.predicate_type.clone()),
            id: fact.id,
            manifest: fact.manifest,
            subject: fact.subject,
            kind: fact.kind,
            found: fact.found,
            accepted,
            verification,
        }
    }
}

impl Piece {
    /// What it is, in words.
    pub(super) fn name(&self) -> String {
        let form = match self.kind {
            EvidenceKind::Bundle => "Sigstore bundle",
            EvidenceKind::CosignSignature | EvidenceKind::CosignAttestation => "cosign 2",
            EvidenceKind::Notation => "Notation",
            EvidenceKind::Statement => "statement",
            EvidenceKind::Sbom => return "SBOM".to_owned(),
        };
        match &self.predicate_type {
            _ if self.signature => format!("signature ({form})"),
            Some(kind) => format!("attestation {} ({form})", plain(kind)),
            None => format!("attestation ({form})"),
        }
    }

    /// The verdict, coloured, and why.
    pub(super) fn verdict(&self) -> String {
        let (verdict, why) = words(self.verification.as_ref(), self.accepted);
        format!("{} {}", paint(style(verdict), verdict), plain(&why))
    }

    /// Whether anybody signed it, whoever that is.
    pub(super) fn is_signed(&self) -> bool {
        !matches!(self.kind, EvidenceKind::Statement | EvidenceKind::Sbom)
    }

    fn is_wanted(&self, kind: Option<&str>) -> bool {
        match kind {
            None => self.signature,
            Some(kind) => self.predicate_type.as_deref() == Some(kind),
        }
    }

    fn could_not_be_checked(&self) -> bool {
        self.verification.as_ref().is_some_and(|found| found.verdict == Verdict::Error)
    }
}

impl Verify {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let trust = self.asked.required(&self.image)?;
        let (content, root) = RemoteContent::open(&self.connect, &self.image).await?;
        let whole = root.descriptor.digest;
        let image = match &self.platform {
            Some(platform) => {
                let (client, repository) = (content.client.clone(), content.repository.clone());
                Origin::Registry { client, repository }.select_platform(root, platform).await?
            }
            None => root,
        };
        let digest = image.descriptor.digest;
        let index = Some(whole).filter(|whole| *whole != digest);
        let limits = Limits::default();
        let mut found = gather(&content, &manifest_content(image), index.as_slice(), &limits).await;
        found.incomplete.append(&mut found.unread);
        let judged = trust.judge(&found.evidence).await;
        self.say(output, &trust, (digest, index), judged, &found)
    }

    fn say(
        &self,
        output: &Output,
        trust: &Trust,
        (digest, index): (Digest, Option<Digest>),
        judged: Vec<Judged>,
        found: &Gathered,
    ) -> Result<Exit, Failure> {
        let evidence: Vec<Piece> = judged.into_iter().map(Piece::from).collect();
        let kind = self.kind.as_deref();
        // What is about a child says nothing about the whole, and what is about the whole covers its children.
        let covers = |piece: &Piece| piece.subject == digest || Some(piece.subject) == index;
        let wanted = |piece: &&Piece| piece.is_wanted(kind) && covers(piece);
        let verified = evidence.iter().filter(wanted).any(|piece| piece.accepted);
        let unknown =
            !found.incomplete.is_empty() || evidence.iter().filter(wanted).any(Piece::could_not_be_checked);
        let value = Verified {
            image: self.image.to_string(),
            digest,
            index,
            asked: &trust.who,
            wanted: kind.unwrap_or("signature"),
            verified,
            evidence,
            incomplete: &found.incomplete,
            passed_over: &found.passed_over,
        };
        output.result(&value, || human(&value, unknown))?;
        Ok(match (verified, unknown) {
            (true, _) => Exit::Ok,
            (false, false) => Exit::Refused,
            (false, true) => Exit::Unreachable,
        })
    }
}

fn human(value: &Verified<'_>, unknown: bool) -> String {
    let mut shown = vec![("image", value.image.clone()), ("digest", paint(NAME, value.digest))];
    shown.extend(value.index.map(|index| ("in the index", index.to_string())));
    shown.push(("asked for", format!("{} by {}", plain(value.wanted), plain(value.asked))));
    let mut text = fields(&shown);
    for piece in &value.evidence {
        text.push_str(&format!("\n{}\n", piece.name()));
        let (verdict, _) = words(piece.verification.as_ref(), piece.accepted);
        text.push_str(&format!(
            "  {}\n",
            if piece.accepted { piece.verdict() } else { paint(style(verdict), verdict) }
        ));
        for check in piece.verification.iter().flat_map(|found| &found.checks) {
            let (mark, colour) = match check.verdict {
                Verdict::Valid => ("ok", GOOD),
                _ if !check.enforced => ("logged", HINT),
                Verdict::Invalid => ("wrong", BAD),
                _ => ("unknown", HINT),
            };
            text.push_str(&format!("  {} {}: {}\n", paint(colour, mark), check.name, plain(&check.detail)));
        }
        text.push_str(&format!("  in {}\n", piece.manifest));
    }
    for line in value.incomplete {
        text.push_str(&format!("\n{} {}\n", paint(BAD, "could not be read:"), plain(line)));
    }
    for line in value.passed_over {
        text.push_str(&format!("\n{} {}\n", paint(HINT, "passed over:"), plain(line)));
    }
    let end = match (value.verified, unknown) {
        (true, _) => paint(GOOD, "verified"),
        (false, false) => format!("{}: nothing valid by whom was asked for", paint(BAD, "not verified")),
        (false, true) => format!("{}: see what could not be read or checked above", paint(BAD, "not known")),
    };
    text + "\n" + &end + "\n"
}
