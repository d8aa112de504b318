//! `rreg inspect IMAGE`

use std::collections::BTreeMap;

use clap::Args;
use futures_util::{StreamExt as _, stream};
use rreg_oci::{Descriptor, Digest, Manifest, ManifestKind, Reference, RepositoryName, names_rootfs};
use rreg_runtime::RegistryClient;
use rreg_runtime::transfer::{Origin, Platform};
use serde::Serialize;
use serde_json::Value;

use crate::connect::Connect;
use crate::exit::{Exit, Failure};
use crate::named::ImageName;
use crate::output::Output;
use crate::text::{NAME, fields, paint, plain, size, table};

/// Longest configuration read, in bytes.
const MAX_CONFIG: u64 = 8 << 20;
/// Images of an index that are looked at, and how many at once.
const MAX_CHILDREN: usize = 64;
const TOGETHER: usize = 8;

#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// host[:port]/repository[:tag][@digest]
    #[arg(value_name = "IMAGE")]
    image: ImageName,
    /// Print the manifest's bytes as they are and nothing else
    #[arg(long)]
    raw: bool,
    /// Show one image of an index, os/architecture[/variant]
    #[arg(long)]
    platform: Option<Platform>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Serialize)]
struct Inspected {
    image: String,
    descriptor: Descriptor,
    artifact_type: Option<String>,
    subject: Option<Descriptor>,
    /// All that is read to run it, in bytes: configurations and layers, each once, and the manifests of an index.
    total_size: u64,
    /// The same of each image of an index, by digest, as far as they could be read.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sizes: BTreeMap<Digest, u64>,
    manifest: Value,
    config: Option<Value>,
    referrers: usize,
}

impl Inspect {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, Failure> {
        let client = self.connect.evidence_client(&self.image.host)?;
        let repository = &self.image.repository;
        let fetched = client.fetch_manifest(repository, &self.image.reference()).await?;
        let fetched = match &self.platform {
            Some(platform) => {
                let origin = Origin::Registry { client: client.clone(), repository: repository.clone() };
                origin.select_platform(fetched, platform).await?
            }
            None => fetched,
        };
        if self.raw {
            return output.raw(&fetched.bytes);
        }
        let digest = fetched.descriptor.digest;
        let bad = |e: String| Failure::new(Exit::Refused, format!("{}: manifest {digest}: {e}", self.image));
        let parsed = fetched.parse().map_err(|e| bad(e.to_string()))?;
        let (total_size, sizes) = sizes(&client, repository, &parsed).await;
        let value = Inspected {
            image: self.image.to_string(),
            referrers: client.referrers(repository, &digest, None).await?.len(),
            config: self.config(&client, &parsed).await?,
            artifact_type: parsed.artifact_type.clone(),
            subject: parsed.subject.clone(),
            total_size,
            sizes,
            manifest: serde_json::from_slice(&fetched.bytes).map_err(|e| bad(e.to_string()))?,
            descriptor: fetched.descriptor,
        };
        output.result(&value, || human(&value, &parsed))
    }

    /// The configuration of what runtimes take for an image. That of an artifact may be anything and is not shown.
    async fn config(&self, client: &RegistryClient, manifest: &Manifest) -> Result<Option<Value>, Failure> {
        let is_image = manifest.is_image();
        let may_be = |config: &&Descriptor| match is_image {
            Some(is_image) => is_image,
            None => config.size <= MAX_CONFIG,
        };
        let Some(config) = manifest.config.as_ref().filter(may_be) else { return Ok(None) };
        let bytes = client.fetch_blob(&self.image.repository, config, MAX_CONFIG).await?;
        if is_image.is_none() && !names_rootfs(&bytes).unwrap_or(false) {
            return Ok(None);
        }
        let wrong =
            |e| Failure::new(Exit::Refused, format!("the configuration {} is not JSON: {e}", config.digest));
        serde_json::from_slice(&bytes).map(Some).map_err(wrong)
    }
}

/// Bytes of everything in an image, and of the images of an index one by one. What cannot be read is left out.
async fn sizes(
    client: &RegistryClient,
    repository: &RepositoryName,
    manifest: &Manifest,
) -> (u64, BTreeMap<Digest, u64>) {
    let mut parts: BTreeMap<Digest, u64> = parts(manifest).collect();
    let reading = manifest.member_manifests().take(MAX_CHILDREN).map(|child| async move {
        let fetched = client.fetch_manifest(repository, &Reference::Digest(child.digest)).await.ok()?;
        Some((child, fetched.parse().ok()?))
    });
    let children: Vec<_> = stream::iter(reading).buffered(TOGETHER).collect().await;
    let mut sizes = BTreeMap::new();
    for (child, found) in children.into_iter().flatten() {
        let own: BTreeMap<Digest, u64> = self::parts(&found).collect();
        sizes.insert(child.digest, sum(&own));
        parts.extend(own);
    }
    (sum(&parts), sizes)
}

