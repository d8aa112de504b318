//! `rreg policy list|get|put|delete`: the policies of a registry, over its API. Who may is decided there.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use rreg_oci::{Operation, Tag};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::commands::gate::policies;
use crate::connect::Connect;
use crate::exit::{Exit, Failure};
use crate::named::Host;
use crate::output::Output;
use crate::text::{plain, table};

#[derive(Args, Debug)]
pub(crate) struct List {
    /// [http[s]://]host[:port]
    #[arg(value_name = "REGISTRY")]
    host: Host,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Args, Debug)]
pub(crate) struct Get {
    /// [http[s]://]host[:port]
    #[arg(value_name = "REGISTRY")]
    host: Host,
    /// Which
    #[arg(value_name = "NAME")]
    name: Tag,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Args, Debug)]
pub(crate) struct Put {
    /// [http[s]://]host[:port]
    #[arg(value_name = "REGISTRY")]
    host: Host,
    /// One policy. Keys and roots in it are names of `rreg trust create`, not files
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// [http[s]://]host[:port]
    #[arg(value_name = "REGISTRY")]
    host: Host,
    /// Which
    #[arg(value_name = "NAME")]
    name: Tag,
    #[command(flatten)]
    connect: Connect,
}

/// All that is needed of a policy to send it.
#[derive(Deserialize)]
struct Named {
    name: Tag,
}

impl List {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let answer = self.connect.client(&self.host)?.own(Operation::PolicyList, None).await?;
        let value = read(&answer, &self.host)?;
        output.result(&value, || human(&value))
    }
}

impl Get {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let operation = Operation::PolicyGet { policy: self.name.clone() };
        let answer = self.connect.client(&self.host)?.own(operation, None).await?;
        let value = read(&answer, &self.host)?;
        // The text as it was put, to be changed and put again.
        output.result(&value, || value["document"].as_str().unwrap_or_default().to_owned())
    }
}

impl Put {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let text = policies::text(&self.file)?;
        let named: Named = serde_saphyr::from_str(&text).map_err(|e| {
            let why = format!("{} is not one policy with a name: {e}", self.file.display());
            Failure::new(Exit::Input, why).hint("rreg policy check tells all that is wrong with it")
        })?;
        let policy = named.name;
        let operation = Operation::PolicyPut { policy: policy.clone() };
        let document = ("application/yaml", Bytes::from(text));
        self.connect.client(&self.host)?.own(operation, Some(document)).await?;
        output.done(&json!({"put": policy.as_str()}), || format!("policy {policy} holds at {}\n", self.host))
    }
}

impl Delete {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let operation = Operation::PolicyDelete { policy: self.name.clone() };
        self.connect.client(&self.host)?.own(operation, None).await?;
        let name = &self.name;
        output.done(&json!({"removed": name.as_str()}), || format!("removed policy {name}\n"))
    }
}

/// An answer, which is JSON.
pub(super) fn read(answer: &Bytes, host: &Host) -> Result<Value, Failure> {
    serde_json::from_slice(answer)
        .map_err(|e| Failure::new(Exit::Unreachable, format!("{host} did not answer as rreg does: {e}")))
}

/// A field as a cell of a table: a list is joined.
pub(super) fn cell(value: &Value, field: &str) -> String {
    match &value[field] {
        Value::Null => "-".to_owned(),
        Value::String(text) => plain(text),
        Value::Array(all) if all.is_empty() => "-".to_owned(),
        Value::Array(all) => {
            let parts: Vec<String> =
                all.iter().map(|one| plain(one.as_str().unwrap_or(&one.to_string()))).collect();
            parts.join(" ")
        }
        other => plain(&other.to_string()),
    }
}

fn human(value: &Value) -> String {
    let policies = value["policies"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<[String; 6]> = policies
        .iter()
        .map(|one| ["name", "source", "mode", "at", "repositories", "revision"].map(|field| cell(one, field)))
        .collect();
    let mut text = table(["NAME", "FROM", "MODE", "AT", "REPOSITORIES", "REVISION"], &rows);
    for one in policies {
        let warnings = one["warnings"].as_array().map(Vec::as_slice).unwrap_or_default();
        let name = cell(one, "name");
        let lines = warnings.iter().filter_map(Value::as_str);
        text.extend(lines.map(|warning| format!("warning: {name}: {}\n", plain(warning))));
    }
    match value["undecided"].as_u64() {
        None | Some(0) => text,
        Some(left) => text + &format!("{left} manifests are still to be decided under these policies\n"),
    }
}
