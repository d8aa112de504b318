//! `rreg config`: the server's configuration as it would be used, and what there is to configure.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use rreg_server::config::{Config, ConfigError, Loaded, Sources, reference};

use super::Failure;

/// Flags that set the server's configuration, the same for every command that reads it.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// TOML file with the configuration [env: RREG_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on [server.listen]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Directory that everything is kept in [storage.data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Allow an address that other machines reach, without TLS and authentication [server.insecure]
    #[arg(long)]
    insecure: bool,
    /// error, warn, info, debug, trace, or directives by module [log.level]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl Settings {
    /// Reads file, environment and these flags.
    pub(crate) fn load(self) -> Result<Loaded, ConfigError> {
        let flags = [
            ("--listen", "server.listen", self.listen),
            ("--data", "storage.data", self.data),
            ("--insecure", "server.insecure", self.insecure.then(|| "true".to_owned())),
            ("--log-level", "log.level", self.log_level),
        ];
        Config::load(&Sources {
            file: self.config,
            environment: std::env::vars_os().collect(),
            flags: flags.into_iter().filter_map(|(flag, path, value)| Some((flag, path, value?))).collect(),
        })
    }
}

/// Arguments of `rreg config`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Print the effective configuration, secrets masked
    Print {
        #[command(flatten)]
        settings: Settings,
        /// How to print it
        #[arg(long, value_enum, default_value_t = Format::Toml)]
        output: Format,
    },
    /// Check the configuration; exit code 1 and all problems when there are any
    Check {
        #[command(flatten)]
        settings: Settings,
    },
    /// Print the reference of all fields, in Markdown
    Reference,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Toml,
    Json,
}

/// Runs `rreg config`.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let text = match args.action {
        Action::Print { settings, output: Format::Toml } => settings.load()?.to_toml(),
        Action::Print { settings, output: Format::Json } => {
            serde_json::to_string_pretty(&settings.load()?.to_table())? + "\n"
        }
        Action::Check { settings } => {
            settings.load()?;
            "the configuration is valid\n".to_owned()
        }
        Action::Reference => reference(),
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
