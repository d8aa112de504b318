//! One file a subcommand.

pub(crate) mod config;
pub(crate) mod serve;

use clap::Subcommand;

/// What a subcommand fails with; its text says what to do next.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// The subcommands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the registry server
    Serve(serve::Args),
    /// Show, check and explain the server's configuration
    Config(config::Args),
}

impl Command {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Serve(args) => serve::run(args),
            Self::Config(args) => config::run(args),
        }
    }
}
