//! `kill -9` of real servers that reclaim without patience, under seeded random clients and a failing object store.
//!
//! What a tag holds, by indexes and subjects too, must be there byte for byte after each round; what nothing holds may
//! go at any time and, at the end, must be gone. Then the database is lost, rebuilt from the store, and compared again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::{AnyConnection, Connection as _, Row as _};

use super::client::Client;
use super::kill::clients;
use super::random::{Random, rounds, seed};
use super::target::Http;
use super::verify;
use crate::harness::{Backend, Registry, s3};

const CLIENTS: usize = 6;

/// Reviews are due long before the next round; a reader has a second.
const HASTE: &[(&str, &str)] = &[
    ("RREG_RECLAIM__BLOBS_AFTER", "300ms"),
    ("RREG_RECLAIM__UNTAGGED_AFTER", "300ms"),
    ("RREG_RECLAIM__PERIOD", "100ms"),
    ("RREG_UPLOADS__RECLAIM_GRACE", "1s"),
    ("RREG_LOG__LEVEL", "error"),
];

/// What must not be there once everything had its time.
const LEFT_OVER: [&str; 5] = [
    "SELECT COUNT(*) FROM repository_blobs rb WHERE NOT EXISTS (SELECT 1 FROM manifest_blobs mb \
     WHERE mb.repository_id = rb.repository_id AND mb.blob_id = rb.blob_id)",
    "SELECT COUNT(*) FROM blobs b WHERE NOT EXISTS (SELECT 1 FROM repository_blobs rb WHERE rb.blob_id = b.id)",
    "SELECT COUNT(*) FROM manifests m WHERE NOT EXISTS (SELECT 1 FROM tags t WHERE t.manifest_id = m.id) \
     AND NOT EXISTS (SELECT 1 FROM manifest_children mc WHERE mc.child_id = m.id) AND NOT EXISTS \
     (SELECT 1 FROM manifests s WHERE s.repository_id = m.repository_id AND s.digest = m.subject)",
    // Objects that good copies have replaced stay for an hour, whatever is set.
    "SELECT COUNT(*) FROM reclaim WHERE due_at <= $1",
    "SELECT COUNT(*) FROM unrecorded",
];

struct Fleet {
    servers: Vec<Registry>,
    clients: Vec<Client<Http>>,
    random: Random,
}

impl Fleet {
    async fn start(backend: Backend, replicas: usize, seed: u64) -> Option<Self> {
        let mut random = Random::new(seed);
        let mut servers = vec![Registry::start_with(backend, HASTE).await?];
        while servers.len() < replicas {
            let replica = servers[0].replica();
            servers.push(replica);
        }
        let target = Http::new(servers[0].address().parse().unwrap());
        let mut clients = clients(&target, &mut random, CLIENTS);
        clients.iter_mut().for_each(|client| client.repository.reclaims = true);
        Some(Self { servers, clients, random })
    }

    fn disturb(&mut self, seed: Option<u64>) {
        if let Some(bucket) = self.servers[0].bucket() {
            s3::disturb(bucket, seed);
        }
    }

