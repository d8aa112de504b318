//! Makes rules and signers of a tree that the tables found no fault with.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Duration;

use super::cel::{Expression, VARIABLES};
use super::matcher::{Matcher, Need, Signers, TextMatch, TrustReference, Who};
use super::node::Node;
use super::platform::PlatformPattern;
use super::read::{Reader, patterns};
use super::rule::{Ask, AttestationRule, FailRule, ImageRule, Rule, SbomRule, VulnsRule, Which};
use super::words::{self, Pattern, SeverityRange};

/// The Sigstore instance that everybody may use.
use crate::trust::PUBLIC_GOOD;
/// Variables of `cel:` rules; `predicate` is there only beside an attestation.
const RULE_VARIABLES: &[&str] = &["image", "signatures", "attestations", "sbom", "now"];

pub(super) fn rules(node: &Node, reader: &mut Reader<'_>) -> Vec<Rule> {
    let rules = node.many().iter().enumerate();
    rules.filter_map(|(index, node)| rule(node, &format!("require[{index}]"), reader)).collect()
}

fn rule(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Rule> {
    let text = |name: &str| node.get(name).and_then(Node::text).map(str::to_owned);
    let known = ["signature", "attestation", "sbom", "vulns", "image", "cel"];
    let (kind, asked) = known.iter().find_map(|kind| node.get(kind).map(|asked| (*kind, asked)))?;
    let path = format!("{path}.{kind}");
    let ask = match kind {
        "signature" => Ask::Signature(signature(asked, &path, reader)),
        "attestation" => Ask::Attestation(attestation(asked, &path, reader)?),
        "sbom" => Ask::Sbom(sbom(asked, &path, reader)),
        "vulns" => Ask::Vulns(vulns(asked, &path, reader)),
        "image" => Ask::Image(image(asked, &path, reader)),
        _ => Ask::Cel(expression(asked, &path, RULE_VARIABLES, reader)?),
    };
    Some(Rule { path, name: text("name"), message: text("message"), ask })
}

fn expression(node: &Node, path: &str, allowed: &[&str], reader: &mut Reader<'_>) -> Option<Expression> {
    reader.take(Expression::compile(node.text()?, allowed), node, path)
}

fn signature(node: &Node, path: &str, reader: &mut Reader<'_>) -> Signers {
    let (field, need) = match (node.get("any"), node.get("all")) {
        (Some(_), _) => ("any", Need::Any),
        (_, Some(_)) => ("all", Need::All),
        _ => {
            let least = node.get("atLeast").and_then(Node::whole).unwrap_or(u64::MAX);
            ("of", Need::AtLeast(usize::try_from(least).unwrap_or(usize::MAX)))
        }
    };
    let Some(list) = node.get(field) else { return Signers { need, of: Vec::new(), undefined: Vec::new() } };
    let signers = signers(list, &format!("{path}.{field}"), need, reader);
    if let Need::AtLeast(least) = need
        && list.many().len() < least
    {
        let problem = format!("{least} signers of {} can never be had", list.many().len());
        reader.errors.note(node.place, path, problem, "name more signers, or ask for fewer");
    }
    signers
}

/// The signers of a list of names and descriptions.
fn signers(list: &Node, path: &str, need: Need, reader: &mut Reader<'_>) -> Signers {
    let mut found = Signers { need, of: Vec::new(), undefined: Vec::new() };
    for (index, node) in list.many().iter().enumerate() {
        let path = if list.many().len() == 1 { path.to_owned() } else { format!("{path}[{index}]") };
        let Some(name) = node.text() else {
            found.of.extend(matcher(node, &path, reader));
            continue;
        };
        match reader.signers.get(name).cloned() {
            // A name may stand for several descriptions of one signer; each of them will do where one is asked for.
            Some(defined) => {
                if need != Need::Any && defined.many().len() != 1 {
                    let problem =
                        format!("the signer {name:?} has several descriptions, which only `any` can take");
                    reader.errors.note(node.place, path.as_str(), problem, "");
                }
                let path = format!("signers.{name}");
                found.of.extend(defined.many().iter().filter_map(|node| matcher(node, &path, reader)));
            }
            None => {
                let near = super::shape::nearest(name, reader.signers.keys().map(String::as_str));
                let near = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
                let fix = format!("write `signers: {{{name}: …}}`; until then the rule cannot pass{near}");
                reader.warn(node, &path, format!("no signer {name:?} is defined in this policy"), fix);
                found.undefined.push(name.into());
            }
        }
    }
    found
}

/// Reads the signers that no rule names: their mistakes are mistakes too.
pub(super) fn unused_signers(node: &Node, reader: &mut Reader<'_>) {
    let before = reader.warnings.len();
    for (name, signer) in node.get("signers").map(Node::fields).unwrap_or_default() {
        for described in signer.many() {
            let _ = matcher(described, &format!("signers.{}", name.text), reader);
        }
    }
    // Those that are used have warned already.
    let known: BTreeSet<_> = reader.warnings.drain(before..).collect();
    let fresh: Vec<_> = known.into_iter().filter(|warning| !reader.warnings.contains(warning)).collect();
    reader.warnings.extend(fresh);
}

/// The trust material that one description of a signer names.
fn reference(node: &Node) -> Option<TrustReference> {
    let text = |node: &Node, name: &str| node.get(name).and_then(Node::text).map(str::to_owned);
    if let Some(keyless) = node.get("keyless") {
        return Some(TrustReference::Sigstore(text(keyless, "root").unwrap_or_else(|| PUBLIC_GOOD.into())));
    }
    if let Some(certificate) = node.get("certificate") {
        return text(certificate, "roots").map(TrustReference::Certificates);
    }
    if let Some(notation) = node.get("notation") {
        let store = text(notation, "store").map(|store| TrustReference::Notation { store });
        return store.or_else(|| text(notation, "policy").map(TrustReference::NotationPolicy));
    }
    text(node, "key").map(TrustReference::Key)
}

/// Collects every trust reference of a policy.
pub(super) fn references(policy: &Node, found: &mut BTreeSet<TrustReference>) {
    let mut lists: Vec<&Node> =
        policy.get("signers").map(Node::fields).unwrap_or_default().iter().map(|(_, n)| n).collect();
    for rule in policy.get("require").map(Node::many).unwrap_or_default() {
        let signature = rule.get("signature");
        lists.extend(["any", "all", "of"].iter().filter_map(|field| signature.and_then(|s| s.get(field))));
        let signed = ["attestation", "sbom"].iter();
        lists.extend(signed.filter_map(|kind| rule.get(kind).and_then(|asked| asked.get("signedBy"))));
    }
    found.extend(lists.into_iter().flat_map(Node::many).filter_map(reference));
}

fn matcher(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Matcher> {
    let reference = reference(node)?;
    let (who, text) = if let Some(keyless) = node.get("keyless") {
        keyless_matcher(keyless, &format!("{path}.keyless"), reader)?
    } else if let Some(certificate) = node.get("certificate") {
        certificate_matcher(certificate, &format!("{path}.certificate"), reader)?
    } else if let Some(notation) = node.get("notation") {
        let path = format!("{path}.notation");
        let subject = notation.get("subject").and_then(Node::text);
        if subject.is_none() && notation.get("store").is_some() {
            reader.warn(
                notation,
                &path,
                "whoever has a certificate of this store is meant",
                "give a subject",
            );
        }
        let attributes = subject.and_then(words::distinguished_name);
        let subject = subject.map(|subject| format!("{subject} in the ")).unwrap_or_default();
        (Who::Notation(attributes), format!("{subject}{reference}"))
    } else {
        (Who::Key, format!("the {reference}"))
    };
    let trust = reader.trust(&reference, node, path)?;
    Some(Matcher { reference, trust, who, text })
}

/// `exact`, one text or a list, or `pattern`, an expression.
fn text_match(
    node: &Node,
    exact: &str,
    pattern: &str,
    path: &str,
    reader: &mut Reader<'_>,
) -> Option<TextMatch> {
    if let Some(exact) = node.get(exact) {
        return Some(TextMatch::Exact(
            exact.many().iter().filter_map(|n| n.text().map(str::to_owned)).collect(),
        ));
    }
    let regex = node.get(pattern)?;
    let path = format!("{path}.{pattern}");
    let compiled = reader.take(words::regex(regex.text()?), regex, &path)?;
    if !words::is_anchored(compiled.as_str()) {
        let problem = "the expression is not anchored: it is found anywhere, also in what a stranger chose";
        reader.warn(regex, &path, problem, "begin each alternative with ^");
    }
    Some(TextMatch::Regex(compiled))
}

fn keyless_matcher(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<(Who, String)> {
    let issuer = text_match(node, "issuer", "issuerRegex", path, reader)?;
    let identity = text_match(node, "identity", "identityRegex", path, reader)?;
    let mut claims = BTreeMap::new();
    for (name, value) in node.get("claims").map(Node::fields).unwrap_or_default() {
        let pattern =
            reader.take(Pattern::new(value.text()?), value, &format!("{path}.claims.{}", name.text))?;
        claims.insert(name.text.clone(), pattern);
    }
    let with = claims.iter().map(|(name, value)| format!(" with {name} {value}")).collect::<String>();
    let root = node.get("root").and_then(Node::text).filter(|root| *root != PUBLIC_GOOD);
    let root = root.map(|root| format!(" in {root}")).unwrap_or_default();
    let text = format!("{identity} by {issuer}{with}{root}");
    Some((Who::Keyless { issuer, identity, claims }, text))
}

fn certificate_matcher(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<(Who, String)> {
    let roots = node.get("roots")?.text()?;
    if let Some(subject) = node.get("subject").and_then(Node::text) {
        let attributes = words::distinguished_name(subject)?;
        return Some((Who::CertificateSubject(attributes), format!("the certificate {subject} of {roots}")));
    }
    let name = text_match(node, "name", "nameRegex", path, reader)?;
    let text = format!("a certificate for {name} of {roots}");
    Some((Who::CertificateName(name), text))
}

fn attestation(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<AttestationRule> {
    let signed_by = signed_by(node, path, reader);
    let cel = match node.get("cel") {
        Some(cel) => Some(expression(cel, &format!("{path}.cel"), VARIABLES, reader)?),
        None => None,
    };
    let predicate = node.get("predicate")?;
    let name = predicate.text()?;
    let known = words::predicate_type(name).map_err(|why| format!("{name:?} {why}"));
    reader.take(known, predicate, &format!("{path}.predicate"))?;
    let which = match node.get("which").and_then(Node::text) {
        Some("every") => Which::Every,
        Some("any") => Which::Any,
        _ => Which::Latest,
    };
    Some(AttestationRule { predicate: name.to_owned(), signed_by, cel, which })
}

/// `signedBy` of a rule.
fn signed_by(node: &Node, path: &str, reader: &mut Reader<'_>) -> Option<Signers> {
    node.get("signedBy").map(|list| signers(list, &format!("{path}.signedBy"), Need::Any, reader))
}

fn sbom(node: &Node, path: &str, reader: &mut Reader<'_>) -> SbomRule {
    SbomRule {
        present: node.get("present").and_then(Node::flag).unwrap_or(true),
        min_quality: node.get("minQuality").and_then(Node::number),
        deny_licenses: patterns(node.get("denyLicenses"), reader, &format!("{path}.denyLicenses")),
        allow_licenses: patterns(node.get("allowLicenses"), reader, &format!("{path}.allowLicenses")),
        require_licenses: node.get("requireLicenses").and_then(Node::flag).unwrap_or_default(),
        format: node.get("format").and_then(Node::text).map(str::to_owned),
        signed_by: signed_by(node, path, reader),
    }
}

fn days(node: &Node, name: &str) -> Option<Duration> {
    node.get(name).and_then(Node::whole).and_then(|days| Duration::try_days(i64::try_from(days).ok()?))
}

fn vulns(node: &Node, path: &str, reader: &mut Reader<'_>) -> VulnsRule {
    let mut rule = VulnsRule::default();
    if let Some(age) = node.get("maxAge") {
        rule.max_age =
            age.text().and_then(|text| reader.take(words::age(text), age, &format!("{path}.maxAge")));
    }
    for (index, node) in node.get("fail").map(Node::many).unwrap_or_default().iter().enumerate() {
        let severity = node.get("severity").and_then(Node::text).map(SeverityRange::parse);
        let severity =
            severity.and_then(|range| reader.take(range, node, &format!("{path}.fail[{index}].severity")));
        rule.fail.push(FailRule {
            severity,
            fixed: node.get("fixed").and_then(Node::flag),
            grace: days(node, "graceDays"),
            kev: node.get("kev").and_then(Node::flag),
        });
    }
    rule
}

fn image(node: &Node, path: &str, reader: &mut Reader<'_>) -> ImageRule {
    let flag = |name: &str| node.get(name).and_then(Node::flag).unwrap_or_default();
    let mut labels = BTreeMap::new();
    for (name, value) in node.get("labels").map(Node::fields).unwrap_or_default() {
        let pattern = value.text().map(Pattern::new);
        let pattern =
            pattern.and_then(|pattern| reader.take(pattern, value, &format!("{path}.labels.{}", name.text)));
        labels.extend(pattern.map(|pattern| (name.text.clone(), pattern)));
    }
    let ports = node.get("denyPorts").map(Node::many).unwrap_or_default();
    ImageRule {
        non_root: flag("nonRoot"),
        digest_only: flag("digestOnly"),
        max_age: days(node, "maxAgeDays"),
        base_max_age: days(node, "baseMaxAgeDays"),
        allowed_bases: patterns(node.get("allowedBases"), reader, &format!("{path}.allowedBases")),
        allowed_registries: patterns(
            node.get("allowedRegistries"),
            reader,
            &format!("{path}.allowedRegistries"),
        ),
        platforms: patterns(node.get("platforms"), reader, &format!("{path}.platforms"))
            .iter()
            .map(PlatformPattern::new)
            .collect(),
        labels,
        max_size_mib: node.get("maxSizeMiB").and_then(Node::whole),
        deny_ports: ports
            .iter()
            .filter_map(|port| port.whole().and_then(|port| u16::try_from(port).ok()))
            .collect(),
    }
}
