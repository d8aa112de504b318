//! A package list for people.

use rreg_sbom::{Finding, Sbom};

use super::write::AttachedResult;

use crate::text::{BAD, HINT, fields, paint, plain, table};

pub(super) fn packages(sbom: &Sbom) -> String {
    let subject = &sbom.subject;
    let mut lines = vec![("image", plain(&subject.name))];
    lines.extend(subject.digest.iter().map(|digest| ("digest", plain(digest))));
    lines.extend(subject.platform.iter().map(|platform| ("platform", plain(platform))));
    lines.extend(sbom.os.iter().map(|os| ("system", plain(os.name.as_deref().unwrap_or(&os.id)))));
    lines.push(("packages", sbom.packages.len().to_string()));
    if sbom.owned_by_distro > 0 {
        let text = format!("{} more belong to packages of the distribution", sbom.owned_by_distro);
        lines.push(("not listed", text));
    }
    let rows: Vec<[String; 4]> = sbom
        .packages
        .iter()
        .map(|package| {
            let name = match (&package.namespace, package.ecosystem) {
                (Some(group), rreg_sbom::Ecosystem::Maven) => format!("{group}:{}", package.name),
                (Some(scope), _) => format!("@{scope}/{}", package.name),
                (None, _) => package.name.clone(),
            };
            let place = package.locations.first().map(|l| l.path.as_str()).unwrap_or_default();
            let more = package.locations.len().saturating_sub(1);
            let place = if more > 0 { format!("{place} (+{more})") } else { place.to_owned() };
            let version = package.version.as_deref().unwrap_or("-");
            [plain(&name), plain(version), package.ecosystem.purl_type().to_owned(), plain(&place)]
        })
        .collect();
    let mut text = format!("{}\n{}", fields(&lines), table(["NAME", "VERSION", "TYPE", "FOUND IN"], &rows));
    text.push_str(&unread(&sbom.findings, sbom.findings_left_out));
    text
}

/// What an attached document lists.
pub(super) fn attached(result: &AttachedResult) -> String {
    let hanging = result.attached;
    let document = &hanging.attached.document;
    let signed = match hanging.attached.signed {
        true => "signed, but no signature was checked",
        false => "not signed",
    };
    let mut lines = vec![
        ("image", plain(result.image)),
        ("digest", result.digest.clone()),
        ("attached as", format!("{} ({})", hanging.place.name(), hanging.manifest)),
        ("signature", signed.to_owned()),
        ("format", format!("{} {}", document.format.name(), plain(&document.version))),
    ];
    lines.extend(document.created.iter().map(|created| ("created", plain(created))));
    lines.extend(document.creators.iter().map(|creator| ("creator", plain(creator))));
    lines.push(("packages", document.packages.len().to_string()));
    let rows: Vec<[String; 4]> = document
        .packages
        .iter()
        .map(|package| {
            let version = package.version.as_deref().unwrap_or("-");
            let place = package.paths.first().map_or("-", String::as_str);
            [plain(&package.name), plain(version), plain(package.purl_type().unwrap_or("-")), plain(place)]
        })
        .collect();
    let mut text = format!("{}\n{}", fields(&lines), table(["NAME", "VERSION", "TYPE", "FOUND IN"], &rows));
    text.push_str(&unread(&document.findings, document.findings_left_out));
    text.push_str(&unread(result.findings, 0));
    text
}

fn unread(findings: &[Finding], left_out: usize) -> String {
    if findings.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", paint(BAD, "not everything could be read:"));
    for finding in findings {
        let place = finding.path.as_deref().or(finding.layer.as_deref()).unwrap_or("image");
        let kind = paint(HINT, finding.kind.name());
        text.push_str(&format!("  {kind}  {}: {}\n", plain(place), plain(&finding.message)));
    }
    if left_out > 0 {
        text.push_str(&format!("  and {left_out} more\n"));
    }
    text
}
