//! Small images, whole as tools make them: policies read the config.

use crate::Failure;
use crate::content::{Blob, digest, manifest};
use crate::http::{self, Client};

/// Bytes of a layer.
const LAYER: usize = 16 << 10;

/// An image in one repository.
pub(super) struct Image {
    pub(super) repository: String,
    blobs: Vec<Blob>,
    manifest: String,
}

/// A config with what policies ask for. `number` makes it another one.
pub(super) fn config(number: u64) -> Blob {
    let bytes = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
        "config": {"User": "1000", "Labels": {
            "org.opencontainers.image.source": "https://github.com/acme/app", "number": number.to_string(),
        }},
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    let bytes = bytes.to_string().into_bytes();
    Blob { digest: digest(&bytes), bytes }
}

impl Image {
    pub(super) fn new(repository: &str, layers: u64) -> Self {
        let mut blobs = vec![config(0)];
        blobs.extend((1..=layers).map(|number| Blob::random(number, LAYER)));
        let manifest = manifest(&blobs[0], &blobs[1..].iter().collect::<Vec<_>>(), repository);
        Self { repository: repository.to_owned(), blobs, manifest }
    }

    pub(super) fn push(&self, client: &mut Client) -> Result<(), Failure> {
        for blob in &self.blobs {
            client.push_blob(&self.repository, &blob.digest, &blob.bytes)?;
        }
        client.push_manifest(&self.path("latest"), &self.manifest)
    }

    fn path(&self, reference: &str) -> String {
        format!("/v2/{}/manifests/{reference}", self.repository)
    }

    pub(super) fn by_tag(&self) -> String {
        self.path("latest")
    }

    pub(super) fn by_digest(&self) -> String {
        self.path(&digest(self.manifest.as_bytes()))
    }

    /// `repository@digest`.
    pub(super) fn name(&self) -> String {
        format!("{}@{}", self.repository, digest(self.manifest.as_bytes()))
    }

    /// Pulls all of it over a connection of its own. One that is refused ends with its manifest.
    pub(super) fn pull(&self, address: std::net::SocketAddr, refused: bool) -> Result<(), Failure> {
        let mut client = Client::connect(address)?;
        if refused {
            return client.send("GET", &self.by_tag(), http::ACCEPT, &[], &[403]);
        }
        client.discard(&self.by_tag())?;
        self.blobs.iter().try_for_each(|blob| {
            client.discard(&format!("/v2/{}/blobs/{}", self.repository, blob.digest)).map(drop)
        })
    }
}