fn sum(parts: &BTreeMap<Digest, u64>) -> u64 {
    parts.values().copied().fold(0, u64::saturating_add)
}

fn parts(manifest: &Manifest) -> impl Iterator<Item = (Digest, u64)> {
    let parts = manifest.config.iter().chain(&manifest.layers).chain(&manifest.manifests);
    parts.map(|part| (part.digest, part.size))
}

fn human(value: &Inspected, manifest: &Manifest) -> String {
    let mut lines = vec![
        ("image", value.image.clone()),
        ("digest", paint(NAME, value.descriptor.digest)),
        ("type", plain(&value.descriptor.media_type)),
        ("size", format!("{} (manifest {})", size(value.total_size), size(value.descriptor.size))),
    ];
    if let Some(kind) = &value.artifact_type {
        lines.push(("artifact", plain(kind)));
    }
    if let Some(subject) = &value.subject {
        lines.push(("subject", paint(NAME, subject.digest)));
    }
    if let Some(config) = &value.config {
        lines.extend(facts(config));
    }
    lines.push(("referrers", value.referrers.to_string()));
    let annotations = manifest.annotations.iter();
    lines.extend(annotations.map(|(k, v)| ("annotation", format!("{}={}", plain(k), plain(v)))));
    let mut text = fields(&lines);
    text.push('\n');
    text.push_str(&match manifest.kind {
        ManifestKind::Index => {
            let row = |d: &Descriptor| {
                let platform = d.platform_text().unwrap_or_else(|| "-".into());
                let bytes = value.sizes.get(&d.digest).map_or_else(|| "-".to_owned(), |bytes| size(*bytes));
                [plain(&platform), d.digest.to_string(), bytes, plain(&d.media_type)]
            };
            table(
                ["PLATFORM", "DIGEST", "SIZE", "TYPE"],
                &manifest.manifests.iter().map(row).collect::<Vec<_>>(),
            )
        }
        ManifestKind::Image => {
            let row = |(what, d): (String, &Descriptor)| {
                [what, d.digest.to_string(), size(d.size), plain(&d.media_type)]
            };
            let config = manifest.config.iter().map(|d| ("config".to_owned(), d));
            let layers = manifest.layers.iter().enumerate().map(|(at, d)| (format!("layer {}", at + 1), d));
            table(["PART", "DIGEST", "SIZE", "TYPE"], &config.chain(layers).map(row).collect::<Vec<_>>())
        }
    });
    text.push_str(&value.config.as_ref().map_or_else(String::new, history));
    text
}

/// How the layers came about, as far as the configuration tells.
fn history(config: &Value) -> String {
    let steps = config["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    if steps.is_empty() {
        return String::new();
    }
    let row = |step: &Value| {
        let text = |field: &str| plain(step[field].as_str().unwrap_or_default());
        let layer = if step["empty_layer"] == true { "" } else { "layer" };
        let by: String = text("created_by").split_whitespace().collect::<Vec<_>>().join(" ");
        let by = if by.is_empty() { text("comment") } else { by };
        [text("created"), layer.to_owned(), by]
    };
    format!("\n{}", table(["CREATED", "MAKES", "BY"], &steps.iter().map(row).collect::<Vec<_>>()))
}

/// What a person wants to know of an image's configuration.
fn facts(config: &Value) -> Vec<(&'static str, String)> {
    let text = |value: &Value| match value {
        Value::String(text) if !text.is_empty() => Some(plain(text)),
        Value::Array(items) if !items.is_empty() => {
            Some(items.iter().filter_map(Value::as_str).map(plain).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) if !map.is_empty() => {
            Some(map.keys().map(|key| plain(key)).collect::<Vec<_>>().join(" "))
        }
        _ => None,
    };
    let platform = ["os", "architecture", "variant"].iter().filter_map(|key| text(&config[key]));
    let platform = platform.collect::<Vec<_>>().join("/");
    let run = &config["config"];
    let found = [
        ("platform", Some(platform).filter(|p| !p.is_empty())),
        ("created", text(&config["created"])),
        ("user", text(&run["User"])),
        ("entrypoint", text(&run["Entrypoint"])),
        ("command", text(&run["Cmd"])),
        ("workdir", text(&run["WorkingDir"])),
        ("ports", text(&run["ExposedPorts"])),
    ];
    let lines = found.into_iter().filter_map(|(label, value)| Some((label, value?)));
    let environment = run["Env"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let labels = run["Labels"].as_object().into_iter().flatten();
    let labels =
        labels.filter_map(|(name, value)| Some(format!("{}={}", plain(name), plain(value.as_str()?))));
    lines
        .chain(environment.map(|pair| ("environment", plain(pair))))
        .chain(labels.map(|pair| ("label", pair)))
        .collect()
}
