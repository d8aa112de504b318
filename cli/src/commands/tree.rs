//! `rreg tree IMAGE`: what an image consists of and what refers to it, as deep as it goes, with who signed what.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use clap::Args;
use rreg_oci::{Descriptor, Digest, Manifest, ManifestKind, ManifestLimits, Reference};
use rreg_policy::{
    Attachment, Content as _, EvidenceFact, Found, Limits, ManifestContent, attached, attestation_of,
    evidence_of,
};
use serde::Serialize;

use super::asked::{Asked, Judged, Trust};
use super::verify::Piece;
use crate::connect::Connect;
use crate::content::{RemoteContent, manifest_content};
use crate::exit::{Exit, Failure};
use crate::named::ImageName;
use crate::output::Output;
use crate::text::{BAD, HINT, NAME, paint, plain};

/// Manifests that one tree shows, and how deep referrers of referrers are followed.
const MAX_NODES: usize = 500;
const MAX_DEPTH: usize = 8;

#[derive(Args, Debug)]
pub(crate) struct Tree {
    /// host[:port]/repository[:tag][@digest]
    #[arg(value_name = "IMAGE")]
    image: ImageName,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    connect: Connect,
}

/// A manifest in the tree.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    digest: Digest,
    media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    /// How it was found; nothing for the image and the parts of an index.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    found: BTreeSet<Found>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<Piece>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<Node>,
}

#[derive(Serialize)]
struct Shown<'a> {
    image: String,
    /// Whom was asked for, if anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<&'a str>,
    tree: &'a Node,
    incomplete: &'a [String],
}

impl Tree {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let trust = self.asked.load(&self.image)?;
        let (content, root) = RemoteContent::open(&self.connect, &self.image).await?;
        let mut walk = Walk {
            content: &content,
            trust: trust.as_ref(),
            limits: Limits::default(),
            left: MAX_NODES,
            incomplete: Vec::new(),
        };
        let root = manifest_content(root);
        let digest = root.digest;
        let tree = walk.node(root, Place { depth: 0, platform: None, entries: Vec::new() }).await;
        let tree =
            tree.ok_or_else(|| Failure::new(Exit::Refused, format!("{digest}: no manifest to show")))?;
        let incomplete = walk.incomplete;
        let asked = trust.as_ref().map(|trust| trust.who.as_str());
        let shown = Shown { image: self.image.to_string(), asked, tree: &tree, incomplete: &incomplete };
        output.result(&shown, || human(&shown))
    }
}

/// Where a node stands.
struct Place {
    depth: usize,
    platform: Option<String>,
    /// Attestation manifests about it in the index that it is a part of.
    entries: Vec<Digest>,
}

struct Walk<'a> {
    content: &'a RemoteContent,
    trust: Option<&'a Trust>,
    limits: Limits,
    /// Nodes that may still be shown.
    left: usize,
    incomplete: Vec<String>,
}

