//! `rreg policy check FILE…`: every mistake at once, each with its place, as compilers write them.

use std::path::{Path, PathBuf};

use clap::Args;
use rreg_policy::PolicyError;
use serde::Serialize;

use crate::commands::gate::policies::{listed, read};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::text::{BAD, GOOD, HINT, paint, plain};

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Policies, or directories of policies. Keys, roots and stores that they name are read too, relative to the file
    #[arg(value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
}

/// One file.
#[derive(Serialize)]
struct Checked {
    file: String,
    policies: Vec<Named>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

#[derive(Serialize)]
struct Named {
    name: String,
    revision: String,
}

/// One mistake. Line and column count from 1, and are 0 where the place is not known.
#[derive(Serialize)]
struct Problem {
    line: u64,
    column: u64,
    path: String,
    problem: String,
    fix: String,
}

impl From<&PolicyError> for Problem {
    fn from(error: &PolicyError) -> Self {
        Self {
            line: error.place.line,
            column: error.place.column,
            path: error.path.clone(),
            problem: error.problem.clone(),
            fix: error.fix.clone(),
        }
    }
}

impl Check {
    pub(crate) fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let files = listed(&self.files)?;
        let checked = files.iter().map(|file| check(file)).collect::<Result<Vec<_>, _>>()?;
        let wrong = checked.iter().any(|file| !file.errors.is_empty());
        output.result(&checked, || checked.iter().map(human).collect())?;
        Ok(if wrong { Exit::Refused } else { Exit::Ok })
    }
}

fn check(path: &Path) -> Result<Checked, Failure> {
    let file = path.display().to_string();
    Ok(match read(path)? {
        Ok(policies) => Checked {
            file,
            warnings: policies.iter().flat_map(|policy| policy.warnings()).map(Problem::from).collect(),
            policies: (policies.iter())
                .map(|policy| Named { name: policy.name.clone(), revision: policy.revision.to_string() })
                .collect(),
            errors: Vec::new(),
        },
        Err(errors) => Checked {
            file,
            policies: Vec::new(),
            errors: errors.0.iter().map(Problem::from).collect(),
            warnings: Vec::new(),
        },
    })
}

fn human(checked: &Checked) -> String {
    let file = plain(&checked.file);
    let mut text = String::new();
    for (style, word, problems) in [(BAD, "error", &checked.errors), (HINT, "warning", &checked.warnings)] {
        text.extend(problems.iter().map(|problem| one(&file, &paint(style, word), problem)));
    }
    let names: Vec<String> = checked.policies.iter().map(|policy| plain(&policy.name)).collect();
    if checked.errors.is_empty() {
        text.push_str(&format!("{} {file}: {}\n", paint(GOOD, "ok"), names.join(", ")));
    }
    text
}

fn one(file: &str, word: &str, problem: &Problem) -> String {
    let place = match problem.line {
        0 => String::new(),
        line => format!("{line}:{}:", problem.column),
    };
    let path = if problem.path.is_empty() { String::new() } else { format!("{}: ", plain(&problem.path)) };
    let fix = if problem.fix.is_empty() { String::new() } else { format!("; {}", plain(&problem.fix)) };
    format!("{file}:{place} {word}: {path}{}{fix}\n", plain(&problem.problem))
}
