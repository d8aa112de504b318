//! `META-INF/MANIFEST.MF` (JAR file specification, "JAR Manifest"): a main section, then one for each entry that
//! something is said about. Where the main one does not say what an archive is, those of its packages may.

/// The fields that tell what an archive is.
const KNOWN: [&str; 17] = [
    "Automatic-Module-Name",
    "Bundle-License",
    "Bundle-Name",
    "Bundle-SymbolicName",
    "Bundle-Vendor",
    "Bundle-Version",
    "Extension-Name",
    "Group-Id",
    "Implementation-Title",
    "Implementation-Vendor",
    "Implementation-Vendor-Id",
    "Implementation-Version",
    "Plugin-License-Name",
    "Plugin-Version",
    "Short-Name",
    "Specification-Title",
    "Specification-Version",
];
/// Longest value that is kept, in bytes.
const MAX_VALUE: usize = 1000;

/// What a manifest says, each field from the first section that has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Manifest {
    fields: Vec<(&'static str, String)>,
}

impl Manifest {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut manifest = Self::default();
        // A line that begins with a blank goes on with the line before.
        let mut line = String::new();
        for next in text.lines().chain([""]) {
            match next.strip_prefix(' ') {
                Some(more) => line.push_str(more),
                None => manifest.add(&std::mem::replace(&mut line, next.to_owned())),
            }
        }
        manifest
    }

    fn add(&mut self, line: &str) {
        let Some((key, value)) = line.split_once(':') else { return };
        let value = value.trim();
        let key = KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(key.trim()));
        // Archives made without filtering carry the variables' names.
        let usable = !value.is_empty() && value.len() <= MAX_VALUE && !value.contains("${");
        if let Some(key) = key.filter(|key| usable && self.get(key).is_none()) {
            self.fields.push((key, value.to_owned()));
        }
    }

    pub(super) fn text(&self) -> usize {
        self.fields.iter().map(|(_, value)| value.len()).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_str())
    }

    /// The bundle's name without directives (`org.example.core;singleton:=true`).
    pub(super) fn symbolic_name(&self) -> Option<&str> {
        Some(self.get("Bundle-SymbolicName")?.split(';').next()?.trim())
    }

    /// `group#artifact;version`, as a plugin of Gradle writes the title.
    pub(super) fn coordinates(&self) -> Option<(&str, &str)> {
        let (group, rest) = self.get("Implementation-Title")?.split_once('#')?;
        let name = rest.split(';').next().unwrap_or(rest);
        (is_name(group) && is_name(name)).then_some((group, name))
    }

    /// The name of an artifact, where a title is one and no prose.
    pub(super) fn name(&self) -> Option<&str> {
        let titles = ["Short-Name", "Extension-Name", "Implementation-Title", "Bundle-Name"];
        let mut named = titles.into_iter().filter_map(|key| self.get(key));
        let is_one = |title: &&str| {
            is_name(title) && !title.contains('.') && title.starts_with(|c: char| c.is_ascii_lowercase())
        };
        let bundle = || self.symbolic_name()?.rsplit('.').next().filter(|last| last.contains('-'));
        self.coordinates().map(|(_, name)| name).or_else(|| named.find(is_one)).or_else(bundle)
    }

    pub(super) fn versions(&self) -> impl Iterator<Item = &str> {
        let keys = ["Plugin-Version", "Implementation-Version", "Bundle-Version", "Specification-Version"];
        keys.into_iter().filter_map(|key| self.get(key)).map(|version| {
            // Some name the source's revision as well.
            version.split_whitespace().next().unwrap_or(version)
        })
    }

    pub(super) fn vendor(&self) -> Option<&str> {
        self.get("Implementation-Vendor").or_else(|| self.get("Bundle-Vendor"))
    }
}

/// Whether a text could be a group's or an artifact's identifier.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    !text.is_empty() && text.len() <= 200 && text.chars().all(fits)
}
