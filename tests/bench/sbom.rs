//! `rreg sbom` beside syft: `cargo bench -p rreg --bench sbom`.
//!
//! Both read the same image layout on disk, in turns, and write their own JSON; time is from start to end of the
//! process, memory the most it had resident. The image is made of this machine's own files: its packages, its
//! programs, its Node, Python and Java libraries. `RREG_BENCH_SYFT=PATH` names the syft; only ratios of one run mean
//! something.
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::env;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use rreg_oci::{Digest, media_type};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

/// Layers, bottom first: what there is of these goes in.
const LAYERS: [&[&str]; 3] = [
    &["etc/os-release", "var/lib/dpkg", "usr/bin", "usr/lib/python3"],
    &["usr/lib/node_modules", "usr/share/nodejs", "usr/share/java", "usr/share/maven-repo"],
    &["usr/local/go/bin", "usr/local/bin", "usr/local/lib", "opt"],
];
/// Most bytes of one layer, uncompressed: the image is to be of a usual size.
const LAYER_BYTES: u64 = 512 << 20;
const ROUNDS: usize = 5;
/// Goals, against syft in the same run.
const FASTER: f64 = 5.0;
const SMALLER: f64 = 5.0;

/// One run.
struct Sample {
    time: Duration,
    /// Bytes.
    peak: u64,
}

fn main() -> Result<(), Failure> {
    if !env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured without --bench: run `cargo bench -p rreg --bench sbom`");
        return Ok(());
    }
    let syft = env::var_os("RREG_BENCH_SYFT").map_or_else(|| "syft".into(), PathBuf::from);
    let directory = tempfile::tempdir_in(env::current_exe()?.parent().ok_or("no build directory")?)?;
    let layout = directory.path().join("layout");
    let compressed = write_layout(&layout)?;
    let (ours, theirs) = (directory.path().join("rreg.json"), directory.path().join("syft.json"));
    let source = format!("oci-dir:{}", layout.display());
    let rreg = |to: &Path| -> Result<Command, Failure> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rreg"));
        command.args(["sbom", "--format", "json"]).arg(&layout).stdout(File::create(to)?);
        Ok(command)
    };
    let peer = |to: &Path| -> Result<Command, Failure> {
        let mut command = Command::new(&syft);
        command.args(["scan", &source, "-q", "-o", "syft-json"]).stdout(File::create(to)?);
        command.env("SYFT_CHECK_FOR_APP_UPDATE", "false");
        Ok(command)
    };
    // Once each, unmeasured: the image comes into the page cache.
    measure(rreg(&ours)?)?;
    if let Err(error) = peer(&theirs).and_then(measure) {
        println!("no syft to compare with (RREG_BENCH_SYFT=PATH): {error}");
        return Ok(());
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        a.push(measure(rreg(&ours)?)?);
        b.push(measure(peer(&theirs)?)?);
    }
    let count = |file: &Path, list: &str| -> Result<usize, Failure> {
        let document: Value = serde_json::from_slice(&fs::read(file)?)?;
        Ok(document[list].as_array().map_or(0, Vec::len))
    };
    let (own, other) = (count(&ours, "packages")?, count(&theirs, "artifacts")?);
    println!("image of {} MiB compressed; median of {ROUNDS} runs each, in turns\n", compressed >> 20);
    println!("| | rreg | syft | ratio | goal |\n|---|--:|--:|--:|--:|");
    let seconds = |samples: &[Sample]| median(samples.iter().map(|sample| sample.time.as_secs_f64()));
    let mebibytes = |samples: &[Sample]| median(samples.iter().map(|s| s.peak as f64 / f64::from(1 << 20)));
    let (x, y) = (seconds(&a), seconds(&b));
    println!("| time, s | {x:.2} | {y:.2} | {:.1} | {FASTER} |", y / x);
    let (x, y) = (mebibytes(&a), mebibytes(&b));
    println!("| peak resident memory, MiB | {x:.1} | {y:.1} | {:.1} | {SMALLER} |", y / x);
    println!("| packages | {own} | {other} | | |");
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Runs to the end. The kernel keeps the most memory that a process had; it is read until the process is gone.
fn measure(mut command: Command) -> Result<Sample, Failure> {
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak = kib.and_then(|kib| kib.parse::<u64>().ok()).map_or(peak, |kib| peak.max(kib << 10));
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    match ended.success() {
        true => Ok(Sample { time: started.elapsed(), peak }),
        false => Err(format!("{command:?}: {ended}").into()),
    }
}

/// Writes the image and says how many bytes its layers have, compressed.
fn write_layout(root: &Path) -> Result<u64, Failure> {
    let blobs = root.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let put = |bytes: &[u8]| -> Result<Digest, Failure> {
        let digest = Digest::sha256(bytes);
        File::create(blobs.join(digest.hex()))?.write_all(bytes)?;
        Ok(digest)
    };
    let described = |kind: &str, digest: &Digest, size: usize| json!({"mediaType": kind, "digest": digest.to_string(), "size": size});
    let (mut layers, mut diff_ids, mut total) = (Vec::new(), Vec::new(), 0);
    for paths in LAYERS {
        let tar = layer(paths)?;
        diff_ids.push(Digest::sha256(&tar).to_string());
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&tar)?;
        let bytes = gzip.finish()?;
        total += bytes.len() as u64;
        layers.push(described("application/vnd.oci.image.layer.v1.tar+gzip", &put(&bytes)?, bytes.len()));
    }
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = serde_json::to_vec(&config)?;
    let manifest = serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": described(media_type::OCI_CONFIG, &put(&config)?, config.len()), "layers": layers}))?;
    let image = described(media_type::OCI_MANIFEST, &put(&manifest)?, manifest.len());
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [image]});
    fs::write(root.join("index.json"), serde_json::to_vec(&index)?)?;
    fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(total)
}

fn layer(paths: &[&str]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.follow_symlinks(false);
    let mut waiting: Vec<PathBuf> = paths.iter().rev().map(|path| Path::new("/").join(path)).collect();
    let mut size = 0;
    while let Some(path) = waiting.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() {
            let mut entries: Vec<PathBuf> =
                fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
            entries.sort();
            waiting.extend(entries.into_iter().rev());
        } else if meta.is_file() && size + meta.len() <= LAYER_BYTES {
            size += meta.len();
            builder.append_path_with_name(&path, path.strip_prefix("/").unwrap_or(&path))?;
        } else if path.ends_with("os-release") {
            builder.append_file("etc/os-release", &mut File::open(&path)?)?;
        }
    }
    builder.into_inner()
}
