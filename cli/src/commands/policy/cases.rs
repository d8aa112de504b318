//! `rreg policy test DIR`: the cases in `*.test.yaml`, on the policies beside them.

use std::path::{Path, PathBuf};

use clap::Args;
use rreg_policy::PolicyErrors;
use rreg_policy::cases::{CaseFile, CaseResult};
use serde::Serialize;

use crate::commands::gate::policies::{read, text};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::text::{BAD, GOOD, paint, plain};

/// Deepest directory that is looked into, from the one named.
const MAX_DEPTH: usize = 16;

#[derive(Args, Debug)]
pub(crate) struct Test {
    /// Directories with files *.test.yaml in them or below, or such files
    #[arg(value_name = "DIR|FILE", required = true)]
    paths: Vec<PathBuf>,
    /// Show only cases whose name has this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// One file of cases.
#[derive(Serialize)]
struct Tested {
    file: String,
    cases: Vec<Case>,
    /// Why it could not be run.
    errors: Vec<String>,
}

#[derive(Serialize)]
struct Case {
    name: String,
    line: u64,
    passed: bool,
    differences: Vec<String>,
}

impl From<CaseResult> for Case {
    fn from(result: CaseResult) -> Self {
        let passed = result.passed();
        Self { name: result.name, line: result.place.line, passed, differences: result.differences }
    }
}

impl Test {
    pub(crate) fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let mut files = Vec::new();
        for path in &self.paths {
            find(path, 0, &mut files)?;
        }
        let mut tested = files.iter().map(|file| test(file)).collect::<Result<Vec<_>, _>>()?;
        if let Some(filter) = &self.filter {
            tested.iter_mut().for_each(|file| file.cases.retain(|case| case.name.contains(filter)));
        }
        if tested.iter().all(|file| file.cases.is_empty() && file.errors.is_empty()) {
            let why = "there is no such case; cases are in files *.test.yaml";
            return Err(Failure::new(Exit::Refused, why));
        }
        let good =
            tested.iter().all(|file| file.errors.is_empty() && file.cases.iter().all(|case| case.passed));
        output.result(&tested, || human(&tested))?;
        Ok(if good { Exit::Ok } else { Exit::Refused })
    }
}

/// Files of cases in the order of their names. A file that is named is one, whatever its name.
fn find(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let unreadable = |e: std::io::Error| {
        Failure::new(Exit::Unreachable, format!("{} cannot be read: {e}", path.display()))
    };
    // Links are not followed below what is named: they may lead in circles.
    let kind = if depth == 0 { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) };
    let kind = kind.map_err(unreadable)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if kind.is_dir() && depth < MAX_DEPTH {
        let entries = std::fs::read_dir(path).map_err(unreadable)?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
        let mut paths = paths.map_err(unreadable)?;
        paths.sort();
        return paths.iter().try_for_each(|path| find(path, depth + 1, files));
    }
    if depth == 0 || name.ends_with(".test.yaml") || name.ends_with(".test.yml") {
        files.push(path.to_owned());
    }
    Ok(())
}

fn test(path: &Path) -> Result<Tested, Failure> {
    let file = path.display().to_string();
    let said = |file: &str, errors: &PolicyErrors| -> Vec<String> {
        errors.0.iter().map(|error| format!("{file}: {error}")).collect()
    };
    let mut tested = Tested { cases: Vec::new(), errors: Vec::new(), file };
    let documents = match CaseFile::parse(&text(path)?) {
        Ok(documents) => documents,
        Err(errors) => {
            tested.errors = said(&tested.file, &errors);
            return Ok(tested);
        }
    };
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    for document in documents {
        let mut policies = Vec::new();
        for name in &document.policies {
            let policy = directory.join(name);
            match read(&policy)? {
                Ok(all) => policies.extend(all),
                Err(errors) => tested.errors.extend(said(&policy.display().to_string(), &errors)),
            }
        }
        // Cases on half of their policies say nothing.
        if tested.errors.is_empty() {
            tested.cases.extend(document.run(&policies).into_iter().map(Case::from));
        }
    }
    Ok(tested)
}

fn human(tested: &[Tested]) -> String {
    let mut text = String::new();
    for file in tested {
        text.push_str(&format!("{}\n", plain(&file.file)));
        text.extend(file.errors.iter().map(|error| format!("  {} {}\n", paint(BAD, "error"), plain(error))));
        for case in &file.cases {
            let word = if case.passed { paint(GOOD, "pass ") } else { paint(BAD, "fail ") };
            text.push_str(&format!("  {word} {}\n", plain(&case.name)));
            text.extend(case.differences.iter().map(|line| format!("          {}\n", plain(line))));
        }
    }
    let cases = || tested.iter().flat_map(|file| &file.cases);
    let failed = cases().filter(|case| !case.passed).count();
    text + &format!("{} cases, {failed} failed\n", cases().count())
}
