//! Two replicas behind a service, one of which stops.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a `Service` is: new connections go to one endpoint after the other, and those that are there stay where they are.
struct Service {
    address: String,
    endpoints: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Service {
    async fn start(endpoints: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("localhost:{}", listener.local_addr().unwrap().port());
        let endpoints = Arc::new(Mutex::new(endpoints));
        let shared = endpoints.clone();
        tokio::spawn(async move {
            let next = AtomicUsize::new(0);
            loop {
                let Ok((mut client, _)) = listener.accept().await else { continue };
                let endpoint = {
                    let endpoints = shared.lock().unwrap();
                    endpoints[next.fetch_add(1, Ordering::Relaxed) % endpoints.len()]
                };
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(endpoint).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, endpoints }
    }

    fn set(&self, endpoints: &[SocketAddr]) {
        *self.endpoints.lock().unwrap() = endpoints.to_vec();
    }
}

/// The end of a pod as `rreg.yaml` has it: it is taken out of the service, goes on answering (`preStop`), and ends. The API
/// server has connections to it all that time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_that_stops_refuses_no_pod() {
    let Some(cluster) = Kubernetes::start() else { return };
    let secret = [("RREG_POLICY__ADMISSION_PATH_SECRET", SECRET)];
    let Some(mut judge) = Judge::start(Backend::PostgresS3, &secret).await else { return };
    let (first, second) = (listening(&judge.address), format!("127.0.0.1:{}", free()));
    judge.registry.set("RREG_POLICY__ADMISSION_LISTEN", &second);
    let mut other = judge.registry.replica();
    judge.registry.set("RREG_POLICY__ADMISSION_LISTEN", &first);
    let (first, second): (SocketAddr, SocketAddr) = (first.parse().unwrap(), second.parse().unwrap());
    let service = Service::start(vec![first, second]).await;
    cluster.ask(&webhooks(&service.address, Some(SECRET), judge.policies.home()));
    let (stop, made, image) = (AtomicBool::new(false), AtomicUsize::new(0), named("free/app"));
    let refused = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let worker = |which: usize| {
                let (cluster, stop, made, image) = (&cluster, &stop, &made, &image);
                move || {
                    let mut refused = Vec::new();
                    for n in 0.. {
                        if stop.load(Ordering::SeqCst) {
                            break;
                        }
                        let pod = pod_of(&format!("p-{which}-{n}"), image);
                        let (done, said) = cluster.kubectl(&["create", "-f", "-"], &pod);
                        made.fetch_add(1, Ordering::SeqCst);
                        if !done {
                            refused.push(said);
                        }
                    }
                    refused
                }
            };
            let workers: Vec<_> = (0..3).map(|which| scope.spawn(worker(which))).collect();
            let pause = |seconds| std::thread::sleep(Duration::from_secs(seconds));
            pause(2);
            service.set(&[second]);
            pause(1);
            assert!(judge.registry.stop().success());
            pause(1);
            judge.registry.resume();
            service.set(&[first, second]);
            pause(2);
            service.set(&[first]);
            pause(1);
            assert!(other.stop().success());
            pause(2);
            stop.store(true, Ordering::SeqCst);
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
        })
    });
    let made = made.load(Ordering::SeqCst);
    assert!(refused.is_empty() && made > 10, "{} of {made}: {refused:?}", refused.len());
}
