//! Stored bytes that change behind the server's back are never served as good, are counted and quarantined, and are
//! healed by pushing them again.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use reqwest::{Client, Response};
use rreg_oci::Digest;
use sqlx::{AnyConnection, Connection as _};
use tempfile::TempDir;

use super::random::Random;
use super::server::Server;

const REPOSITORY: &str = "durability/damage";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A server with some content.
struct Place {
    data: TempDir,
    server: Server,
    client: Client,
}

impl Place {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(data.path(), &[]);
        Self { data, server, client: Client::builder().no_proxy().build().unwrap() }
    }

    fn restart(self) -> Self {
        self.server.kill();
        Self { server: Server::start(self.data.path(), &[]), ..self }
    }

    fn url(&self, path: &str) -> String {
        self.server.url(&format!("/v2/{REPOSITORY}/{path}"))
    }

    /// Pushes `chunks` as one blob, each its own object.
    async fn push(&self, chunks: &[Bytes]) -> Digest {
        let digest = Digest::sha256(&chunks.concat());
        let answer = self.client.post(self.url("blobs/uploads/")).send().await.unwrap();
        let location = self.server.url(answer.headers()["location"].to_str().unwrap());
        for chunk in chunks {
            let answer = self.client.patch(&location).body(chunk.clone()).send().await.unwrap();
            assert_eq!(answer.status(), 202);
        }
        let answer = self.client.put(format!("{location}?digest={digest}")).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        digest
    }

    async fn get(&self, digest: &Digest) -> Response {
        self.client.get(self.url(&format!("blobs/{digest}"))).send().await.unwrap()
    }

    /// The body of a whole download; `None` when it broke or was refused.
    async fn whole(&self, digest: &Digest) -> Option<Bytes> {
        let answer = self.get(digest).await;
        if answer.status() != 200 {
            assert_quarantined(answer).await;
            return None;
        }
        answer.bytes().await.ok()
    }

    async fn range(&self, digest: &Digest, range: &str) -> Response {
        self.client.get(self.url(&format!("blobs/{digest}"))).header("range", range).send().await.unwrap()
    }

    async fn head(&self, path: &str) -> u16 {
        self.client.head(self.url(path)).send().await.unwrap().status().as_u16()
    }

    async fn failures(&self) -> u64 {
        let text = self.client.get(self.server.url("/metrics")).send().await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("rreg_integrity_failures_total "));
        line.unwrap().parse().unwrap()
    }

    /// The quarantine is written in the background.
    async fn await_quarantine(&self, digest: &Digest) {
        for _ in 0..500 {
            let answer = self.get(digest).await;
            if answer.status() == 404 {
                return assert_quarantined(answer).await;
            }
            // Whatever it is, it must not be a whole body.
            assert!(answer.bytes().await.is_err());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{digest} is not quarantined");
    }

    /// After all of that: gone until pushed again, then whole.
    async fn heals(&self, digest: &Digest, chunks: &[Bytes]) {
        self.await_quarantine(digest).await;
        assert_eq!(self.head(&format!("blobs/{digest}")).await, 404);
        assert_quarantined(self.range(digest, "bytes=0-1").await).await;
        assert!(self.failures().await > 0);
        let again = self.push(chunks).await;
        assert_eq!(again, *digest);
        assert_eq!(self.whole(digest).await.unwrap(), Bytes::from(chunks.concat()));
        assert_eq!(self.head(&format!("blobs/{digest}")).await, 200);
        let part = self.range(digest, "bytes=1-2").await;
        assert_eq!((part.status().as_u16(), part.bytes().await.unwrap().len()), (206, 2));
        assert!(self.server.log().contains("damaged"), "damage must be logged");
    }
}

async fn assert_quarantined(answer: Response) {
    assert_eq!(answer.status(), 404);
    let error: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let error = &error["errors"][0];
    assert!(["BLOB_UNKNOWN", "MANIFEST_UNKNOWN"].contains(&error["code"].as_str().unwrap()), "{error}");
    assert_eq!(error["detail"]["quarantined"], true, "{error}");
}

/// The files below `directory` of exactly `length` bytes.
fn objects(directory: &Path, length: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(objects(&path, length));
        } else if path.metadata().unwrap().len() == length as u64 {
            found.push(path);
        }
    }
    found
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    Flipped,
    Truncated,
    Emptied,
    Longer,
    Missing,
}

fn damage(path: &Path, how: Damage, random: &mut Random) {
    let mut bytes = std::fs::read(path).unwrap();
    match how {
        Damage::Flipped => {
            let place = random.below(bytes.len());
            bytes[place] ^= 1 << random.below(8);
        }
        Damage::Truncated => bytes.truncate(bytes.len() - 1),
        Damage::Emptied => bytes.clear(),
        Damage::Longer => bytes.push(0),
        Damage::Missing => return std::fs::remove_file(path).unwrap(),
    }
    std::fs::write(path, bytes).unwrap();
}

