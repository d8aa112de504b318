//! `rreg config`: the server's configuration as it would be used, and what there is to configure.

use std::path::PathBuf;

use clap::Subcommand;
use rreg_server::config::{Config as Settled, ConfigError, Loaded, Sources, reference};

use crate::exit::{Exit, Failure};
use crate::output::{Output, warning};

/// Flags that set the server's configuration, the same for every command that reads it.
#[derive(clap::Args, Clone, Debug)]
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
    pub(crate) fn load(&self) -> Result<Loaded, ConfigError> {
        let flags = [
            ("--listen", "server.listen", self.listen.clone()),
            ("--data", "storage.data", self.data.clone()),
            ("--insecure", "server.insecure", self.insecure.then(|| "true".to_owned())),
            ("--log-level", "log.level", self.log_level.clone()),
        ];
        Settled::load(&Sources {
            file: self.config.clone(),
            environment: std::env::vars_os().collect(),
            flags: flags.into_iter().filter_map(|(flag, path, value)| Some((flag, path, value?))).collect(),
        })
    }
}

/// Flags of commands that work on the database of a configuration.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Place {
    /// TOML file with the server's configuration [env: RREG_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory that the server keeps everything in [storage.data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
}

impl Place {
    /// Reads file, environment and these flags.
    pub(crate) fn load(&self) -> Result<Settled, ConfigError> {
        let (config, data) = (self.config.clone(), self.data.clone());
        let settings = Settings { config, data, listen: None, insecure: false, log_level: None };
        Ok(settings.load()?.config)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Config, error.to_string())
    }
}

/// What `rreg config` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the effective configuration, secrets masked; TOML, or JSON with --output json
    Print(Settings),
    /// Check the configuration and who may read the registry's files; fails with all problems when there are any
    Check {
        /// Make the registry's files and directories private where others may read them
        #[arg(long)]
        fix: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Print the reference of all fields, in Markdown
    Reference,
}

impl Config {
    pub(crate) fn run(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Print(settings) => {
                let loaded = settings.load()?;
                output.result(&loaded.to_table(), || loaded.to_toml())
            }
            Self::Check { fix, settings } => check(output, settings, *fix),
            Self::Reference => output.result(&serde_json::json!({"reference": reference()}), reference),
        }
    }
}

fn check(output: &Output, settings: &Settings, fix: bool) -> Result<Exit, Failure> {
    let config = settings.load()?.config;
    // A configuration may be checked on another machine than the one that it is for.
    if let Err(error) = rreg_server::check_files(&config) {
        warning(&format!("`rreg serve` would not start here: {error}"));
    }
    let mut exposed = rreg_server::exposed(&config);
    let given = rreg_server::exposed_secrets(&config);
    if fix {
        exposed.extend(given.iter().cloned());
        for one in &exposed {
            one.fix().map_err(|error| {
                Failure::new(Exit::Config, format!("{one}; it cannot be changed: {error}"))
            })?;
        }
    }
    // A file that is given may have to be as it is: no reason to refuse.
    for one in given.iter().filter(|_| !fix) {
        warning(&format!("{one}; `rreg config check --fix` makes it private"));
    }
    let said: Vec<String> = exposed.iter().map(ToString::to_string).collect();
    if !fix && !said.is_empty() {
        let failure = Failure::new(Exit::Config, said.join("\n"));
        return Err(failure.hint("`rreg config check --fix` makes them private"));
    }
    let valid = serde_json::json!({"valid": true, "fixed": said});
    output.result(&valid, || {
        let fixed: String =
            exposed.iter().map(|one| format!("made private: {}\n", one.path.display())).collect();
        format!("{fixed}the configuration is valid\n")
    })
}
