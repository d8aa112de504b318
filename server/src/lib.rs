//! HTTP in, HTTP out: the registry server.

mod admission;
mod app;
mod auth;
mod body;
mod budget;
pub mod config;
mod error;
mod handlers;
pub mod health;
mod hosts;
mod lately;
pub mod listen;
mod looks;
mod mirror;
mod open;
mod private;
mod revocation;
mod run;
mod sbom;
mod shares;
mod store_client;
pub mod telemetry;
pub mod tls;
mod trust_files;
mod upkeep;

pub use admission::{LoadError, load_directory, policy_files, policy_text};
pub use auth::{access, caller_of};
pub use config::Config;
pub use handlers::tag_rule_view;
pub use open::{
    Opened, create_database, has_database, open, open_metadata, open_to_adopt, open_to_read, open_to_rebuild,
    read_htpasswd,
};
pub use private::{Exposed, Made, exposed, exposed_secrets, keep_owner};
pub use revocation::Revocations;
pub use run::{RunError, check_files, run};
pub use trust_files::{DirectoryTrust, StoreFile, read_file};
