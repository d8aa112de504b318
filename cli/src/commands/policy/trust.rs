//! `rreg trust list|put|delete`: keys, certificates and roots that the policies of a registry name.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Subcommand;
use rreg_oci::{Operation, Tag};
use serde_json::{Value, json};

use super::notation;
use super::remote::{cell, read};
use crate::connect::Connect;
use crate::exit::{Exit, Failure};
use crate::named::Host;
use crate::output::Output;
use crate::text::{table, timestamp};

/// Largest file that is sent, in bytes; registries take no more.
const MAX_FILE: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum Trust {
    /// List the trust material of a registry
    #[command(name = "list", visible_alias = "ls")]
    List {
        /// [http[s]://]host[:port]
        #[arg(value_name = "REGISTRY")]
        host: Host,
        #[command(flatten)]
        connect: Connect,
    },
    /// Set trust material: a public key, root certificates, a trusted_root.json, or a Notation trust policy
    #[command(name = "create", visible_alias = "put")]
    Put {
        /// [http[s]://]host[:port]
        #[arg(value_name = "REGISTRY")]
        host: Host,
        /// What policies call it, such as team-a.pub
        #[arg(value_name = "NAME")]
        name: Tag,
        /// Public, as it is; or notation's directory, with its trust policy and trust stores
        #[arg(value_name = "FILE|DIR")]
        file: PathBuf,
        #[command(flatten)]
        connect: Connect,
    },
    /// Remove trust material that no policy names any more
    #[command(name = "delete", visible_alias = "rm")]
    Delete {
        /// [http[s]://]host[:port]
        #[arg(value_name = "REGISTRY")]
        host: Host,
        /// Which
        #[arg(value_name = "NAME")]
        name: Tag,
        #[command(flatten)]
        connect: Connect,
    },
}

impl Trust {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::List { host, connect } => {
                let answer = connect.client(host)?.own(Operation::TrustList, None).await?;
                let value = read(&answer, host)?;
                output.result(&value, || human(&value))
            }
            Self::Put { host, name, file, connect } => {
                let operation = Operation::TrustPut { trust: name.clone() };
                let document = ("application/octet-stream", material(file)?);
                connect.client(host)?.own(operation, Some(document)).await?;
                output.done(&json!({"put": name.as_str()}), || format!("{host} knows {name}\n"))
            }
            Self::Delete { host, name, connect } => {
                let operation = Operation::TrustDelete { trust: name.clone() };
                connect.client(host)?.own(operation, None).await?;
                output.done(&json!({"removed": name.as_str()}), || format!("removed {name}\n"))
            }
        }
    }
}

fn material(file: &Path) -> Result<Bytes, Failure> {
    if file.is_dir() {
        return notation::document(file);
    }
    let unreadable = |why: String| {
        Failure::new(Exit::Input, format!("the trust material {} cannot be read: {why}", file.display()))
    };
    let size = std::fs::metadata(file).map_err(|e| unreadable(e.to_string()))?.len();
    if size > MAX_FILE {
        return Err(unreadable(format!("it has {size} bytes, more than {MAX_FILE}")));
    }
    let bytes = std::fs::read(file).map_err(|e| unreadable(e.to_string()))?;
    // The registry refuses it too, but it should not even be sent.
    const PRIVATE: &[u8] = b"PRIVATE KEY-----";
    if bytes.windows(PRIVATE.len()).any(|part| part == PRIVATE) {
        let why = format!("{} holds a private key, which is never sent", file.display());
        return Err(Failure::new(Exit::Usage, why).hint("give the public half"));
    }
    Ok(Bytes::from(bytes))
}

fn human(value: &Value) -> String {
    let all = value["trust"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<[String; 5]> = all
        .iter()
        .map(|one| {
            let at = one["changedAt"].as_i64().map_or_else(|| "-".to_owned(), timestamp);
            [cell(one, "name"), cell(one, "digest"), cell(one, "size"), at, cell(one, "changedBy")]
        })
        .collect();
    table(["NAME", "DIGEST", "BYTES", "CHANGED", "BY"], &rows)
}
