//! `kill -9` at random moments of everything that changes the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::client::Client;
use super::model::{self, Repository};
use super::random::{Random, rounds, seed};
use super::server::Server;
use super::target::Http;
use super::verify;

const CLIENTS: usize = 6;

pub(super) fn clients<T: super::target::Target>(
    target: &T,
    random: &mut Random,
    count: usize,
) -> Vec<Client<T>> {
    let contents = Arc::new(model::contents(random));
    let names: Arc<Vec<String>> = Arc::new((0..count).map(|n| format!("durability/client{n}")).collect());
    let client = |name: &String| Client {
        target: target.clone(),
        random: Random::new(random.next()),
        contents: contents.clone(),
        names: names.clone(),
        repository: Repository { name: name.clone(), ..Repository::default() },
        steps: 0,
        stop: Arc::new(AtomicBool::new(false)),
    };
    names.iter().map(client).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_dash_nine_loses_nothing() {
    let mut random = Random::new(seed(1));
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    let mut clients = clients(&Http::new(server.address), &mut random, CLIENTS);
    for round in 0..rounds(8) {
        let stop = Arc::new(AtomicBool::new(false));
        let running: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                client.stop = stop.clone();
                tokio::spawn(async move {
                    client.run(usize::MAX).await;
                    client
                })
            })
            .collect();
        let life = 20 + random.below(700) as u64;
        eprintln!("round {round}: killed after {life} ms");
        tokio::time::sleep(Duration::from_millis(life)).await;
        let log = server.log();
        assert!(!log.contains("ERROR"), "{log}");
        // Only then may a client see an answer lost; it stops at the next step.
        stop.store(true, Ordering::SeqCst);
        server.kill();
        clients = Vec::new();
        for client in running {
            let mut client = client.await.unwrap();
            client.repository.forget_empty_uploads();
            clients.push(client);
        }
        server = Server::start(data.path(), &[]);
        let target = Http::new(server.address);
        clients.iter_mut().for_each(|client| client.target = target.clone());
        verify::all(&mut clients).await;
    }
}
