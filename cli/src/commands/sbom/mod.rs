//! `rreg sbom IMAGE|DIR|ARCHIVE`

mod attached;
mod layers;
mod table;
mod tree;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use rreg_oci::{Digest, ManifestKind};
use rreg_runtime::client::FetchedManifest;
use rreg_runtime::image::LayoutReader;
use rreg_runtime::transfer::{Origin, Platform};
use rreg_sbom::{Limits, Sbom, Scanner, Subject};

use crate::connect::Connect;
use crate::exit::{Exit, Failure};
use crate::named::ImageName;
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct SbomCommand {
    /// An image of a registry (host[:port]/repository[:tag][@digest]), an image layout or archive, or the root
    /// directory of a file system. What exists as a path is a path
    #[arg(value_name = "IMAGE|DIR|ARCHIVE")]
    source: String,
    /// What to write
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Which platform of a multi-platform image, os/architecture[/variant]; this machine's by default
    #[arg(long)]
    platform: Option<Platform>,
    /// Which image of a layout, by its name there; needed when there are several
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Whether to use an SBOM that somebody attached to the image, or to read the image's layers. Signatures of
    /// attached SBOMs are not checked
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    attached: Attached,
    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// CycloneDX 1.6, JSON
    Cyclonedx,
    /// SPDX 2.3, JSON
    Spdx,
    /// Everything rreg knows, in its own form
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Attached {
    /// The attached one where there is one in the format asked for, else the layers
    Auto,
    /// The attached one; fail where there is none
    Only,
    /// The layers
    Never,
}

/// An image, found but not read.
struct Image {
    name: String,
    origin: Origin,
    /// As it is named: perhaps an index.
    root: FetchedManifest,
}

impl SbomCommand {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let path = PathBuf::from(&self.source);
        if path.is_dir() && !path.join("index.json").is_file() {
            if self.attached == Attached::Only {
                return Err(Failure::new(Exit::Usage, "nothing can be attached to a directory tree"));
            }
            return write::scanned(output, self.format, &tree::scan(path, self.timeout).await?);
        }
        let image = if path.exists() { self.layout(&path).await? } else { self.remote().await? };
        let manifest = one_platform(&image, self.platform.as_ref()).await?;
        if self.attached != Attached::Never
            && let Some(exit) = self.use_attached(output, &image, &manifest).await?
        {
            return Ok(exit);
        }
        write::scanned(output, self.format, &self.image(&image, &manifest).await?)
    }

    /// Shows an attached document, if there is one.
    async fn use_attached(
        &self,
        output: &Output,
        image: &Image,
        manifest: &FetchedManifest,
    ) -> Result<Option<Exit>, Failure> {
        let search = attached::find(image, manifest, self.format.documents(), self.timeout).await;
        if let Some(hanging) = &search.found {
            let result = write::AttachedResult {
                image: &image.name,
                digest: manifest.descriptor.digest.to_string(),
                attached: hanging,
                signature: if hanging.attached.signed { "not checked" } else { "unsigned" },
                findings: &search.findings,
            };
            return write::attached(output, self.format, &result).map(Some);
        }
        write::passed_over(&search);
        if self.attached == Attached::Auto {
            return Ok(None);
        }
        let why = format!("{}: no SBOM in this format that can be read is attached", image.name);
        Err(Failure::new(Exit::Refused, why).hint("`--attached never` reads the layers of the image"))
    }

    async fn layout(&self, path: &Path) -> Result<Image, Failure> {
        let layout = Arc::new(LayoutReader::open(path).await?);
        let chosen = layout.select(self.name.as_deref())?.clone();
        let root = layout.manifest(&chosen).await?;
        Ok(Image { name: self.source.clone(), origin: Origin::Layout(layout), root })
    }

    async fn remote(&self) -> Result<Image, Failure> {
        let image: ImageName = self.source.parse().map_err(|e| {
            Failure::new(Exit::Usage, format!("{:?} is neither a path nor an image: {e}", self.source))
        })?;
        let client = self.connect.evidence_client(&image.host)?;
        let root = client.fetch_manifest(&image.repository, &image.reference()).await?;
        let origin = Origin::Registry { client, repository: image.repository.clone() };
        Ok(Image { name: image.to_string(), origin, root })
    }

    async fn image(&self, image: &Image, manifest: &FetchedManifest) -> Result<Sbom, Failure> {
        let parsed = manifest.parse().map_err(|e| {
            Failure::new(Exit::Refused, format!("manifest {}: {e}", manifest.descriptor.digest))
        })?;
        let config = match &parsed.config {
            Some(config) => {
                let bytes = image.origin.small_blob(config).await?;
                // A layout's file is only what its name says if it hashes to it.
                let found = Digest::of(config.digest.algorithm(), &bytes);
                if found != config.digest {
                    let why = format!("configuration {}: its content is {found}", config.digest);
                    return Err(Failure::new(Exit::Refused, why));
                }
                bytes
            }
            None => Vec::new(),
        };
        let digest = manifest.descriptor.digest.to_string();
        let subject = Subject::image(image.name.clone(), digest, &config);
        let scanner = layers::scan(&image.origin, &parsed.layers, self.timeout).await?;
        Ok(scanner.finish(subject))
    }
}

/// The manifest of one platform: the one asked for, or of several this machine's.
async fn one_platform(image: &Image, wanted: Option<&Platform>) -> Result<FetchedManifest, Failure> {
    let root = image.root.clone();
    let kind = root.parse().map(|manifest| manifest.kind);
    match wanted {
        Some(platform) => Ok(image.origin.select_platform(root, platform).await?),
        None if matches!(kind, Ok(ManifestKind::Index)) => {
            let architecture = match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            };
            let here: Platform = format!("linux/{architecture}")
                .parse()
                .map_err(|e: String| Failure::new(Exit::Internal, e))?;
            Ok(image.origin.select_platform(root, &here).await?)
        }
        None => Ok(root),
    }
}
