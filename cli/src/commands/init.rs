//! `rreg init`: an empty registry, for who sets one up before the server's first start.

use clap::Args;
use rreg_server::config::DatabaseUrl;
use serde_json::json;

use super::config::{Existing, Place};
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Arguments of `rreg init`.
#[derive(Args, Debug)]
pub(crate) struct Init {
    #[command(flatten)]
    place: Place,
}

impl Init {
    /// Does nothing where a database is there already.
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let config = self.place.load()?.config;
        let is_new = !rreg_server::has_database(&config).await?;
        let config = Existing::new(config);
        if is_new {
            rreg_server::create_database(&config).await?;
        }
        let place = match config.database_url() {
            DatabaseUrl::Postgres(_) => "the PostgreSQL database of database.url".to_owned(),
            DatabaseUrl::Sqlite(path) => std::path::absolute(&path).unwrap_or(path).display().to_string(),
        };
        output.done(&json!({"database": place, "created": is_new}), || {
            if is_new { format!("made {place}\n") } else { format!("{place} is there already\n") }
        })
    }
}
