//! `rreg sbom IMAGE|DIR|ARCHIVE`

mod layers;
mod table;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use rreg_oci::{Digest, ImageReference, ManifestKind};
use rreg_runtime::client::FetchedManifest;
use rreg_runtime::image::LayoutReader;
use rreg_runtime::transfer::{Origin, Platform};
use rreg_sbom::{Limits, Sbom, Scanner, Subject};

use crate::connect::Connect;
use crate::exit::{Exit, Failure};
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
        let sbom = if path.is_dir() && !path.join("index.json").is_file() {
            tree::scan(path, self.timeout).await?
        } else {
            let image = if path.exists() { self.layout(&path).await? } else { self.remote().await? };
            self.image(image).await?
        };
        self.write(output, &sbom)
    }

    async fn layout(&self, path: &Path) -> Result<Image, Failure> {
        let layout = Arc::new(LayoutReader::open(path).await?);
        let chosen = layout.select(self.name.as_deref())?.clone();
        let root = layout.manifest(&chosen).await?;
        Ok(Image { name: self.source.clone(), origin: Origin::Layout(layout), root })
    }

    async fn remote(&self) -> Result<Image, Failure> {
        let image: ImageReference = self.source.parse().map_err(|e| {
            Failure::new(Exit::Usage, format!("{:?} is neither a path nor an image: {e}", self.source))
        })?;
        let client = self.connect.client(&image.host)?;
        let root = client.fetch_manifest(&image.repository, &image.reference()).await?;
        let origin = Origin::Registry { client, repository: image.repository.clone() };
        Ok(Image { name: image.to_string(), origin, root })
    }

    async fn image(&self, image: Image) -> Result<Sbom, Failure> {
        let manifest = one_platform(&image, self.platform.as_ref()).await?;
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
        let subject = subject(&image.name, &manifest, &config);
        let scanner = layers::scan(&image.origin, &parsed.layers, self.timeout).await?;
        Ok(scanner.finish(subject))
    }

    fn write(&self, output: &Output, sbom: &Sbom) -> Result<Exit, Failure> {
        let failed = |e: rreg_sbom::OutputError| Failure::new(Exit::Internal, e.to_string());
        match self.format {
            Format::Table => output.result(sbom, || table::packages(sbom)),
            Format::Json => json(output, sbom),
            Format::Cyclonedx => json(output, &rreg_sbom::cyclonedx(sbom).map_err(failed)?),
            Format::Spdx => json(output, &rreg_sbom::spdx(sbom).map_err(failed)?),
        }
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

fn subject(name: &str, manifest: &FetchedManifest, config: &[u8]) -> Subject {
    let config: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
    let text = |key: &str| config[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let parts: Vec<String> = ["os", "architecture", "variant"].iter().filter_map(|key| text(key)).collect();
    Subject {
        name: name.to_owned(),
        digest: Some(manifest.descriptor.digest.to_string()),
        platform: Some(parts.join("/")).filter(|platform| platform.contains('/')),
        created: text("created"),
    }
}

fn json(output: &Output, value: &impl serde::Serialize) -> Result<Exit, Failure> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|e| Failure::new(Exit::Internal, format!("cannot write JSON: {e}")))?;
    output.raw((text + "\n").as_bytes())
}
