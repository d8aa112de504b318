//! Reading a configuration: the layers in their order, and what is wrong in any of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::Config;
use super::error::{ConfigError, Origin, Problem};
use super::secret::printable;
use super::section::{Node, Section};

const PREFIX: &str = "RREG_";
/// Names the configuration file; not a field.
const FILE_VARIABLE: &str = "RREG_CONFIG";
/// What the client's commands read, the tests (`RREG_TEST_…`) and benchmarks (`RREG_BENCH_…`) apart: they may be set
/// where operators' commands run.
const OF_COMMANDS: [&str; 3] = ["CA_FILE", "KEY_PASSWORD", "TOKEN_REALM"];
/// Largest file that is read as a secret: far above any key or URL, far below a mistaken blob.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// Where a configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file named by a flag; without one, the variable `RREG_CONFIG` may name it.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not begin with `RREG_` are ignored.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags: the flag's name, the field it sets and the value.
    pub flags: Vec<(&'static str, &'static str, String)>,
    /// The configuration is for another machine: the files that its fields name are there, and are not read here.
    pub is_elsewhere: bool,
}

/// A valid configuration, and where its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Origin of every field that some layer set, by path.
    pub origins: BTreeMap<String, Origin>,
}

/// A value on its way to a field.
enum Raw {
    Toml(Value),
    Text(String),
}

impl Raw {
    fn shown(&self) -> String {
        match self {
            Self::Toml(value) => value.to_string(),
            Self::Text(text) => format!("{text:?}"),
        }
    }
}

struct Layer {
    path: String,
    raw: Raw,
    origin: Origin,
}

/// Assembles the configuration layer by layer and remembers problems and origins.
#[derive(Default)]
struct Assembly {
    config: Config,
    origins: BTreeMap<String, Origin>,
    problems: Vec<Problem>,
    /// Fields whose files are not read: what they hold is not known here.
    unread: Vec<String>,
}

impl Config {
    /// Reads and validates a configuration.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems found.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        let mut assembly = Assembly::default();
        let file_of_environment = || {
            sources.environment.iter().find(|(key, _)| key == FILE_VARIABLE).map(|(_, value)| value.into())
        };
        if let Some(path) = sources.file.clone().or_else(file_of_environment) {
            assembly.file(&path)?;
        }
        for (key, value) in &sources.environment {
            assembly.variable(key, value);
        }
        for (flag, path, text) in &sources.flags {
            let raw = Raw::Text(text.clone());
            assembly.set(Layer { path: (*path).to_owned(), raw, origin: Origin::Flag(flag) });
        }
        assembly.secret_files(sources.is_elsewhere);
        // Values that could not be read are still at their defaults: judging those would mislead.
        if assembly.problems.is_empty() {
            assembly.validate();
        }
        if assembly.problems.is_empty() {
            Ok(Loaded { config: assembly.config, origins: assembly.origins })
        } else {
            Err(ConfigError::Fields(assembly.problems))
        }
    }
}

