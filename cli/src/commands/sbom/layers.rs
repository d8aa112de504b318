//! Streams an image's layers, wherever they are, to the scanner.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use rreg_oci::{Descriptor, Digest, Hasher};
use rreg_runtime::client::ByteStream;
use rreg_runtime::transfer::Origin;
use rreg_sbom::FindingKind;
use tokio::runtime::Handle;

use super::{Limits, Scanner};
use crate::exit::{Exit, Failure};

/// Reads all layers, bottom first.
pub(super) async fn scan(origin: &Origin, layers: &[Descriptor], timeout: u64) -> Result<Scanner, Failure> {
    let (origin, layers) = (origin.clone(), layers.to_vec());
    let deadline = Instant::now() + Duration::from_secs(timeout);
    let handle = Handle::current();
    let work = tokio::task::spawn_blocking(move || {
        let mut scanner = Scanner::new(Limits::default());
        for layer in &layers {
            one(&mut scanner, &origin, layer, &handle, deadline)?;
        }
        Ok(scanner)
    });
    work.await.map_err(|e| Failure::new(Exit::Internal, format!("the scan broke off: {e}")))?
}

fn one(
    scanner: &mut Scanner,
    origin: &Origin,
    layer: &Descriptor,
    handle: &Handle,
    deadline: Instant,
) -> Result<(), Failure> {
    let name = Some(layer.digest.to_string());
    if layer.is_external() {
        scanner.skip_layer(name, FindingKind::LayerAbsent, "the layer is not distributed by registries");
        return Ok(());
    }
    if !is_tar(&layer.media_type) {
        let why = format!("a layer of type {} is no file system", layer.media_type);
        scanner.skip_layer(name, FindingKind::LayerUnsupported, &why);
        return Ok(());
    }
    let failed = |e: io::Error| {
        let exit = if e.kind() == io::ErrorKind::TimedOut { Exit::Unreachable } else { Exit::Input };
        Failure::new(exit, format!("layer {}: {e}", layer.digest))
    };
    let source = origin.blob(layer)?;
    let stream = handle.block_on(source.open(0)).map_err(|e| failed(io::Error::other(e.to_string())))?;
    let mut body = Body {
        handle: handle.clone(),
        stream,
        ready: Bytes::new(),
        hasher: Some(Hasher::new(layer.digest.algorithm())),
        deadline,
    };
    scanner.layer(name, &mut body).map_err(failed)?;
    // What the scanner did not need belongs to the digest too.
    io::copy(&mut body, &mut io::sink()).map_err(failed)?;
    match body.digest() {
        Some(found) if found != layer.digest => {
            let why = format!("layer {}: its content is {found}", layer.digest);
            Err(Failure::new(Exit::Refused, why).hint("the image is damaged; fetch or push it again"))
        }
        _ => Ok(()),
    }
}

/// Image layers: OCI's and Docker's tar, whatever their compression.
fn is_tar(media_type: &str) -> bool {
    let oci = media_type.starts_with("application/vnd.oci.image.layer.");
    oci || media_type.starts_with("application/vnd.docker.image.rootfs.diff.tar")
}

/// A stream as a blocking reader, hashed on its way.
struct Body {
    handle: Handle,
    stream: ByteStream,
    ready: Bytes,
    hasher: Option<Hasher>,
    deadline: Instant,
}

impl Body {
    fn digest(&mut self) -> Option<Digest> {
        self.hasher.take().map(Hasher::finish)
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() {
            let left = self.deadline.saturating_duration_since(Instant::now());
            // The deadline counts also for work between two reads.
            let next = self.handle.block_on(async { tokio::time::timeout(left, self.stream.next()).await });
            let late = || io::Error::new(io::ErrorKind::TimedOut, "not read in time (--timeout)");
            match next.map_err(|_| late())? {
                _ if left.is_zero() => return Err(late()),
                None => return Ok(0),
                Some(chunk) => self.ready = chunk.map_err(|e| io::Error::other(e.to_string()))?,
            }
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&self.ready);
            }
        }
        let length = self.ready.len().min(into.len());
        self.ready.copy_to_slice(into.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}
