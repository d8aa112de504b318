//! `rreg can USER OPERATION REPOSITORY`

use clap::Args;
use rreg_auth::{Action, Caller};
use rreg_oci::{Operation, RepositoryName};
use serde_json::json;

use super::accounts::{Accounts, principal, unknown};
use super::config::Place;
use crate::exit::{Exit, Failure};
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct Can {
    /// User or robot, or "anonymous"
    user: String,
    /// pull, push or delete, or an operation's name such as manifest_put
    operation: String,
    /// Repository
    repository: String,
    #[command(flatten)]
    place: Place,
}

impl Can {
    /// Exit code 77 says no.
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let action = Action::named(&self.operation).ok_or_else(|| {
            let known = Operation::NAMES.join(", ");
            Failure::new(Exit::Usage, format!("{:?} is no operation", self.operation))
                .hint(format!("pull, push, delete, or one of {known}"))
        })?;
        let repository: RepositoryName = self
            .repository
            .parse()
            .map_err(|e| Failure::new(Exit::Usage, format!("{:?} is no repository: {e}", self.repository)))?;
        let accounts = Accounts::open(&self.place).await?;
        let caller = if self.user == "anonymous" {
            Caller::anonymous()
        } else {
            let name = principal(&self.user)?;
            let found = rreg_server::caller_of(&accounts.metadata, &accounts.htpasswd, &name).await?;
            found.ok_or_else(|| unknown("user or robot", name.as_str()))?
        };
        let judged = rreg_server::access(&accounts.config).judge(&caller, action, Some(&repository));
        accounts.metadata.close().await;
        let (allowed, why) = match &judged {
            Ok(rule) => (true, rule.to_string()),
            Err(denied) => (false, denied.to_string()),
        };
        let rule = judged.as_ref().map_or_else(|denied| denied.rule().to_owned(), ToString::to_string);
        let value = json!({"allowed": allowed, "rule": rule, "why": why});
        output.result(&value, || format!("{}: {why}\n", if allowed { "yes" } else { "no" }))?;
        Ok(if allowed { Exit::Ok } else { Exit::Denied })
    }
}
