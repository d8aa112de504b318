//! `rreg rm IMAGE`

use clap::Args;
use rreg_oci::{Digest, Manifest, Reference};
use serde::Serialize;

use crate::connect::Connect;
use crate::exit::{Exit, Failure};
use crate::named::ImageName;
use crate::output::Output;
use crate::text::{GOOD, NAME, paint};

#[derive(Args, Debug)]
pub(crate) struct Rm {
    /// host[:port]/repository:tag removes the tag, host[:port]/repository@digest the manifest and its tags
    #[arg(value_name = "IMAGE")]
    image: ImageName,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Serialize)]
struct Removed {
    image: String,
    removed: &'static str,
    digest: Digest,
}

impl Rm {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let image = &self.image;
        let reference = match (&image.digest, &image.tag) {
            (Some(_), Some(_)) => {
                return Err(Failure::new(Exit::Usage, format!("{image} names a tag and a digest")).hint(
                    "name the tag to remove the tag, or the digest to remove the manifest and all its tags",
                ));
            }
            (None, None) => {
                return Err(Failure::new(Exit::Usage, format!("{image} names neither a tag nor a digest"))
                    .hint("no tag is assumed when something is removed"));
            }
            _ => image.reference(),
        };
        let client = self.connect.client(&image.host)?;
        let fetched = client.fetch_manifest(&image.repository, &reference).await?;
        let digest = fetched.descriptor.digest;
        client.delete_manifest(&image.repository, &reference).await?;
        let removed = match reference {
            Reference::Tag(_) => "tag",
            Reference::Digest(_) => {
                if let Ok(Manifest { subject: Some(subject), .. }) = fetched.parse() {
                    client.withdraw_referrer(&image.repository, &subject.digest, &digest).await?;
                }
                "manifest"
            }
        };
        output.done(&Removed { image: image.to_string(), removed, digest }, || match removed {
            "tag" => {
                format!("{} the tag {image}; {} itself stays\n", paint(GOOD, "removed"), paint(NAME, digest))
            }
            _ => format!("{} the manifest {image} and every tag on it\n", paint(GOOD, "removed")),
        })
    }
}
