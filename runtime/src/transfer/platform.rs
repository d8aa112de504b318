//! Chooses one platform of a multi-platform image.

use std::fmt;
use std::str::FromStr;

use rreg_oci::{Descriptor, ManifestKind};
use serde::Deserialize;

use super::error::TransferError;
use super::place::Origin;
use crate::client::FetchedManifest;

/// `os/architecture[/variant]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// The platform in an image's configuration (image-spec, config.md).
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let mut parts = s.split('/');
        let part = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
        match (part(parts.next()), part(parts.next()), parts.next(), parts.next()) {
            (Some(os), Some(architecture), variant, None) if variant != Some("") => {
                Ok(Self { os, architecture, variant: variant.map(str::to_owned) })
            }
            _ => Err("a platform is os/architecture[/variant], for example linux/arm64".into()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl Platform {
    /// Without a variant every variant will do; arm64's default variant is v8 (image-index.md).
    fn accepts(&self, found: &Self) -> bool {
        let default = if self.architecture == "arm64" { Some("v8") } else { None };
        let variant_ok = match (self.variant.as_deref(), found.variant.as_deref().or(default)) {
            (None, _) => true,
            (wanted, found) => wanted == found,
        };
        self.os == found.os && self.architecture == found.architecture && variant_ok
    }
}

impl Origin {
    /// The manifest of `platform`: that entry of an index, or the image itself if it is for that platform.
    ///
    /// # Errors
    /// [`TransferError::NoPlatform`] names what there is.
    pub async fn select_platform(
        &self,
        root: FetchedManifest,
        platform: &Platform,
    ) -> Result<FetchedManifest, TransferError> {
        let digest = root.descriptor.digest;
        let manifest = root.parse().map_err(|source| TransferError::Manifest { digest, source })?;
        let wanted = || platform.to_string();
        if manifest.kind == ManifestKind::Image {
            let config = match &manifest.config {
                Some(config) => self.small_blob(config).await?,
                None => Vec::new(),
            };
            let found = serde_json::from_slice::<Config>(&config).ok();
            let found = found.filter(|c| !c.os.is_empty()).map(|c| Platform {
                os: c.os,
                architecture: c.architecture,
                variant: c.variant.filter(|v| !v.is_empty()),
            });
            return match found {
                Some(found) if platform.accepts(&found) => Ok(root),
                found => {
                    let available = vec![found.map_or("no platform".to_owned(), |f| f.to_string())];
                    Err(TransferError::NoPlatform { wanted: wanted(), available })
                }
            };
        }
        let of = |d: &Descriptor| d.platform_text().and_then(|text| text.parse::<Platform>().ok());
        match manifest.manifests.iter().find(|d| of(d).is_some_and(|found| platform.accepts(&found))) {
            Some(entry) => {
                // The entry's own platform and annotations belong to the index.
                let plain = Descriptor::new(entry.media_type.clone(), entry.digest, entry.size);
                self.manifest(&plain).await
            }
            None => {
                let available = manifest.manifests.iter().filter_map(Descriptor::platform_text).collect();
                Err(TransferError::NoPlatform { wanted: wanted(), available })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms() {
        let p = |text: &str| text.parse::<Platform>().unwrap();
        for bad in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/arm/"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
        assert!(p("linux/arm").accepts(&p("linux/arm/v7")));
        assert!(p("linux/arm64/v8").accepts(&p("linux/arm64")));
        assert!(!p("linux/arm/v6").accepts(&p("linux/arm/v7")));
        assert!(!p("linux/arm/v6").accepts(&p("linux/arm")));
        assert!(!p("linux/amd64").accepts(&p("windows/amd64")));
        assert_eq!(p("linux/arm/v6").to_string(), "linux/arm/v6");
    }
}
