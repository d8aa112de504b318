//! `rreg sign IMAGE --key FILE`, and what it shares with `rreg attest`: attaching a bundle to an image.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use rreg_oci::{Descriptor, Digest, media_type};
use rreg_policy::COSIGN_SIGN;
use rreg_policy::sign::{BUNDLE_V03, SigningKey, bundle_manifest, image_bundle};
use rreg_runtime::client::FetchedManifest;
use serde::Serialize;

use super::key;
use crate::connect::Connect;
use crate::content::RemoteContent;
use crate::exit::{Exit, Failure};
use crate::named::ImageName;
use crate::output::Output;
use crate::password::KeyPassword;
use crate::text::{GOOD, NAME, paint};

#[derive(Args, Debug)]
pub(crate) struct Sign {
    /// host[:port]/repository[:tag][@digest]; of an index, the signature covers every platform
    #[arg(value_name = "IMAGE")]
    image: ImageName,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    connect: Connect,
}

/// Who signs.
#[derive(Args, Clone, Debug)]
pub(super) struct By {
    /// The private key: cosign's form or PKCS #8
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    password: KeyPassword,
}

impl By {
    /// The key. Opening an encrypted one takes a moment, on purpose.
    pub(super) async fn open(&self) -> Result<SigningKey, Failure> {
        let by = self.clone();
        let work = tokio::task::spawn_blocking(move || key::open(&by.key, by.password));
        work.await.map_err(|e| Failure::new(Exit::Internal, format!("reading the key broke off: {e}")))?
    }
}

/// What was attached to what, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Signed<'a> {
    image: &'a str,
    /// What was signed.
    digest: Digest,
    /// The manifest that carries the signature.
    referrer: Digest,
    key: Digest,
    predicate_type: &'a str,
}

impl Sign {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let key = self.by.open().await?;
        let (content, root) = RemoteContent::open(&self.connect, &self.image).await?;
        let bundle = image_bundle(&key, &root.descriptor.digest)?;
        let referrer = attach(&content, &root.descriptor, bundle, COSIGN_SIGN).await?;
        said(output, "signed", &self.image, (&root.descriptor.digest, &referrer), &key, COSIGN_SIGN)
    }
}

/// Pushes a bundle and the manifest that attaches it.
pub(super) async fn attach(
    content: &RemoteContent,
    subject: &Descriptor,
    bundle: Vec<u8>,
    predicate_type: &str,
) -> Result<Digest, Failure> {
    let manifest = bundle_manifest(&bundle, subject, predicate_type, chrono::Utc::now())?;
    let blobs = [(media_type::OCI_EMPTY, Bytes::from_static(b"{}")), (BUNDLE_V03, Bytes::from(bundle))];
    for (kind, bytes) in blobs {
        let blob = Descriptor::new(kind, Digest::sha256(&bytes), bytes.len() as u64);
        if !content.client.blob_exists(&content.repository, &blob.digest).await? {
            content.client.push_blob(&content.repository, &blob, &bytes, None).await?;
        }
    }
    let manifest = FetchedManifest::new(media_type::OCI_MANIFEST, manifest.into());
    content.client.push_manifest(&content.repository, &manifest, &[]).await?;
    Ok(manifest.descriptor.digest)
}

/// Says what was signed: the digest, since a tag may move the next moment.
pub(super) fn said(
    output: &Output,
    done: &str,
    image: &ImageName,
    digests: (&Digest, &Digest),
    key: &SigningKey,
    predicate_type: &str,
) -> Result<Exit, Failure> {
    let (digest, referrer) = (*digests.0, *digests.1);
    let (name, key) = (image.to_string(), key.public().id());
    output.done(&Signed { image: &name, digest, referrer, key, predicate_type }, || {
        let by_tag = match image.digest {
            Some(_) => String::new(),
            None => format!("\n       which is {name} now"),
        };
        format!(
            "{} {}/{}@{}{by_tag}\n       by the key {key}\n       in {referrer}\n",
            paint(GOOD, done),
            image.host,
            image.repository,
            paint(NAME, digest),
        )
    })
}