impl Assembly {
    fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let table: Table = text.parse().map_err(|e: toml::de::Error| {
            let start = e.span().map_or(0, |span| span.start);
            let before = text.get(..start).unwrap_or(&text);
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            ConfigError::Syntax {
                path: path.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
                message: e.message().to_owned(),
            }
        })?;
        self.table("", table, &Origin::File(path.to_owned()));
        Ok(())
    }

    fn table(&mut self, prefix: &str, table: Table, origin: &Origin) {
        for (key, value) in table {
            let path = super::section::join(prefix, &key);
            match (self.is_section(&path), value) {
                (true, Value::Table(inner)) => self.table(&path, inner, origin),
                (true, _) => self.problems.push(Problem {
                    // Not shown: an array of tables may have secrets in it.
                    value: None,
                    origin: origin.clone(),
                    why: "is a section, not a field".into(),
                    allowed: Some(format!("[{path}] with its fields below")),
                    field: path,
                }),
                (false, value) => self.set(Layer { path, raw: Raw::Toml(value), origin: origin.clone() }),
            }
        }
    }

    fn variable(&mut self, key: &OsString, value: &OsString) {
        let Some(name) = key.to_str() else { return };
        let Some(rest) = name.strip_prefix(PREFIX) else { return };
        if name == FILE_VARIABLE || is_service_link(rest) || is_of_others(rest) {
            return;
        }
        let origin = Origin::Environment(name.to_owned());
        let path = rest.replace("__", ".").to_ascii_lowercase();
        match value.to_str() {
            Some(text) => self.set(Layer { path, raw: Raw::Text(text.to_owned()), origin }),
            None => self.problems.push(Problem {
                field: path,
                value: None,
                origin,
                why: "is not valid UTF-8".into(),
                allowed: None,
            }),
        }
    }

    fn set(&mut self, layer: Layer) {
        let Layer { path, raw, origin } = layer;
        let mut outcome = None;
        self.config.walk("", &mut |node| {
            let Node::Field { path: this, value, .. } = node else { return };
            if this == path {
                let result = match &raw {
                    Raw::Toml(value_) => value.assign(value_),
                    Raw::Text(text) => value.assign_text(text),
                };
                let shown = (!value.is_secret()).then(|| printable(&raw.shown()));
                outcome = Some(result.map_err(|why| (why, shown, value.allowed())));
            }
        });
        match outcome {
            Some(Ok(())) => {
                self.origins.insert(path, origin);
            }
            Some(Err((why, value, allowed))) => {
                self.problems.push(Problem { field: path, value, origin, why, allowed: Some(allowed) });
            }
            None => {
                let why = self.unknown(&path, &origin);
                self.problems.push(Problem { field: path, value: None, origin, why, allowed: None });
            }
        }
    }

    fn unknown(&mut self, path: &str, origin: &Origin) -> String {
        let paths = self.paths();
        let nearest = paths.iter().max_by(|a, b| {
            let nearness = |p: &str| strsim::normalized_damerau_levenshtein(&path.replace('_', "."), p);
            nearness(&a.replace('_', ".")).total_cmp(&nearness(&b.replace('_', ".")))
        });
        let nearest = nearest.map(String::as_str).unwrap_or_default();
        let spelled = match origin {
            Origin::Environment(_) => variable_of(nearest),
            _ => nearest.to_owned(),
        };
        format!("is not a field; the nearest is {spelled} (rreg config reference lists all)")
    }

    fn paths(&mut self) -> Vec<String> {
        let mut paths = Vec::new();
        self.config.walk("", &mut |node| {
            if let Node::Field { path, .. } = node {
                paths.push(path.to_owned());
            }
        });
        paths
    }

    fn is_section(&mut self, wanted: &str) -> bool {
        let mut found = false;
        self.config.walk("", &mut |node| {
            found |= matches!(node, Node::Section { path, .. } if path == wanted);
        });
        found
    }

    /// A field `x` with a sibling `x_file` that is set takes its value from that file.
    fn secret_files(&mut self, is_elsewhere: bool) {
        let paths = self.paths();
        let pairs = paths.iter().filter_map(|path| {
            let target = path.strip_suffix("_file")?;
            paths.iter().any(|p| p == target).then(|| (path.clone(), target.to_owned()))
        });
        for (path, target) in pairs.collect::<Vec<_>>() {
            let Some(file) = self.shown(&path) else { continue };
            let reject = |why: String| Problem {
                field: path.clone(),
                value: Some(file.clone()),
                origin: self.origins.get(&path).cloned().unwrap_or(Origin::Default),
                why,
                allowed: None,
            };
            let problem = if self.origins.contains_key(&target) {
                Some(reject(format!("is set together with {target}; only one of the two can be")))
            } else if is_elsewhere {
                self.unread.push(target);
                None
            } else {
                match read_secret(Path::new(&file)) {
                    Ok(text) => {
                        let origin = Origin::File(file.clone().into());
                        self.set(Layer { path: target, raw: Raw::Text(text), origin });
                        None
                    }
                    Err(why) => Some(reject(why)),
                }
            };
            self.problems.extend(problem);
        }
    }

    fn shown(&mut self, wanted: &str) -> Option<String> {
        let mut shown = None;
        self.config.walk("", &mut |node| {
            if let Node::Field { path, value, .. } = node
                && path == wanted
            {
                shown = value.show().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
            }
        });
        shown
    }

    fn validate(&mut self) {
        for (field, why, allowed) in self.config.validate().0 {
            if self.unread.contains(&field) {
                continue;
            }
            let value = self.shown(&field);
            // The entries of a list have no origin of their own.
            let path = field.split('[').next().unwrap_or(&field);
            let origin = self.origins.get(path).cloned().unwrap_or(Origin::Default);
            self.problems.push(Problem { field, value, origin, why, allowed });
        }
    }
}

/// The variable of a field.
pub(super) fn variable_of(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "__").to_ascii_uppercase())
}

fn is_of_others(rest: &str) -> bool {
    OF_COMMANDS.contains(&rest) || rest.starts_with("TEST_") || rest.starts_with("BENCH_")
}

/// Kubernetes gives every pod variables for each Service of its namespace (Kubernetes documentation,
/// "Service", section "Environment variables"); a Service called `rreg` must not stop the server.
fn is_service_link(rest: &str) -> bool {
    rest == "PORT" || rest == "SERVICE_HOST" || rest.starts_with("SERVICE_PORT") || rest.starts_with("PORT_")
}

pub(super) fn read_secret(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text))
        .map_err(|e| format!("cannot be read: {e}"))?;
    if text.len() as u64 > MAX_SECRET_BYTES {
        return Err(format!("is larger than {MAX_SECRET_BYTES} bytes"));
    }
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() { Err("is empty".into()) } else { Ok(text.to_owned()) }
}
