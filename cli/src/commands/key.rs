//! `rreg key generate [PREFIX]` and `rreg key public KEY`

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use rreg_policy::sign::{SignError, SigningKey};
use rreg_policy::{TrustError, key::PublicKey};
use rreg_server::read_file;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::password::KeyPassword;
use crate::text::{GOOD, NAME, paint};

/// What `rreg key` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key pair: PREFIX.key, encrypted in cosign's form, and PREFIX.pub
    #[command(name = "generate", visible_alias = "create")]
    Generate {
        /// Path of the files without their endings; files that are there are never replaced
        #[arg(value_name = "PREFIX", default_value = "rreg")]
        prefix: PathBuf,
        #[command(flatten)]
        password: KeyPassword,
    },
    /// Print the public half of a private key (PEM)
    Public {
        /// The private key: cosign's form or PKCS #8
        #[arg(value_name = "KEY")]
        key: PathBuf,
        #[command(flatten)]
        password: KeyPassword,
    },
}

impl From<SignError> for Failure {
    fn from(error: SignError) -> Self {
        Self::new(Exit::Input, error.to_string())
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        Self::new(Exit::Input, error.to_string())
    }
}

impl Key {
    pub(crate) fn run(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Generate { prefix, password } => generate(output, prefix, *password),
            Self::Public { key, password } => {
                let key = open(key, *password)?;
                let pem = key.public_pem()?;
                let value = json!({"key": key.public().id(), "pem": pem});
                output.result(&value, || pem)
            }
        }
    }
}

/// Reads a private key; asks for its password only where it has one: a key with the empty password needs no words.
pub(super) fn open(path: &Path, password: KeyPassword) -> Result<SigningKey, Failure> {
    let pem = read_file(path, "private key")?;
    let read = |password: &str| SigningKey::from_pem(&pem, Some(password.as_bytes()));
    let given = if SigningKey::is_encrypted(&pem) { password.for_reading()? } else { None };
    let key = match given {
        Some(password) => read(&password),
        None => match read("") {
            Err(SignError::Password) => read(&KeyPassword::ask()?),
            key => key,
        },
    };
    key.map_err(|error| Failure::new(Exit::Input, format!("{}: {error}", path.display())))
}

fn generate(output: &Output, prefix: &Path, password: KeyPassword) -> Result<Exit, Failure> {
    let with = |ending: &str| {
        let mut path = prefix.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path)
    };
    let (private, public) = (with(".key"), with(".pub"));
    if let Some(taken) = [&private, &public].into_iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(Failure::new(Exit::Usage, format!("{} is there already", taken.display()))
            .hint("a key is never replaced; choose another PREFIX or move the file away"));
    }
    let password = password.for_new()?;
    let key = SigningKey::generate()?;
    write(&private, 0o600, &key.to_encrypted_pem(password.as_bytes())?)?;
    let published = key.public_pem().map_err(Failure::from).and_then(|pem| write(&public, 0o644, &pem));
    if let Err(failure) = published {
        // Half a pair is of no use, and nothing was signed with it yet.
        let _ = std::fs::remove_file(&private);
        return Err(failure);
    }
    let id: &PublicKey = key.public();
    let value = json!({"key": id.id(), "private": private, "public": public});
    output.result(&value, || {
        format!(
            "{} {} (keep it secret) and {}\n     the key {}\n",
            paint(GOOD, "made"),
            private.display(),
            public.display(),
            paint(NAME, id.id())
        )
    })
}

/// Writes a new file, whole and on the disk, or leaves none.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    let failed =
        |e: std::io::Error| Failure::new(Exit::Input, format!("cannot write {}: {e}", path.display()));
    let mut file: File =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| {
        // Only what was made here a moment ago.
        let _ = std::fs::remove_file(path);
        failed(e)
    })
}
