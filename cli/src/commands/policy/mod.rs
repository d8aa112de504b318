//! `rreg policy …` and `rreg trust …`: policies as files, policies of a registry, and what both say.

mod cases;
mod check;
mod explain;
mod notation;
mod remote;
pub(crate) mod trust;
mod what_if;

use clap::Subcommand;

use crate::exit::{Exit, Failure};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Tell everything that is wrong with policies, with line and column
    Check(check::Check),
    /// Run the test cases (*.test.yaml) that lie beside policies
    Test(cases::Test),
    /// Write the JSON Schema of policies, for editors
    Schema,
    /// Tell why an image is allowed or denied, rule by rule; or which images another policy would decide otherwise
    Explain(explain::Explain),
    /// List the policies of a registry
    #[command(name = "list", visible_alias = "ls")]
    List(remote::List),
    /// Write a policy of a registry to standard output
    #[command(name = "show", visible_alias = "get")]
    Get(remote::Get),
    /// Set a policy of a registry; it replaces the one of its name
    #[command(name = "create", visible_alias = "put")]
    Put(remote::Put),
    /// Remove a policy of a registry
    #[command(name = "delete", visible_alias = "rm")]
    Delete(remote::Delete),
}

impl Policy {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Check(command) => command.run(output),
            Self::Test(command) => command.run(output),
            Self::Schema => schema(output),
            Self::Explain(command) => command.run(output).await,
            Self::List(command) => command.run(output).await,
            Self::Get(command) => command.run(output).await,
            Self::Put(command) => command.run(output).await,
            Self::Delete(command) => command.run(output).await,
        }
    }
}

/// A schema is JSON, whatever the output.
fn schema(output: &Output) -> Result<Exit, Failure> {
    let text = serde_json::to_string_pretty(&rreg_policy::policy_schema());
    let text = text.map_err(|e| Failure::new(Exit::Internal, format!("cannot write the schema: {e}")))?;
    output.raw((text + "\n").as_bytes())
}
