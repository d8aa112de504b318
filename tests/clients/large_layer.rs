//! A layer of 2 GiB and a little, made while it is sent and hashed while it comes back: neither side may hold it
//! in memory, and no length may pass through 32 bits.

use bytes::Bytes;
use futures_util::StreamExt as _;
use rreg_oci::{Algorithm, Hasher};

use crate::harness::http::{blob, commit};
use crate::harness::image::noise;
use crate::harness::{Backend, Registry};

const PIECE: usize = 1 << 20;
const PIECES: usize = 2048;
/// Past 2^31, where a signed 32-bit length breaks.
const LENGTH: u64 = (PIECE * PIECES) as u64 + 5;

/// Zeros as in a sparse file, with an end that is not.
fn pieces() -> impl Iterator<Item = Bytes> {
    let zeros = Bytes::from(vec![0; PIECE]);
    std::iter::repeat_n(zeros, PIECES).chain([Bytes::from(noise("end of the layer", 5))])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gibibytes() {
    let Some(registry) = Registry::start(Backend::SqliteDirectory).await else { return };
    let (api, repository) = (registry.api(), registry.repository());
    let mut hasher = Hasher::new(Algorithm::Sha256);
    pieces().for_each(|piece| hasher.update(&piece));
    let digest = hasher.finish();
    let location = api.open_upload(&repository).await;
    let answer = api.patch(location, "").octets().stream(pieces()).expect(202).await;
    assert_eq!(answer.header("range"), format!("0-{}", LENGTH - 1));
    api.put(commit(&answer.location(), &digest), "").expect(201).await;
    let head = api.head(blob(&repository, &digest)).expect(200).await;
    assert_eq!(head.header("content-length"), LENGTH.to_string());
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut length = 0;
    let mut body = std::pin::pin!(api.open(&blob(&repository, &digest)).await);
    while let Some(piece) = body.next().await {
        let piece = piece.unwrap();
        length += piece.len() as u64;
        hasher.update(&piece);
    }
    assert_eq!((length, hasher.finish()), (LENGTH, digest));
    let range = format!("bytes={}-", LENGTH - 5);
    let end = api.get(blob(&repository, &digest)).header("range", &range).expect(206).await;
    assert_eq!(end.body, noise("end of the layer", 5));
    if let Some(peak) = registry.peak_memory() {
        assert!(peak < 512 << 20, "the registry had {peak} bytes resident");
    }
}
