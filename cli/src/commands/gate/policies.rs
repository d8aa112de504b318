//! Policies from files, with the keys, roots and stores that they name beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rreg_policy::{Policy, PolicyErrors, PolicySet};
use rreg_server::{DirectoryTrust, LoadError, policy_files, policy_text};

use super::report::PolicyFiles;
use crate::exit::{Exit, Failure};

/// Policies that are asked together.
pub(crate) struct Policies {
    pub(crate) set: PolicySet,
    pub(crate) files: PolicyFiles,
    /// What is allowed and may not be meant.
    pub(crate) warnings: Vec<String>,
}

impl Policies {
    /// Reads files, and the policies in directories.
    ///
    /// # Errors
    /// "Could not be checked" where any of them cannot be read: the others alone would allow too much.
    pub(crate) fn load(paths: &[PathBuf]) -> Result<Self, Failure> {
        let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let mut files =
            PolicyFiles { all: shown.first().cloned().unwrap_or_default(), ..PolicyFiles::default() };
        let mut names = BTreeMap::<String, String>::new();
        let (mut all, mut warnings) = (Vec::new(), Vec::new());
        for path in listed(paths)? {
            let shown = path.display().to_string();
            let read = read(&path)?.map_err(|errors| wrong(&path, &errors))?;
            for policy in read {
                if let Some(other) = names.insert(policy.name.clone(), shown.clone()) {
                    let why = format!("{shown}: the policy {:?} is in {other}, too", policy.name);
                    return Err(Failure::new(Exit::Unreachable, why).hint("give one of them another name"));
                }
                warnings.extend(policy.warnings().iter().map(|warning| format!("{shown}: {warning}")));
                files.by_revision.insert(policy.revision.to_string(), shown.clone());
                all.push(policy);
            }
        }
        Ok(Self { set: PolicySet::new(all), files, warnings })
    }
}

/// The policies of one file, or everything that is wrong with it.
///
/// # Errors
/// That the file cannot be read.
pub(crate) fn read(path: &Path) -> Result<Result<Vec<Policy>, PolicyErrors>, Failure> {
    let text = text(path)?;
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    Ok(Policy::parse(&text, &DirectoryTrust::new(directory)))
}

/// The text of a policy file.
///
/// # Errors
/// That it cannot be read, is too large, or is no text.
pub(crate) fn text(path: &Path) -> Result<String, Failure> {
    policy_text(path).map_err(unreadable)
}

/// Files as they are; of a directory, the policies in it that a registry would read, by name.
///
/// # Errors
/// That a directory cannot be read or has no policy: nothing would be asked then.
pub(crate) fn listed(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let found = policy_files(path).map_err(unreadable)?;
        if found.is_empty() {
            let why = "there is no file *.yaml or *.yml".to_owned();
            return Err(unreadable(LoadError::File { path: path.display().to_string(), why }));
        }
        files.extend(found);
    }
    Ok(files)
}

fn unreadable(error: LoadError) -> Failure {
    Failure::new(Exit::Unreachable, format!("policies cannot be read: {error}"))
}

fn wrong(path: &Path, errors: &PolicyErrors) -> Failure {
    let lines: Vec<String> = errors.0.iter().map(|error| format!("\n  {error}")).collect();
    let why = format!("{} is no policy that can be asked:{}", path.display(), lines.concat());
    Failure::new(Exit::Unreachable, why).hint(format!("rreg policy check {}", path.display()))
}
