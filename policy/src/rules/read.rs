//! Makes policies of a tree that the tables found no fault with.

use std::collections::{BTreeMap, BTreeSet};

use rreg_oci::{Digest, Glob};

use super::error::{PolicyError, PolicyErrors};
use super::matcher::TrustReference;
use super::node::{Node, documents};
use super::tables::POLICY;
use super::words::{self, Pattern};
use super::{Exemption, Match, OnError, PlatformPattern, Policy, TrustSource, read_rules};
use crate::decision::{Mode, Point};
use crate::trust::{TrustError, TrustRoot};

/// Most policies in one text.
const MAX_POLICIES: usize = 1000;

/// Where the mistakes, the warnings and the trust roots of one policy go.
pub(super) struct Reader<'t> {
    trust: &'t dyn TrustSource,
    pub(super) errors: PolicyErrors,
    pub(super) warnings: Vec<PolicyError>,
    loaded: BTreeMap<TrustReference, Result<Vec<TrustRoot>, TrustError>>,
    /// Signers that the policy defines, and those of them that it uses.
    pub(super) signers: BTreeMap<String, Node>,
}

impl<'t> Reader<'t> {
    fn new(trust: &'t dyn TrustSource) -> Self {
        Self {
            trust,
            errors: PolicyErrors::default(),
            warnings: Vec::new(),
            loaded: BTreeMap::new(),
            signers: BTreeMap::new(),
        }
    }

    /// The ids of the trust roots of a name, loaded once.
    pub(super) fn trust(
        &mut self,
        reference: &TrustReference,
        node: &Node,
        path: &str,
    ) -> Option<Vec<Digest>> {
        let trust = self.trust;
        let loaded = self.loaded.entry(reference.clone()).or_insert_with(|| trust.load_all(reference));
        match loaded {
            Ok(roots) => Some(roots.iter().map(TrustRoot::id).collect()),
            Err(error) => {
                let problem = format!("the {reference} cannot be used: {error}");
                self.errors.note(node.place, path, problem, "");
                None
            }
        }
    }

    /// The value, or a note of what is wrong with it.
    pub(super) fn take<T>(&mut self, value: Result<T, String>, node: &Node, path: &str) -> Option<T> {
        value.map_err(|problem| self.errors.note(node.place, path, problem, "")).ok()
    }

    pub(super) fn warn(
        &mut self,
        node: &Node,
        path: &str,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let (problem, fix) = (problem.into(), fix.into());
        self.warnings.push(PolicyError { place: node.place, path: path.into(), problem, fix });
    }
}

/// What [`Policy::parse`] does.
pub(super) fn policies(text: &str, trust: &dyn TrustSource) -> Result<Vec<Policy>, PolicyErrors> {
    let (nodes, mut errors) = checked(text)?;
    let mut policies: Vec<Policy> = Vec::new();
    for node in &nodes {
        let mut reader = Reader::new(trust);
        let policy = policy(node, &mut reader);
        errors.0.append(&mut reader.errors.0);
        let Some(policy) = policy else { continue };
        if policies.iter().any(|other| other.name == policy.name) {
            errors.note(
                node.place,
                "name",
                format!("there are two policies {:?} in this text", policy.name),
                "",
            );
        }
        policies.push(policy);
    }
    errors.or(policies)
}

/// What [`Policy::references`] does.
pub(super) fn references(text: &str) -> Result<Vec<TrustReference>, PolicyErrors> {
    let (nodes, errors) = checked(text)?;
    let mut found = BTreeSet::new();
    for node in &nodes {
        read_rules::references(node, &mut found);
    }
    errors.or(found.into_iter().collect())
}

/// The documents that have the right shape, and what is wrong with the others.
fn checked(text: &str) -> Result<(Vec<Node>, PolicyErrors), PolicyErrors> {
    let nodes = documents(text)?;
    if nodes.is_empty() {
        return Err(PolicyErrors::of_text("there is no policy in this text", ""));
    }
    if nodes.len() > MAX_POLICIES {
        return Err(PolicyErrors::of_text(
            format!("there are more than {MAX_POLICIES} policies in this text"),
            "",
        ));
    }
    let mut errors = PolicyErrors::default();
    let mut right = Vec::new();
    for node in nodes {
        let mut own = PolicyErrors::default();
        POLICY.check(&node, "", &mut own);
        if own.0.is_empty() {
            right.push(node);
        }
        errors.0.append(&mut own.0);
    }
    Ok((right, errors))
}

