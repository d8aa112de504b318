//! apk's installed database, one line a field (Alpine wiki, "Apk spec", "Installed Database").

use super::Content;
use crate::finding::{Complaint, FindingKind};
use crate::limits::Limits;
use crate::owned;
use crate::package::{Ecosystem, Package, Source};

pub(crate) fn installed(bytes: &[u8], limits: &Limits) -> Content {
    let text = String::from_utf8_lossy(bytes);
    let mut content = Content::default();
    let mut package = Package::new(Ecosystem::Apk, "", None);
    let mut directory = "";
    let (mut began, mut cut) = (false, false);
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            let done = std::mem::replace(&mut package, Package::new(Ecosystem::Apk, "", None));
            let too_many = content.packages.len() >= limits.packages_per_file;
            if began && too_many {
                let why = format!("more than {} packages", limits.packages_per_file);
                return content.complain(Complaint::new(FindingKind::TooMany, why));
            }
            if began && (done.name.is_empty() || done.version.is_none()) {
                content = content.complain(Complaint::malformed("a package without name or version"));
            } else if began {
                content.add(done);
            }
            (began, directory) = (false, "");
            continue;
        }
        began = true;
        let Some((key, value)) = line.split_once(':') else { continue };
        match key {
            "P" => package.name = value.into(),
            "V" => package.version = Some(value.to_owned()).filter(|v| !v.is_empty()),
            "A" => package.architecture = Some(value.into()),
            "o" => package.source = Some(Source { name: value.into(), version: None }),
            "L" => package.licenses = vec![value.into()],
            "m" => package.supplier = Some(value.into()),
            "F" => directory = value,
            "R" if content.owned.len() >= limits.owned => cut = true,
            "R" => {
                content.owned.push(owned::hash(&format!("{directory}/{value}")));
            }
            _ => {}
        }
    }
    if cut {
        let why = format!("more than {} owned paths", limits.owned);
        content = content.complain(Complaint::new(FindingKind::TooMany, why));
    }
    if !bytes.is_empty() && !bytes.ends_with(b"\n") {
        content = content.complain(Complaint::truncated("the last line has no end"));
    }
    content
}
