//! Flags about reaching registries, and clients made from them.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rreg_runtime::client::Keychain;
use rreg_runtime::{ClientOptions, RegistryClient};

use crate::exit::Failure;
use crate::named::{Host, ImageName};

/// How to reach the registry. `rreg login` keeps credentials; they come from $REGISTRY_AUTH_FILE, or podman's auth.json and Docker's
/// config.json with their credential helpers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connect {
    /// Use http, also where the host is not this machine; `http://` or `https://` before a host decides for that one
    #[arg(long)]
    plain_http: bool,
    /// Trust these certificate authorities too (PEM)
    #[arg(long, value_name = "FILE", env = "RREG_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Accept any certificate: whoever is on the way can read and change everything
    #[arg(long)]
    insecure_skip_tls_verify: bool,
    /// Credentials may go to a token service on this host, which is not the registry's own; several by repeating
    #[arg(long, value_name = "HOST", env = "RREG_TOKEN_REALM", value_delimiter = ',')]
    token_realm: Vec<String>,
}

impl Connect {
    /// A client of one registry.
    pub(crate) fn client(&self, host: &Host) -> Result<RegistryClient, Failure> {
        self.make(host, false)
    }

    /// A client for whoever signs or judges ([`ClientOptions::evidence`]).
    pub(crate) fn evidence_client(&self, host: &Host) -> Result<RegistryClient, Failure> {
        self.make(host, true)
    }

    /// A client of one registry with these credentials.
    pub(crate) fn client_with(&self, host: &Host, keychain: Keychain) -> Result<RegistryClient, Failure> {
        let options = ClientOptions { keychain: Arc::new(keychain), ..self.options(false) };
        Ok(RegistryClient::new(&host.url(), &options)?)
    }

    fn make(&self, host: &Host, evidence: bool) -> Result<RegistryClient, Failure> {
        Ok(RegistryClient::new(&host.url(), &self.options(evidence))?)
    }

    fn options(&self, evidence: bool) -> ClientOptions {
        ClientOptions {
            evidence,
            on_warning: Some(crate::output::warned_by),
            plain_http: self.plain_http,
            ca_file: self.ca_file.clone(),
            insecure_skip_tls_verify: self.insecure_skip_tls_verify,
            token_realms: self.token_realm.clone(),
            keychain: Arc::new(Keychain::from_environment()),
            ..ClientOptions::default()
        }
    }

    /// Clients of two images' registries; one client when it is the same, so that tokens are shared.
    pub(crate) fn two(
        &self,
        a: &ImageName,
        b: &ImageName,
    ) -> Result<(RegistryClient, RegistryClient), Failure> {
        let first = self.client(&a.host)?;
        let second = if a.host == b.host { first.clone() } else { self.client(&b.host)? };
        Ok((first, second))
    }
}
