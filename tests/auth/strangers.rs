//! What one stranger does takes nothing from others.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::http::basic;
use crate::harness::image::Image;
use crate::harness::{Backend, Registry};

use super::{PASSWORD, Team};

/// A connection on which `head` was sent.
fn begun(address: &str, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// The first line of what comes on a connection.
fn answer(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut bytes = Vec::new();
    let mut piece = [0; 256];
    while !bytes.contains(&b'\n') {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    }
    String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_guesses_passwords_stops_nobody_else() {
    let Some(team) = Team::start(Backend::SqliteDirectory, &[]).await else { return };
    let address = team.0.address().to_owned();
    // So many that each honest login finds all of them waiting.
    let guess = |n: usize| {
        let credentials = basic("reader", &format!("guess {n}"));
        format!("GET /v2/ HTTP/1.1\r\nhost: x\r\nauthorization: {credentials}\r\n\r\n")
    };
    let guesses: Vec<_> = (0..100).map(|n| begun(&address, &guess(n))).collect();
    for _ in 0..5 {
        // Another account, and the one that is guessed at.
        for name in ["writer", "reader"] {
            let api = team.0.api();
            api.get("/v2/").header("authorization", &basic(name, PASSWORD)).expect(200).await;
        }
    }
    drop(guesses);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_trickle_stop_no_push_and_no_review() {
    let settings = [
        ("RREG_SERVER__MAX_CONCURRENT_UPLOADS", "8"),
        ("RREG_SERVER__BODY_IDLE_TIMEOUT", "2s"),
        ("RREG_POLICY__OPEN_ADMISSION", "true"),
    ];
    let Some(team) = Team::start(Backend::SqliteDirectory, &settings).await else { return };
    let (address, api) = (team.0.address().to_owned(), team.0.api());
    let writer = basic("writer", PASSWORD);
    let mut trickles = Vec::new();
    for _ in 0..8 {
        let start = api.post("/v2/team/app/blobs/uploads/").header("authorization", &writer);
        let place = start.expect(202).await.location();
        let head = format!(
            "PATCH {place} HTTP/1.1\r\nhost: x\r\nauthorization: {writer}\r\ncontent-type: application/octet-stream\r\n\
             content-length: 1000000\r\n\r\nx"
        );
        trickles.push(begun(&address, &head));
    }
    // Another writer's push and a cluster's review have places.
    let image = Image::layered("other/app", 1);
    let stranger = basic("stranger", PASSWORD);
    for blob in &image.blobs {
        let start = api.post("/v2/other/app/blobs/uploads/").header("authorization", &stranger);
        let place = crate::harness::http::commit(&start.expect(202).await.location(), &blob.digest);
        let put = api.put(place, blob.bytes.clone()).octets();
        put.header("authorization", &stranger).expect(201).await;
    }
    let put = api.put_manifest("other/app", "v1", image.root());
    put.header("authorization", &stranger).expect(201).await;
    let review = serde_json::json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "DELETE"},
    });
    api.post("/admission/v1/validate").body(review.to_string()).expect(200).await;
    // A byte now and then is no progress: they are ended. One that was refused at once is ended too.
    let sending = std::thread::spawn(move || {
        while !trickles.is_empty() {
            trickles.retain_mut(|trickle| {
                trickle.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
                let mut piece = [0; 64];
                trickle.write_all(b"x").is_ok() && trickle.read(&mut piece).is_err()
            });
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    sending.join().unwrap();
}

/// Manifests are held in memory until they are whole: those of one account that never end leave room for others'.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_that_never_end_leave_room() {
    let Some(team) = Team::start(Backend::SqliteDirectory, &[]).await else { return };
    let address = team.0.address().to_owned();
    let (writer, stranger) = (basic("writer", PASSWORD), basic("stranger", PASSWORD));
    let size = 4 << 20;
    let piece = vec![b' '; size - 1];
    let held: Vec<TcpStream> = (0..24)
        .map(|n| {
            let head = format!(
                "PUT /v2/team/app/manifests/v{n} HTTP/1.1\r\nhost: x\r\nauthorization: {writer}\r\n\
                 content-type: application/vnd.oci.image.manifest.v1+json\r\ncontent-length: {size}\r\n\r\n"
            );
            let mut stream = begun(&address, &head);
            stream.write_all(&piece).unwrap();
            stream
        })
        .collect();
    // Another account's has room, whatever becomes of it.
    let large = Image::artifact("other/app", "application/vnd.example")
        .edited(|manifest| manifest["annotations"] = serde_json::json!({"a": "x".repeat(200_000)}));
    let api = team.0.api();
    let put = api.put_manifest("other/app", "v1", large.root()).header("authorization", &stranger);
    assert_ne!(put.send().await.status, 429);
    let mut refused = 0;
    for mut stream in held {
        stream.write_all(b" ").unwrap();
        let found = answer(stream);
        assert!(found.contains(" 400 ") || found.contains(" 429 "), "{found}");
        refused += usize::from(found.contains(" 429 "));
    }
    assert!(refused > 0, "all were held at once");
}

/// Reviews whose bodies do not come take no places of those that have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_that_never_arrive_stop_no_others() {
    let settings = [("RREG_POLICY__OPEN_ADMISSION", "true"), ("RREG_POLICY__TIMEOUT", "30s")];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let address = registry.address().to_owned();
    let head = "POST /admission/v1/validate HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\n{";
    let slow: Vec<TcpStream> = (0..600).map(|_| begun(&address, head)).collect();
    let review = serde_json::json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "DELETE"},
    })
    .to_string();
    let from = std::net::IpAddr::from([127, 0, 0, 2]);
    let client =
        reqwest::Client::builder().no_proxy().tls_certs_only([]).local_address(from).build().unwrap();
    let post = client.post(format!("http://{address}/admission/v1/validate")).body(review);
    // Far less than the time for a review: nobody was waited for.
    let asked = tokio::time::timeout(Duration::from_secs(20), post.send()).await;
    assert_eq!(asked.expect("it waited").unwrap().status().as_u16(), 200);
    drop(slow);
}

