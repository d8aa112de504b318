//! The subcommands, one file each. How to add one: a file with an `Args` struct and its `run`, then a variant
//! here; the compiler asks for the rest.

mod completions;
mod cp;
mod inspect;
mod ls;
mod man;
mod pull;
mod push;
mod rm;
mod version;

use clap::Subcommand;

use crate::exit::{Exit, Failure};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    // --- server side: `serve` and `config` have their place here ---

    // --- client side ---
    /// Push an image layout, a layout archive or a docker save archive to a registry
    Push(push::Push),
    /// Pull an image, all platforms, into an image layout (or PATH.tar)
    Pull(pull::Pull),
    /// Copy an image between registries, with all platforms and what refers to it
    Cp(cp::Cp),
    /// List repositories of a registry, or tags of a repository
    Ls(ls::Ls),
    /// Show what an image is made of
    Inspect(inspect::Inspect),
    /// Remove a tag, or a manifest by digest
    Rm(rm::Rm),

    // --- about rreg itself ---
    /// Show the version
    Version(version::Version),
    /// Write completions for a shell to standard output
    Completions(completions::Completions),
    /// Write manual pages into a directory
    Man(man::Man),
}

impl Command {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Push(command) => command.run(output).await,
            Self::Pull(command) => command.run(output).await,
            Self::Cp(command) => command.run(output).await,
            Self::Ls(command) => command.run(output).await,
            Self::Inspect(command) => command.run(output).await,
            Self::Rm(command) => command.run(output).await,
            Self::Version(command) => command.run(output),
            Self::Completions(command) => command.run(output),
            Self::Man(command) => command.run(output),
        }
    }
}
