//! A package list for people.

use rreg_sbom::Sbom;

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
    if !sbom.is_complete() {
        text.push_str(&format!("\n{}\n", paint(BAD, "not everything could be read:")));
    }
    for finding in &sbom.findings {
        let place = finding.path.as_deref().or(finding.layer.as_deref()).unwrap_or("image");
        let kind = paint(HINT, finding.kind.name());
        text.push_str(&format!("  {kind}  {}: {}\n", plain(place), plain(&finding.message)));
    }
    if sbom.findings_left_out > 0 {
        text.push_str(&format!("  and {} more\n", sbom.findings_left_out));
    }
    text
}