const ALL: [Damage; 5] =
    [Damage::Flipped, Damage::Truncated, Damage::Emptied, Damage::Longer, Damage::Missing];

/// Objects of three lengths that nothing else has.
fn segments(random: &mut Random) -> Vec<Bytes> {
    [2_500_001, 40_003, 1_100_005].map(|length| random.bytes(length).into()).to_vec()
}

/// `read_before`: the objects were found good once, and damage comes later.
async fn objects_are_never_served_damaged(read_before: bool) {
    let mut random = Random::new(7);
    for how in ALL {
        for segment in 0..3 {
            eprintln!("{how:?} object {segment}, read before: {read_before}");
            let mut place = Place::new();
            let chunks = segments(&mut random);
            let digest = place.push(&chunks).await;
            if read_before {
                assert!(place.whole(&digest).await.is_some());
            }
            let files = objects(place.data.path(), chunks[segment].len());
            damage(&files[0], how, &mut random);
            if !read_before {
                place = place.restart();
            }
            match segment {
                // A whole download finds it,
                0 => assert_eq!(place.whole(&digest).await, None),
                // or one of a part, even a part that is not damaged itself,
                1 => assert_quarantined(place.range(&digest, "bytes=5-9").await).await,
                // or HEAD, as far as lengths tell.
                _ if how == Damage::Flipped => assert_eq!(place.whole(&digest).await, None),
                _ => assert_eq!(place.head(&format!("blobs/{digest}")).await, 404),
            }
            place.heals(&digest, &chunks).await;
            place.server.check_log();
        }
    }
}

#[tokio::test]
async fn damaged_objects_after_a_restart() {
    objects_are_never_served_damaged(false).await;
}

#[tokio::test]
async fn damaged_objects_after_good_reads() {
    objects_are_never_served_damaged(true).await;
}

/// Changes rows of a stopped server's database.
async fn sql(data: &Path, statement: &'static str) {
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}", data.join("rreg.db").display());
    let mut connection = AnyConnection::connect(&url).await.unwrap();
    let done = sqlx::query(statement).execute(&mut connection).await.unwrap();
    assert!(done.rows_affected() > 0, "{statement}");
    connection.close().await.unwrap();
}

#[tokio::test]
async fn damaged_small_blobs() {
    let flipped = "UPDATE blobs SET content = CAST(replace(content, 'small', 'smell') AS BLOB)";
    let truncated = "UPDATE blobs SET content = CAST(substr(content, 1, 10) AS BLOB)";
    for statement in [flipped, truncated] {
        for how in ["get", "head", "range", "push"] {
            let place = Place::new();
            let chunks = [Bytes::from_static(b"a small blob that lives in the database")];
            let digest = place.push(&chunks).await;
            let Place { data, server, client } = place;
            server.kill();
            sql(data.path(), statement).await;
            let place = Place { server: Server::start(data.path(), &[]), data, client };
            match how {
                "get" => assert_eq!(place.whole(&digest).await, None),
                "head" => assert_eq!(place.head(&format!("blobs/{digest}")).await, 404),
                "range" => assert_quarantined(place.range(&digest, "bytes=0-3").await).await,
                // A push heals it even if nobody has noticed.
                _ => {
                    place.push(&chunks).await;
                    assert_eq!(place.whole(&digest).await.unwrap(), chunks[0]);
                    continue;
                }
            }
            assert_eq!(place.failures().await, 1);
            place.heals(&digest, &chunks).await;
        }
    }
}

#[tokio::test]
async fn damaged_manifests() {
    let place = Place::new();
    let config = place.push(&[Bytes::from_static(b"{}")]).await;
    let descriptor = serde_json::json!({"mediaType": "application/json", "digest": config, "size": 2});
    let body =
        serde_json::json!({"schemaVersion": 2, "mediaType": IMAGE, "config": descriptor, "layers": []});
    let body = Bytes::from(body.to_string());
    let digest = Digest::sha256(&body);
    let push = async |place: &Place| {
        let request = place.client.put(place.url("manifests/tag")).header("content-type", IMAGE);
        assert_eq!(request.body(body.clone()).send().await.unwrap().status(), 201);
    };
    push(&place).await;
    let Place { data, server, client } = place;
    server.kill();
    sql(data.path(), "UPDATE manifests SET body = CAST(replace(body, 'layers', 'lasers') AS BLOB)").await;
    let place = Place { server: Server::start(data.path(), &[]), data, client };
    for reference in ["tag".to_owned(), digest.to_string()] {
        let path = format!("manifests/{reference}");
        assert_eq!(place.head(&path).await, 404);
        assert_quarantined(place.client.get(place.url(&path)).send().await.unwrap()).await;
    }
    assert_eq!(place.failures().await, 4);
    push(&place).await;
    let answer = place.client.get(place.url("manifests/tag")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.bytes().await.unwrap()), (200, body.clone()));
}
