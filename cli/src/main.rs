//! The `rreg` binary: reads the command line, runs one subcommand, turns its outcome into an exit code.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "arguments are documented for --help, where brackets mean optional"
)]

mod allocator;
mod commands;
mod connect;
mod content;
mod examples;
mod exit;
mod named;
mod output;
mod password;
mod progress;
mod revocation;
mod text;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use crate::commands::Command;
use crate::exit::{Exit, Failure};
use crate::output::{Global, Output};

/// Private OCI registry, and the client that goes with it.
#[derive(Debug, Parser)]
#[command(name = "rreg", version, propagate_version = true, after_help = exit::HELP, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// The whole command line, for help, completions and manual pages.
pub(crate) fn command_line() -> clap::Command {
    examples::explained(Cli::command())
}

fn main() -> ExitCode {
    allocator::keep_large_buffers();
    let matches = match command_line().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(&cli.global);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&cli, &output)));
    let failure = match outcome {
        Ok(Ok(exit)) => return exit.into(),
        Ok(Err(failure)) => failure,
        Err(_) => Failure::new(Exit::Internal, "internal error: the command broke off; please report this"),
    };
    output.failure(&failure);
    failure.exit.into()
}

fn run(cli: &Cli, output: &Output) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|e| Failure::new(Exit::Internal, format!("cannot start the runtime: {e}")))?;
    runtime.block_on(cli.command.run(output))
}

/// clap writes help and versions to standard output and errors to standard error; only errors are usage errors.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A reader that left early is no failure.
        let _ = error.print();
        return Exit::Ok.into();
    }
    if output::json_wanted(std::env::args_os()) {
        let text = error.render().to_string();
        let text = text.trim().trim_start_matches("error: ");
        output::write_failure(output::Format::Json, &Failure::new(Exit::Usage, text));
    } else {
        // Nothing can be told when even the error stream is closed.
        let _ = error.print();
    }
    Exit::Usage.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command_line().debug_assert();
    }

    #[test]
    fn json_is_recognised_in_what_does_not_parse() {
        let wanted = |line: &str| output::json_wanted(line.split(' ').map(Into::into));
        assert!(wanted("rreg cp --output json") && wanted("rreg --output=json nonsense"));
        assert!(!wanted("rreg cp json") && !wanted("rreg --output human json"));
    }
}
