//! Where an issuer's keys are: in a file, or where its discovery document says (OpenID Connect Discovery 1.0, section 4).

use std::path::PathBuf;
use std::time::Duration;

use rreg_auth::IssuerKeys;
use rreg_client::DocumentClient;
use serde::Deserialize;
use url::Url;

use crate::config;

/// Largest document. GitHub's key set has 4 KiB, GitLab's 1 KiB.
const MAX_DOCUMENT: u64 = 256 << 10;
/// How long a document may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) enum Source {
    File(PathBuf),
    Discovery { issuer: String, document: Url, client: Box<DocumentClient> },
}

/// The members of a discovery document that count here.
#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

impl Source {
    pub(super) fn new(config: &config::Oidc) -> Result<Self, String> {
        if let Some(path) = &config.jwks_file {
            return Ok(Self::File(path.clone()));
        }
        let issuer = config.issuer.clone().unwrap_or_default();
        let place = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document = Url::parse(&place).map_err(|e| format!("auth.oidc: {place:?} is no address: {e}"))?;
        let client = DocumentClient::new(&document, config.ca_file.clone(), PATIENCE);
        let client = client.map_err(|why| format!("auth.oidc: issuer {issuer}: {why}"))?;
        Ok(Self::Discovery { issuer, document, client: Box::new(client) })
    }

    /// The keys, as they are now.
    pub(super) async fn read(&self) -> Result<IssuerKeys, String> {
        let (place, text) = match self {
            Self::File(path) => (path.display().to_string(), read_file(path.clone()).await),
            Self::Discovery { issuer, document, client } => {
                let place = discover(issuer, document, client).await?;
                (place.to_string(), client.get(&place, MAX_DOCUMENT).await.map(Vec::from))
            }
        };
        let keys = text.and_then(|text| IssuerKeys::parse(&text).map_err(str::to_owned));
        let keys = keys.map_err(|why| format!("key set {place}: {why}"))?;
        if keys.is_empty() { Err(format!("key set {place}: has no key that can be used")) } else { Ok(keys) }
    }
}

async fn discover(issuer: &str, document: &Url, client: &DocumentClient) -> Result<Url, String> {
    let text = client.get(document, MAX_DOCUMENT).await.map_err(|why| format!("{document}: {why}"))?;
    let found: Discovered =
        serde_json::from_slice(&text).map_err(|_| format!("{document}: has no issuer and jwks_uri"))?;
    // Section 4.3: what is found has to be about who was asked for.
    if found.issuer != issuer {
        return Err(format!("{document}: is about another issuer, {:?}", found.issuer));
    }
    Url::parse(&found.jwks_uri).map_err(|e| format!("{document}: jwks_uri is no address: {e}"))
}

async fn read_file(path: PathBuf) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let read = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        std::fs::File::open(path).and_then(|file| file.take(MAX_DOCUMENT + 1).read_to_end(&mut text))?;
        Ok(text)
    });
    let text = read.await.map_err(|e| e.to_string())?.map_err(|e: std::io::Error| e.to_string())?;
    if text.len() as u64 > MAX_DOCUMENT {
        Err(format!("is larger than {MAX_DOCUMENT} bytes"))
    } else {
        Ok(text)
    }
}
