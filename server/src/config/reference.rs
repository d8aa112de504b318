//! Printing: the effective configuration, and the reference page of all fields.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::section::{Node, Section};
use super::source::variable_of;
use super::{Config, Loaded, Oidc, Origin, Trust, Upstream};

impl Loaded {
    /// The effective configuration as a table, secrets masked, unset fields absent.
    pub fn to_table(&self) -> Table {
        let mut root = Table::new();
        self.effective().walk("", &mut |node| match node {
            Node::Section { path: "", .. } => {}
            Node::Section { path, .. } => {
                // Sections come before their fields and sub-sections, so the parent exists already.
                let _ = insert(&mut root, path, Value::Table(Table::new()));
            }
            Node::Field { path, value, .. } => {
                if let Some(value) = value.show() {
                    let _ = insert(&mut root, path, value);
                }
            }
        });
        root
    }

    /// The effective configuration as TOML, secrets masked, with the origin of what is not a default.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        self.effective().walk("", &mut |node| match node {
            Node::Section { path, .. } => heading(&mut out, path),
            Node::Field { path, value, .. } => {
                let name = path.rsplit('.').next().unwrap_or(path);
                let Some(value) = value.show() else { return };
                let origin = match self.origins.get(path) {
                    None | Some(Origin::Default) => String::new(),
                    Some(origin) => format!(" # {origin}"),
                };
                let _ = writeln!(out, "{name} = {value}{origin}");
            }
        });
        if let Some(identity) = self.config.storage.identity() {
            let _ = writeln!(out, "\n# The object store is asked with: {identity}.");
        }
        out
    }

    /// The configuration with what the server works out filled in.
    fn effective(&self) -> Config {
        let mut config = self.config.clone();
        config.database.url = Some(config.database_url());
        config
    }
}

fn heading(out: &mut String, path: &str) {
    if !path.is_empty() {
        let gap = if out.is_empty() { "" } else { "\n" };
        let _ = writeln!(out, "{gap}[{path}]");
    }
}

fn insert(table: &mut Table, path: &str, value: Value) -> Option<()> {
    match path.split_once('.') {
        Some((section, rest)) => insert(table.get_mut(section)?.as_table_mut()?, rest, value),
        None => table.insert(path.to_owned(), value).map(drop),
    }
}

/// The reference of all fields in Markdown: meaning, what is allowed, default and variable of each.
pub fn reference() -> String {
    let mut out = String::from(
        "# Configuration of rreg\n\n\
         A TOML file named by `--config` or `RREG_CONFIG`, then environment variables, then flags; the later \
         one wins. A section's fields stand under `[section]` in the file.\n",
    );
    Config::default().walk("", &mut |node| match node {
        Node::Section { path: "", .. } => {}
        Node::Section { path, doc } => {
            let _ = writeln!(out, "\n## `[{path}]`\n\n{}", prose(doc));
        }
        Node::Field { path, doc, value } => {
            let name = path.rsplit('.').next().unwrap_or(path);
            let default = value.show().map_or_else(|| "not set".to_owned(), |v| format!("`{v}`"));
            let _ = writeln!(
                out,
                "\n### `{name}`\n\n{}\n\n- Allowed: {}\n- Default: {default}\n- Variable: `{}`",
                prose(doc),
                value.allowed(),
                variable_of(path),
            );
        }
    });
    list(&mut out, "upstreams", &mut Upstream::default());
    list(&mut out, "auth.oidc", &mut Oidc::default());
    list(&mut out, "auth.oidc.rules", &mut Trust::default());
    out
}

/// The fields of a list's entries, which have no variables of their own.
fn list(out: &mut String, name: &str, entry: &mut dyn Section) {
    entry.walk("", &mut |node| match node {
        Node::Section { doc, .. } => {
            let _ = writeln!(out, "\n## `[[{name}]]`\n\n{}", prose(doc));
        }
        Node::Field { path, doc, value } => {
            let default = value.show().map_or_else(|| "not set".to_owned(), |v| format!("`{v}`"));
            let _ = writeln!(
                out,
                "\n### `{path}`\n\n{}\n\n- Allowed: {}\n- Default: {default}",
                prose(doc),
                value.allowed()
            );
        }
    });
}

fn prose(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}