fn policy(node: &Node, reader: &mut Reader<'_>) -> Option<Policy> {
    let name = node.get("name")?.text()?.to_owned();
    for (key, signer) in node.get("signers").map(Node::fields).unwrap_or_default() {
        reader.signers.insert(key.text.clone(), signer.clone());
    }
    let matches = node.get("match").map(|node| read_match(node, reader)).unwrap_or_default();
    let require = read_rules::rules(node.get("require")?, reader);
    read_rules::unused_signers(node, reader);
    let exempt = node.get("exempt").map(|node| exemptions(node, reader)).unwrap_or_default();
    for (index, exemption) in exempt.iter().enumerate() {
        for rule in &exemption.rules {
            let alone = Exemption { rules: vec![rule.clone()], ..exemption.clone() };
            let known =
                |r: &super::Rule| r.paths().iter().any(|path| alone.is_about_rule(path, r.name.as_deref()));
            if !require.iter().any(known) {
                let path = format!("exempt[{index}].rule");
                reader.warn(
                    node,
                    &path,
                    format!("no rule of this policy is {rule:?}"),
                    "it exempts from nothing",
                );
            }
        }
    }
    let on_error = node.get("onError").and_then(Node::text).map(OnError::parse);
    let on_error = on_error.map_or(Some(OnError::Deny), |parsed| reader.take(parsed, node, "onError"))?;
    if mode(node) == Mode::Enforce && on_error == OnError::Allow {
        let problem = "what cannot be checked is let through, also where whoever pushes or attaches something sees to that";
        reader.warn(node.get("onError").unwrap_or(node), "onError", problem, "write deny or lastGood(24h)");
    }
    let trust: Vec<(TrustReference, TrustRoot)> = std::mem::take(&mut reader.loaded)
        .into_iter()
        .flat_map(|(reference, roots)| {
            let named = |root| (reference.clone(), root);
            roots.unwrap_or_default().into_iter().map(named).collect::<Vec<_>>()
        })
        .collect();
    let revision = revision(node, &trust);
    let warnings = std::mem::take(&mut reader.warnings);
    let (at, mode) = (points(node), mode(node));
    Some(Policy { name, revision, matches, at, mode, on_error, require, exempt, trust, warnings })
}

fn revision(node: &Node, trust: &[(TrustReference, TrustRoot)]) -> Digest {
    let ids: Vec<String> = trust.iter().map(|(name, root)| format!("{name} {}", root.id())).collect();
    Digest::sha256(serde_json::json!([node.json(), ids]).to_string().as_bytes())
}

fn points(node: &Node) -> BTreeSet<Point> {
    let Some(at) = node.get("at") else {
        return [Point::Promote, Point::Pull, Point::Admit, Point::Run].into();
    };
    let point = |node: &Node| match node.text()? {
        "push" => Some(Point::Push),
        "promote" => Some(Point::Promote),
        "pull" => Some(Point::Pull),
        "admit" => Some(Point::Admit),
        "run" => Some(Point::Run),
        _ => None,
    };
    at.many().iter().filter_map(point).collect()
}

fn mode(node: &Node) -> Mode {
    match node.get("mode").and_then(Node::text) {
        Some("audit") => Mode::Audit,
        Some("warn") => Mode::Warn,
        _ => Mode::Enforce,
    }
}

fn read_match(node: &Node, reader: &mut Reader<'_>) -> Match {
    let mut globs = |name: &str| -> Vec<Glob> {
        let list = node.get(name).map(Node::many).unwrap_or_default();
        let glob = |element: &Node| {
            let parsed = element.text()?.parse::<Glob>().map_err(|error| error.to_string());
            reader.take(parsed, element, &format!("match.{name}"))
        };
        list.iter().filter_map(glob).collect()
    };
    let (repos, tags, platforms) = (globs("repos"), globs("tags"), globs("platforms"));
    let platforms = platforms.iter().map(PlatformPattern::new).collect();
    Match { registries: patterns(node.get("registries"), reader, "match.registries"), repos, tags, platforms }
}

/// A list of patterns, or one.
pub(super) fn patterns(node: Option<&Node>, reader: &mut Reader<'_>, path: &str) -> Vec<Pattern> {
    let list = node.map(Node::many).unwrap_or_default();
    list.iter().filter_map(|element| reader.take(Pattern::new(element.text()?), element, path)).collect()
}

fn exemptions(node: &Node, reader: &mut Reader<'_>) -> Vec<Exemption> {
    let exemption = |(index, node): (usize, &Node)| {
        let path = format!("exempt[{index}]");
        let text = |name: &str| node.get(name).and_then(Node::text).map(str::to_owned);
        let until_text = text("until")?;
        let until = reader.take(words::moment(&until_text), node, &format!("{path}.until"))?;
        let rules = node.get("rule").map(Node::many).unwrap_or_default();
        let rules: Vec<String> = rules.iter().filter_map(|rule| rule.text().map(str::to_owned)).collect();
        let (id, purl) = (text("id"), text("purl"));
        if rules.is_empty() && id.is_none() && purl.is_none() {
            reader.errors.note(node.place, path, "it exempts from nothing", "give an id, a purl or a rule");
            return None;
        }
        if !rules.is_empty() && (id.is_some() || purl.is_some()) {
            let fix = "write one exemption for each";
            reader.errors.note(node.place, path, "a rule and a finding exclude each other", fix);
            return None;
        }
        Some(Exemption { id, purl, rules, until, until_text, by: text("by")?, why: text("why")? })
    };
    node.many().iter().enumerate().filter_map(exemption).collect()
}
