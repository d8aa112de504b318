//! The rreg binary.

mod commands;

use std::process::ExitCode;

use clap::Parser;

/// A private OCI registry, its client and its node.
#[derive(Parser)]
#[command(name = "rreg", version)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("rreg: {error}");
            ExitCode::FAILURE
        }
    }
}