    /// Clients work on all servers; one of those is killed, a while later the clients of the others stop.
    async fn round(&mut self) {
        let seed = self.random.next();
        self.disturb(Some(seed));
        let stops: Vec<Arc<AtomicBool>> = self.servers.iter().map(|_| Arc::default()).collect();
        let running: Vec<_> = std::mem::take(&mut self.clients)
            .into_iter()
            .enumerate()
            .map(|(n, mut client)| {
                let at = n % self.servers.len();
                client.stop = stops[at].clone();
                client.target = Http::new(self.servers[at].address().parse().unwrap());
                tokio::spawn(async move {
                    client.run(usize::MAX).await;
                    client
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(300 + self.random.below(1200) as u64)).await;
        let victim = self.random.below(self.servers.len());
        stops[victim].store(true, Ordering::SeqCst);
        self.servers[victim].kill();
        tokio::time::sleep(Duration::from_millis(self.random.below(300) as u64)).await;
        stops.iter().for_each(|stop| stop.store(true, Ordering::SeqCst));
        for client in running {
            let mut client = client.await.unwrap();
            client.repository.forget_empty_uploads();
            self.clients.push(client);
        }
        self.disturb(None);
        self.servers[victim].resume();
        self.verify().await;
    }

    async fn verify(&mut self) {
        let target = Http::new(self.servers[0].address().parse().unwrap());
        self.clients.iter_mut().for_each(|client| client.target = target.clone());
        verify::all(&mut self.clients).await;
    }

    /// Whatever killed workers had claimed is free again, as it would be in a minute.
    async fn free_leases(&self) -> AnyConnection {
        sqlx::any::install_default_drivers();
        let mut rows = AnyConnection::connect(&self.servers[0].database_url()).await.unwrap();
        for table in ["reviews", "unrecorded"] {
            let sql = format!("UPDATE {table} SET leased_until = 0");
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut rows).await.unwrap();
        }
        rows
    }

    async fn nothing_is_left_over(&mut self) {
        let mut rows = self.free_leases().await;
        let mut left = Vec::new();
        // Ten minutes: a busy machine is slow, and a row that stays stays for ever.
        for _ in 0..6000 {
            left.clear();
            for sql in LEFT_OVER {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
                let mut query = sqlx::query(sql);
                if sql.contains("$1") {
                    query = query.bind(i64::try_from(now).unwrap());
                }
                left.push(query.fetch_one(&mut rows).await.unwrap().get::<i64, _>(0));
            }
            if left == [0; 5] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(left, [0; 5], "rows that nothing holds stay");
        rows.close().await.unwrap();
        self.verify().await;
    }

    /// Crashes leave objects without rows, and nothing else that is wrong; those go when asked for.
    fn nothing_is_damaged(&mut self) {
        for server in &mut self.servers {
            server.stop();
        }
        let server = &self.servers[0];
        let (found, _) = server.rreg_json(&["fsck", "--deep", "--extra-after", "0s", "--reclaim-extra"]);
        let findings = found["findings"].as_array().unwrap();
        assert!(findings.iter().all(|finding| finding["damage"] == "extra"), "{found}");
        assert_eq!(server.rreg_json(&["gc", "run"]).1, 0);
        let (found, code) = server.rreg_json(&["fsck", "--deep", "--extra-after", "0s"]);
        assert_eq!(code, 0, "{found}");
    }

    async fn the_database_comes_back(&mut self) {
        let first = &mut self.servers[0];
        first.lose_database();
        let (rebuilt, code) = first.rreg_json(&["fsck", "--rebuild", "--deep"]);
        assert_eq!(code, 0, "{rebuilt}");
        first.resume();
        for client in &mut self.clients {
            client.repository.uploads.iter_mut().for_each(|upload| upload.may_be_gone = true);
        }
        self.verify().await;
    }
}

async fn reclaims(backend: Backend, replicas: usize) {
    let seed = seed(replicas as u64);
    let Some(mut fleet) = Fleet::start(backend, replicas, seed).await else { return };
    let all = rounds(4);
    for round in 1..=all {
        fleet.round().await;
        let steps: u64 = fleet.clients.iter().map(|client| client.steps).sum();
        eprintln!("{backend:?}, {replicas} replicas, seed {seed}: round {round} of {all}, {steps} steps");
    }
    fleet.nothing_is_left_over().await;
    fleet.nothing_is_damaged();
    fleet.the_database_comes_back().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_survives_kill_dash_nine_sqlite() {
    reclaims(Backend::SqliteDirectory, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_survives_kill_dash_nine_postgres_s3() {
    reclaims(Backend::PostgresS3, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_survives_kill_dash_nine_two_replicas() {
    reclaims(Backend::PostgresS3, 2).await;
}
