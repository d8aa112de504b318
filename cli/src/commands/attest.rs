//! `rreg attest IMAGE --key FILE --predicate FILE --type TYPE`

use std::path::PathBuf;

use clap::Args;
use rreg_policy::COSIGN_SIGN;
use rreg_policy::sign::attest_bundle;
use rreg_server::read_file;
use serde_json::value::RawValue;

use super::sign::{By, attach, said};
use crate::connect::Connect;
use crate::content::RemoteContent;
use crate::exit::{Exit, Failure};
use crate::named::ImageName;
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct Attest {
    /// host[:port]/repository[:tag][@digest]
    #[arg(value_name = "IMAGE")]
    image: ImageName,
    /// What is attested, as JSON
    #[arg(long, value_name = "FILE")]
    predicate: PathBuf,
    /// slsaprovenance (v0.2), slsaprovenance1, spdx, cyclonedx, vuln, openvex, link, custom, or a URI
    #[arg(long = "type", value_name = "TYPE", value_parser = predicate_type)]
    kind: String,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    connect: Connect,
}

pub(super) use rreg_policy::predicate_type;

impl Attest {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        if self.kind == COSIGN_SIGN {
            return Err(Failure::new(Exit::Usage, "this type says that an image is signed")
                .hint("`rreg sign` makes a signature"));
        }
        let predicate = self.predicate()?;
        let key = self.by.open().await?;
        let (content, root) = RemoteContent::open(&self.connect, &self.image).await?;
        let bundle = attest_bundle(&key, &root.descriptor.digest, &self.kind, &predicate)?;
        let referrer = attach(&content, &root.descriptor, bundle, &self.kind).await?;
        said(output, "attested", &self.image, (&root.descriptor.digest, &referrer), &key, &self.kind)
    }

    /// The predicate as it was written; that it is JSON, and not nested past what readers take, is checked.
    fn predicate(&self) -> Result<Box<RawValue>, Failure> {
        let bytes = read_file(&self.predicate, "predicate")?;
        let wrong = |e: &dyn std::fmt::Display| {
            Failure::new(Exit::Input, format!("the predicate {} is not JSON: {e}", self.predicate.display()))
        };
        serde_json::from_slice::<serde_json::Value>(&bytes).map_err(|e| wrong(&e))?;
        let text = String::from_utf8(bytes).map_err(|e| wrong(&e))?;
        RawValue::from_string(text).map_err(|e| wrong(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_names_or_uris() {
        assert_eq!(predicate_type("spdx").as_deref(), Ok("https://spdx.dev/Document"));
        assert_eq!(predicate_type("https://example.org/p").as_deref(), Ok("https://example.org/p"));
        for bad in ["", "spdxx", "https://a b", ":x"] {
            assert!(predicate_type(bad).is_err(), "{bad}");
        }
    }
}