/// Whoever makes an object chooses how large its review is: it is refused, and no failure that a webhook may ignore.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_too_large_to_be_judged_is_refused() {
    let settings = [("RREG_POLICY__OPEN_ADMISSION", "true")];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let review = format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"705a-b","object":"{}"}}}}"#,
        "\\u003c".repeat(1_430_000)
    );
    let (api, expected) = (registry.api(), [("validate", false), ("mutate", true)]);
    for (question, allowed) in expected {
        let post = api.post(format!("/admission/v1/{question}")).body(review.clone());
        let answer = post.expect(200).await.json();
        assert_eq!(
            (&answer["response"]["uid"], &answer["response"]["allowed"]),
            (&"705a-b".into(), &allowed.into())
        );
    }
}

/// What is too long is refused, never cut and taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_is_cut() {
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &[]).await else { return };
    let api = registry.api();
    let long = vec![b'x'; (1 << 20) + 1];
    for path in ["trust/roots", "policies/a", "what-if"] {
        let target = format!("/v2/_rreg/{path}");
        let call = if path.ends_with("what-if") {
            api.post(target).body(vec![b' '; 2 << 20])
        } else {
            api.put(target, long.clone())
        };
        call.expect(413).await;
    }
    let trust = api.get("/v2/_rreg/trust").expect(200).await.json();
    assert_eq!(trust["trust"], serde_json::json!([]));
    // As many as there may be, and no more.
    let key = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n";
    let large = format!("{key}{}", "#".repeat(1_000_000));
    let mut codes = Vec::new();
    for n in 0..40 {
        codes.push(api.put(format!("/v2/_rreg/trust/t{n}"), large.clone()).send().await.status);
    }
    assert!(
        codes[..30].iter().all(|code| *code == 201) && codes[35..].iter().all(|code| *code == 413),
        "{codes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_is_no_denial_and_a_stranger_pushes_out_no_others_denials() {
    let Some(team) = Team::start(Backend::SqliteDirectory, &[]).await else { return };
    let api = team.0.api();
    let denials = || {
        let trail = team.rreg(&["audit", "--last", "5000"]);
        let events = trail["events"].as_array().unwrap().clone();
        events.into_iter().filter(|event| event["outcome"] != "allowed").collect::<Vec<_>>()
    };
    for n in 0..300 {
        api.get(format!("/v2/team/app/manifests/v{n}")).expect(401).await;
        api.get("/v2/_catalog").expect(401).await;
    }
    assert!(denials().is_empty(), "a first request without credentials is how clients find out");
    // Somebody who is known and may not is a denial.
    let call = api.get("/v2/team/app/manifests/v1").header("authorization", &basic("stranger", PASSWORD));
    call.expect(403).await;
    assert_eq!(denials().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_ask_for_nothing_make_room() {
    let settings = [("RREG_SERVER__MAX_CONNECTIONS", "20"), ("RREG_SERVER__HEADER_TIMEOUT", "1h")];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let address = registry.address().to_owned();
    let half: Vec<_> = (0..70)
        .map(|n| begun(&address, if n % 2 == 0 { "" } else { "GET /healthz HTTP/1.1\r\nhost:" }))
        .collect();
    for path in ["/healthz", "/readyz", "/v2/"] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        assert_eq!(answer(begun(&address, &head)), "HTTP/1.1 200 OK", "{path}");
    }
    drop(half);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_upload_holds_up_no_restart_and_can_go_on() {
    let settings = [("RREG_SERVER__SHUTDOWN_TIMEOUT", "9s")];
    let Some(mut registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let (address, api, repository) = (registry.address().to_owned(), registry.api(), registry.repository());
    let place = api.post(format!("/v2/{repository}/blobs/uploads/")).expect(202).await.location();
    let head = format!(
        "PATCH {place} HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\ncontent-length: 100\r\n\r\nhello"
    );
    let slow = begun(&address, &head);
    // Until its bytes have arrived: from then on it is in work.
    let metrics = async || String::from_utf8_lossy(&api.get("/metrics").expect(200).await.body).into_owned();
    while !metrics().await.contains("rreg_uploads_in_progress 1") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stopping = std::thread::spawn(move || {
        registry.stop();
        registry
    });
    // While it is waited for, others are served: it is not ready, and it answers.
    let head = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    while !answer(begun(&address, &head("/readyz"))).contains("503") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(answer(begun(&address, &head("/v2/"))), "HTTP/1.1 200 OK");
    let mut registry = stopping.join().unwrap();
    drop(slow);
    registry.resume();
    let at = registry.api().get(place).expect(204).await;
    assert_eq!(at.header("range"), "0-4", "what had arrived is kept");
}
