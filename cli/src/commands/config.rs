//! `rreg config`: the server's configuration as it would be used, and what there is to configure.

use std::ops::Deref;
use std::path::PathBuf;

use clap::Subcommand;
use rreg_server::Made;
use rreg_server::config::{Backend, Config as Settled, ConfigError, DatabaseUrl, Loaded, Sources, reference};

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
        self.load_for(false)
    }

    /// The same; `is_elsewhere`: without the files that it names, which are on another machine.
    fn load_for(&self, is_elsewhere: bool) -> Result<Loaded, ConfigError> {
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
            is_elsewhere,
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
    /// Reads file, environment and these flags. The registry need not be there.
    pub(crate) fn load(&self) -> Result<Loaded, ConfigError> {
        let (config, data) = (self.config.clone(), self.data.clone());
        let settings = Settings { config, data, listen: None, insecure: false, log_level: None };
        settings.load()
    }

    /// The configuration of a registry that is there: a command beside the server makes none.
    pub(crate) async fn existing(&self, made: Made) -> Result<Existing, Failure> {
        let loaded = self.load()?;
        if rreg_server::has_database(&loaded.config).await? {
            return Ok(Existing { config: loaded.config, made });
        }
        Err(self.absent(&loaded, "database"))
    }

    /// The configuration of a registry whose database may be lost, but not its objects.
    pub(crate) async fn lost(&self) -> Result<Existing, Failure> {
        let loaded = self.load()?;
        let storage = &loaded.config.storage;
        let is_there = storage.backend != Backend::Directory || storage.data.join("objects").is_dir();
        if is_there || rreg_server::has_database(&loaded.config).await? {
            return Ok(Existing { config: loaded.config, made: Made::Content });
        }
        Err(self.absent(&loaded, "object store"))
    }

    fn absent(&self, loaded: &Loaded, what: &str) -> Failure {
        let full = |path: PathBuf| std::path::absolute(&path).unwrap_or(path).display().to_string();
        let (field, place) = match loaded.config.database_url() {
            _ if what != "database" => ("storage.data", full(loaded.config.storage.data.join("objects"))),
            DatabaseUrl::Postgres(_) => ("database.url", "the PostgreSQL database".to_owned()),
            DatabaseUrl::Sqlite(path) if loaded.config.database.url.is_some() => ("database.url", full(path)),
            DatabaseUrl::Sqlite(path) => ("storage.data", full(path)),
        };
        let said = match loaded.origins.get(field) {
            Some(origin) => format!("{field} is from {origin}"),
            None => format!("the default of {field}"),
        };
        let file = self.config.clone().or_else(|| std::env::var_os("RREG_CONFIG").map(PathBuf::from));
        let read = match file {
            Some(file) => format!("the configuration {} was read", file.display()),
            None => "no configuration file was read".to_owned(),
        };
        let why = format!("there is no registry here: no {what} at {place} ({said}; {read})");
        Failure::new(Exit::Config, why).hint(
            "name the configuration of the server with --config FILE or RREG_CONFIG, or its directory with --data DIR; \
             `rreg serve` makes a new registry, and `rreg init` does before its first start",
        )
    }
}

/// The configuration of a registry that is there. What root makes in its directories is their owner's in the end.
#[derive(Debug)]
pub(crate) struct Existing {
    config: Settled,
    made: Made,
}

impl Existing {
    /// For a registry that is being made.
    pub(super) fn new(config: Settled) -> Self {
        Self { config, made: Made::Rows }
    }
}

impl Deref for Existing {
    type Target = Settled;

    fn deref(&self) -> &Settled {
        &self.config
    }
}

impl Drop for Existing {
    fn drop(&mut self) {
        if let Err(error) = rreg_server::keep_owner(&self.config, self.made) {
            warning(&format!("what was made here could not be given to the owner of the directory: {error}"));
        }
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
    /// Check the configuration, the files that it names, and who may read the registry's files
    Check {
        /// Make the registry's files and directories private where others may read them
        #[arg(long)]
        fix: bool,
        /// The configuration is for another machine: do not open the files that it names
        #[arg(long)]
        elsewhere: bool,
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
            Self::Check { fix, elsewhere, settings } => check(output, settings, *fix, *elsewhere),
            Self::Reference => output.result(&serde_json::json!({"reference": reference()}), reference),
        }
    }
}

fn check(output: &Output, settings: &Settings, fix: bool, elsewhere: bool) -> Result<Exit, Failure> {
    let config = settings.load_for(elsewhere)?.config;
    if !elsewhere && let Err(error) = rreg_server::check_files(&config) {
        let failure = Failure::new(Exit::Config, format!("`rreg serve` would not start here: {error}"));
        return Err(failure.hint("--elsewhere leaves out the files, for a configuration of another machine"));
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
