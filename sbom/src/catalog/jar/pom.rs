//! Maven's files in an archive, `META-INF/maven/GROUP/ARTIFACT/pom.properties` and `pom.xml` (Maven, "POM Reference").

use quick_xml::Reader;
use quick_xml::events::Event;

use super::manifest::is_name;
use crate::license::of_text;

/// Deepest element that is looked at; none that is read is deeper than five.
const MAX_DEPTH: usize = 200;
/// Longest value, in bytes.
const MAX_VALUE: usize = 1000;

/// What is known of one artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pom {
    pub(super) group: Option<String>,
    pub(super) artifact: Option<String>,
    pub(super) version: Option<String>,
    /// Each by its name, or its address where it has none.
    pub(super) licenses: Vec<String>,
    pub(super) vendor: Option<String>,
}

impl Pom {
    /// What the path says: the group and the artifact.
    pub(super) fn of_path(path: &str) -> Option<(String, Self)> {
        let directory = path.strip_suffix("/pom.properties").or_else(|| path.strip_suffix("/pom.xml"))?;
        let (group, artifact) = directory.strip_prefix("META-INF/maven/")?.split_once('/')?;
        let some = |text: &str| Some(text.to_owned()).filter(|text| is_name(text));
        Some((directory.to_owned(), Self { group: some(group), artifact: some(artifact), ..Self::default() }))
    }

    pub(super) fn text(&self) -> usize {
        let one = [&self.group, &self.artifact, &self.version, &self.vendor];
        one.into_iter().flatten().chain(&self.licenses).map(String::len).sum()
    }

    /// Takes what `better` knows.
    pub(super) fn improve(&mut self, better: Self) {
        self.group = better.group.or(self.group.take());
        self.artifact = better.artifact.or(self.artifact.take());
        self.version = better.version.or(self.version.take());
        self.vendor = better.vendor.or(self.vendor.take());
        if !better.licenses.is_empty() {
            self.licenses = better.licenses;
        }
    }

    /// What only this knows.
    pub(super) fn complete(&mut self, other: Self) {
        let better = std::mem::replace(self, other);
        self.improve(better);
    }

    pub(super) fn properties(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let value = |key: &str| {
            let mut pairs = text.lines().filter_map(|line| line.split_once(['=', ':']));
            usable(pairs.find(|(found, _)| found.trim() == key)?.1)
        };
        Self {
            group: value("groupId"),
            artifact: value("artifactId"),
            version: value("version"),
            ..Self::default()
        }
    }

    /// A project's own identity and licences; group and version may be its parent's. Whether that is all: what comes
    /// after an error of the XML is left out.
    pub(super) fn xml(bytes: &[u8]) -> (Self, bool) {
        let text = String::from_utf8_lossy(bytes);
        let mut reader = Reader::from_str(&text);
        let (mut pom, mut parent, mut license) = (Self::default(), Self::default(), (None, None));
        let mut path: Vec<String> = Vec::new();
        let mut value = String::new();
        let mut whole = false;
        while let Ok(event) = reader.read_event() {
            match event {
                Event::Eof => {
                    whole &= path.is_empty();
                    break;
                }
                Event::Start(tag) if path.len() < MAX_DEPTH => {
                    value.clear();
                    path.push(String::from_utf8_lossy(tag.local_name().as_ref()).into_owned());
                }
                Event::Start(_) => break,
                Event::Text(text) if value.len() <= MAX_VALUE => {
                    value.push_str(&text.decode().unwrap_or_default())
                }
                Event::CData(text) if value.len() <= MAX_VALUE => {
                    value.push_str(&text.decode().unwrap_or_default())
                }
                Event::GeneralRef(name) => value.push_str(entity(&name)),
                Event::End(_) => {
                    let names: Vec<&str> = path.iter().map(String::as_str).collect();
                    let said = std::mem::take(&mut value);
                    let found = usable(&said);
                    // Some have the whole text in place of a name.
                    let long = Some(of_text(&said).join(" AND "))
                        .filter(|all| said.len() > MAX_VALUE && !all.is_empty());
                    match names.as_slice() {
                        ["project", "groupId"] => pom.group = found,
                        ["project", "artifactId"] => pom.artifact = found,
                        ["project", "version"] => pom.version = found,
                        ["project", "organization", "name"] => pom.vendor = found,
                        ["project", "parent", "groupId"] => parent.group = found,
                        ["project", "parent", "version"] => parent.version = found,
                        ["project", "licenses", "license", "name"] => license.0 = found.or(long),
                        ["project", "licenses", "license", "url"] => license.1 = found,
                        ["project"] => whole = true,
                        ["project", "licenses", "license"] => {
                            let (name, address) = std::mem::take(&mut license);
                            pom.licenses.extend(crate::license::best(name, address));
                        }
                        _ => {}
                    }
                    path.pop();
                }
                _ => {}
            }
        }
        pom.complete(parent);
        (pom, whole)
    }
}

/// The five that every XML file has.
fn entity(name: &[u8]) -> &'static str {
    match name {
        b"amp" => "&",
        b"lt" => "<",
        b"gt" => ">",
        b"quot" => "\"",
        b"apos" => "'",
        _ => "",
    }
}

/// Archives made without Maven's filtering carry the variables' names.
fn usable(text: &str) -> Option<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(text).filter(|text| !text.is_empty() && text.len() <= MAX_VALUE && !text.contains("${"))
}
