//! `[tags]`: which tags never move, and how long it is remembered which did.

use rreg_oci::Glob;
use rreg_storage::{TagRule, TagRules};
use toml::{Table, Value};

use super::error::Findings;
use super::section::section;
use super::setting::Setting;
use super::units::HumanDuration;

/// Most rules: each is asked at every push of a tag.
const MAX_RULES: usize = 1000;
/// Most patterns in one list, for the same reason.
const MAX_PATTERNS: usize = 100;

section! {
    /// Which tags may change.
    pub struct Tags {
        /// How long it is remembered what a tag was moved from and to (`rreg tag history`), of each tag its last thousand
        /// changes. 0: for ever. At least 1d otherwise.
        history_keep: HumanDuration = HumanDuration::seconds(365 * 86_400),
        /// Tags that never move once they are there: each `[[tags.immutable]]` has `repositories` (default: all),
        /// `tags` (default: all), `except` (default: none) and the `name` that refusals show. In patterns `*` is any
        /// run of characters but `/`, `**` any run, `?` one character. Pushing the same digest again is fine; another
        /// digest, deleting the tag, or deleting the manifest under it is refused.
        immutable: ImmutableTags = ImmutableTags::default(),
    }
}

impl Tags {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        findings.kept("tags.history_keep", self.history_keep);
    }
}

/// The rules of `[[tags.immutable]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImmutableTags(Vec<TagRule>);

impl ImmutableTags {
    /// The rules for the storage.
    pub fn rules(&self) -> TagRules {
        TagRules::new(self.0.clone())
    }
}

impl Setting for ImmutableTags {
    fn allowed(&self) -> String {
        "tables with repositories, tags, except (lists of patterns) and name, such as { name = \"releases\", \
         repositories = [\"team/**\"], tags = [\"v*\"], except = [\"*-rc*\"] }"
            .into()
    }

    fn assign(&mut self, value: &Value) -> Result<(), String> {
        let Value::Array(tables) = value else { return Err(format!("is of type {}", value.type_str())) };
        if tables.len() > MAX_RULES {
            return Err(format!("has more than {MAX_RULES} rules"));
        }
        let rules = tables.iter().zip(1..).map(|(value, number)| rule(value, number));
        self.0 = rules.collect::<Result<_, _>>()?;
        Ok(())
    }

    fn assign_text(&mut self, text: &str) -> Result<(), String> {
        let table: Table =
            format!("rules = {text}").parse().map_err(|e: toml::de::Error| e.message().to_owned())?;
        match table.get("rules") {
            Some(value) if table.len() == 1 => self.assign(value),
            _ => Err("is not one TOML value".into()),
        }
    }

    fn show(&self) -> Option<Value> {
        let globs = |globs: &[Glob]| Value::Array(globs.iter().map(|g| g.to_string().into()).collect());
        let table = |rule: &TagRule| {
            let fields = [
                ("name", Value::String(rule.name.clone())),
                ("repositories", globs(&rule.repositories)),
                ("tags", globs(&rule.tags)),
                ("except", globs(&rule.except)),
            ];
            Value::Table(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
        };
        Some(Value::Array(self.0.iter().map(table).collect()))
    }
}

/// The `number`th rule, counted from 1.
fn rule(value: &Value, number: usize) -> Result<TagRule, String> {
    let Value::Table(table) = value else { return Err(format!("rule {number} is no table")) };
    let known = ["name", "repositories", "tags", "except"];
    if let Some(unknown) = table.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("rule {number} has {unknown:?}, which is none of {}", known.join(", ")));
    }
    let name = match table.get("name") {
        None => format!("#{number}"),
        Some(Value::String(name)) if (1..=100).contains(&name.len()) && !name.contains(char::is_control) => {
            name.clone()
        }
        Some(_) => return Err(format!("rule {number}: name is no text of 1 to 100 bytes")),
    };
    let patterns = |key: &str, default: Vec<Glob>| {
        let wrong = |why: String| format!("rule {number}: {key} {why}");
        match table.get(key) {
            None => Ok(default),
            Some(Value::Array(values)) if values.len() <= MAX_PATTERNS => values
                .iter()
                .map(|value| {
                    let text =
                        value.as_str().ok_or_else(|| wrong("holds something that is no text".into()))?;
                    text.parse::<Glob>().map_err(|error| wrong(format!("{text:?}: {error}")))
                })
                .collect(),
            Some(_) => Err(wrong(format!("is no list of up to {MAX_PATTERNS} patterns"))),
        }
    };
    Ok(TagRule {
        repositories: patterns("repositories", vec![Glob::all()])?,
        tags: patterns("tags", vec![Glob::all()])?,
        except: patterns("except", Vec::new())?,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ImmutableTags, String> {
        let mut rules = ImmutableTags::default();
        rules.assign_text(text).map(|()| rules)
    }

    #[test]
    fn rules_are_read_and_shown_again() {
        let rules =
            read("[{tags = ['v*'], except = ['*-rc*']}, {name = 'all of it', repositories = ['x/**']}]");
        let rules = rules.unwrap();
        let shown = rules.show().unwrap();
        assert_eq!(read(&shown.to_string()).unwrap(), rules);
        let named = |repository: &str, tag: &str| {
            let rules = rules.rules();
            rules.immutable(&repository.parse().unwrap(), &tag.parse().unwrap()).map(|r| r.name.clone())
        };
        assert_eq!(named("a", "v1").as_deref(), Some("#1"));
        assert_eq!(named("a", "v1-rc2"), None);
        assert_eq!(named("x/y", "v1-rc2").as_deref(), Some("all of it"));
    }

    #[test]
    fn errors_name_the_rule_and_what_is_wrong() {
        for (text, part) in [
            ("3", "is of type integer"),
            ("[3]", "rule 1 is no table"),
            ("[{}, {tag = ['v*']}]", "rule 2 has \"tag\""),
            ("[{tags = 'v*'}]", "rule 1: tags is no list"),
            ("[{tags = ['v[1]']}]", "rule 1: tags \"v[1]\": '['"),
            ("[{name = ''}]", "rule 1: name"),
            ("[]\nx = 1", "is not one TOML value"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