impl Walk<'_> {
    /// A manifest with everything below it. `None`, and a line that says so, where it is none or too much.
    fn node(
        &mut self,
        content: ManifestContent,
        place: Place,
    ) -> Pin<Box<dyn Future<Output = Option<Node>> + Send + '_>> {
        Box::pin(async move {
            let parsed =
                Manifest::parse(Some(&content.media_type), &content.body, &ManifestLimits::default());
            let manifest = match parsed {
                Ok(manifest) => manifest,
                Err(error) => return self.leave_out(&content.digest, &error.to_string()),
            };
            if self.left == 0 || place.depth > MAX_DEPTH {
                let why = format!("only {MAX_NODES} manifests and {MAX_DEPTH} levels are shown");
                return self.leave_out(&content.digest, &why);
            }
            self.left -= 1;
            let mut children = self.parts(&manifest, place.depth).await;
            for attachment in self.attachments(&content.digest, &place.entries).await {
                children.extend(self.attachment(attachment, place.depth).await);
            }
            Some(Node {
                digest: content.digest,
                artifact_type: manifest.artifact_type.filter(|_| manifest.kind == ManifestKind::Image),
                media_type: content.media_type,
                platform: place.platform,
                found: BTreeSet::new(),
                evidence: Vec::new(),
                children,
            })
        })
    }

    fn leave_out(&mut self, digest: &Digest, why: &str) -> Option<Node> {
        self.incomplete.push(format!("{digest}: {why}"));
        None
    }

    /// The parts of an index. Attestation manifests stand below what they are about.
    async fn parts(&mut self, index: &Manifest, depth: usize) -> Vec<Node> {
        let mut nodes = Vec::new();
        for entry in index.member_manifests().filter(|entry| attestation_of(entry).is_none()) {
            let about = |other: &&Descriptor| attestation_of(other) == Some(entry.digest);
            let entries = index.manifests.iter().filter(about).map(|other| other.digest).collect();
            let place = Place { depth: depth + 1, platform: entry.platform_text(), entries };
            if let Some(content) = self.read(&entry.digest).await {
                nodes.extend(self.node(content, place).await);
            }
        }
        nodes
    }

    /// What refers to a manifest, `entries` of its index among it.
    async fn attachments(&mut self, subject: &Digest, entries: &[Digest]) -> Vec<Attachment> {
        let mut found = attached(self.content, subject, &self.limits).await;
        self.incomplete.append(&mut found.incomplete);
        self.incomplete.append(&mut found.unread);
        self.incomplete.append(&mut found.passed_over);
        for entry in entries {
            if let Some(known) = found.list.iter_mut().find(|one| one.content.digest == *entry) {
                known.found.insert(Found::Index);
                continue;
            }
            let Some(content) = self.read(entry).await else { continue };
            match Manifest::parse(Some(&content.media_type), &content.body, &ManifestLimits::default()) {
                Ok(manifest) => found.list.push(Attachment {
                    subject: *subject,
                    found: BTreeSet::from([Found::Index]),
                    content,
                    manifest,
                }),
                Err(error) => self.incomplete.push(format!("{entry}: {error}")),
            }
        }
        found.list
    }

    async fn attachment(&mut self, attachment: Attachment, depth: usize) -> Option<Node> {
        let one = std::slice::from_ref(&attachment);
        let mut unread = Vec::new();
        let missed = (&mut self.incomplete, &mut unread);
        let evidence = evidence_of(self.content, one, missed, &self.limits).await;
        self.incomplete.append(&mut unread);
        let judged = match self.trust {
            Some(trust) => trust.judge(&evidence).await,
            None => {
                let facts = evidence.iter().map(|piece| EvidenceFact::unverified(piece, &self.limits));
                facts.map(|fact| Judged { fact, verification: None, accepted: false }).collect()
            }
        };
        let place = Place { depth: depth + 1, platform: None, entries: Vec::new() };
        let mut node = self.node(attachment.content, place).await?;
        node.found = attachment.found;
        node.evidence = judged.into_iter().map(Piece::from).collect();
        Some(node)
    }

    async fn read(&mut self, digest: &Digest) -> Option<ManifestContent> {
        match self.content.manifest(&Reference::Digest(*digest)).await {
            Ok(Some(content)) => Some(content),
            Ok(None) => {
                self.incomplete.push(format!("{digest} is listed but not there"));
                None
            }
            Err(error) => {
                self.incomplete.push(error.to_string());
                None
            }
        }
    }
}

fn human(shown: &Shown<'_>) -> String {
    let mut text = format!("{}\n", shown.image);
    draw(shown.tree, "", "", shown.asked.is_some(), &mut text);
    for line in shown.incomplete {
        text.push_str(&format!("\n{} {}\n", paint(BAD, "not shown:"), plain(line)));
    }
    if shown.asked.is_none() {
        let hint = "no signature was checked; name whom to trust, for example with --key";
        text.push_str(&format!("\n{} {hint}\n", paint(HINT, "hint:")));
    }
    text
}

/// A node behind `first`, what belongs to it behind `rest`.
fn draw(node: &Node, first: &str, rest: &str, judged: bool, text: &mut String) {
    let name = match (&node.platform, &node.artifact_type) {
        (Some(platform), _) => plain(platform),
        (None, Some(kind)) if !node.found.is_empty() => plain(kind),
        _ => plain(&node.media_type),
    };
    text.push_str(&format!("{first}{name} {}{}\n", paint(NAME, node.digest), ways(&node.found)));
    let below = if node.children.is_empty() { "   " } else { "│  " };
    for piece in &node.evidence {
        let verdict = match piece.is_signed() {
            true if !judged => paint(HINT, "signed, not checked"),
            _ => piece.verdict(),
        };
        text.push_str(&format!("{rest}{below}{}: {verdict}\n", piece.name()));
    }
    for (at, child) in node.children.iter().enumerate() {
        let last = at + 1 == node.children.len();
        let (branch, trunk) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw(child, &format!("{rest}{branch}"), &format!("{rest}{trunk}"), judged, text);
    }
}

/// How it was found, where that is worth a word.
fn ways(found: &BTreeSet<Found>) -> String {
    let words: Vec<&str> = found
        .iter()
        .map(|way| match way {
            Found::Referrer => "referrer",
            Found::ReferrersTag => "referrers tag",
            Found::CosignTag => "cosign tag",
            Found::Index => "index",
        })
        .collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}
