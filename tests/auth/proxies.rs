//! Behind a proxy that does TLS: logins go to the address of the clients, and everything that counts clients counts these.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::{PASSWORD, Team};
use crate::admission::listener::authority;
use crate::clients::Home;
use crate::harness::http::{basic, uploads};
use crate::harness::image::{Blob, Image};
use crate::harness::{Backend, Child, Registry, tool, wait_until};

const TRUSTED: (&str, &str) = ("RREG_SERVER__TRUSTED_PROXIES", "127.0.0.1");

/// What the documentation says that nginx needs.
fn documented() -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/README.md")).unwrap();
    let (_, block) = text.split_once("```nginx\n").expect("settings for nginx");
    block.split_once("```").unwrap().0.to_owned()
}

/// nginx with the documented settings and TLS for `localhost`.
fn nginx(home: &Path, upstream: &str) -> (Child, u16) {
    let port = crate::harness::port::free();
    let at = home.display();
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
        .concat();
    let settings = documented();
    let config = format!(
        "daemon off; user root; pid {at}/pid; worker_processes 1; error_log {at}/error.log;
         events {{ worker_connections 64; }}
         http {{
             access_log off;
             {paths}
             server {{
                 listen 127.0.0.1:{port} ssl;
                 ssl_certificate {at}/server.pem; ssl_certificate_key {at}/server.key;
                 location / {{ proxy_pass http://{upstream}; {settings} }}
             }}
         }}"
    );
    fs::write(home.join("nginx.conf"), config).unwrap();
    let mut command = Command::new(tool::find("nginx").unwrap());
    command.arg("-p").arg(home).arg("-c").arg(home.join("nginx.conf")).arg("-e").arg(home.join("error.log"));
    let child =
        Child::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()), Signal::QUIT);
    wait_until("nginx", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    (child, port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_clients_log_in_through_a_real_proxy() {
    let Some(home) = Home::for_programs(&["nginx", "crane", "oras", "regctl"]) else { return };
    let settings = [TRUSTED, ("RREG_SERVER__ABSOLUTE_LOCATIONS", "true")];
    let Some(mut team) = Team::start(Backend::SqliteDirectory, &settings).await else { return };
    authority(&home.path("."));
    let (_proxy, port) = nginx(&home.path("."), team.0.address());
    let host = format!("localhost:{port}");
    let image = Image::layered("proxied", 1);
    home.layout("image", &image);
    let ca = home.path("ca.pem").display().to_string();
    let client = |program: &str, args: &[&str]| {
        let mut command = home.command(program);
        command.args(args).env("SSL_CERT_FILE", &ca).env("RREG_CA_FILE", &ca);
        // What one has kept is found by all.
        command.env_remove("REGISTRY_AUTH_FILE");
        command
    };
    let by_https = format!("https://{host}");
    let login: [(&str, Vec<&str>); 4] = [
        ("crane", vec!["auth", "login", &host, "-u", "writer", "-p", PASSWORD]),
        ("oras", vec!["login", "--plain-http=false", &host, "-u", "writer", "-p", PASSWORD]),
        ("regctl", vec!["registry", "login", &host, "-u", "writer", "-p", PASSWORD]),
        (env!("CARGO_BIN_EXE_rreg"), vec!["whoami", &by_https]),
    ];
    for (program, args) in login {
        tool::run(&mut client(program, &args));
    }
    let (a, b, c) = (format!("{host}/team/a:1"), format!("{host}/team/b:1"), format!("{host}/team/c:1"));
    tool::run(&mut client("crane", &["push", "image", &a]));
    tool::run(&mut client("oras", &["cp", "--from-plain-http=false", "--to-plain-http=false", &a, &b]));
    tool::run(&mut client("regctl", &["image", "copy", &b, &c]));
    tool::run(&mut client(env!("CARGO_BIN_EXE_rreg"), &["push", "image", &format!("https://{c}")]));
    assert_eq!(tool::run(&mut client("crane", &["digest", &c])).trim(), image.root().digest.to_string());
    // Whole addresses lead through the proxy.
    let http = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(&fs::read(home.path("ca.pem")).unwrap()).unwrap()])
        .local_address(std::net::IpAddr::from([127, 0, 0, 7]))
        .build()
        .unwrap();
    let post = http.post(format!("https://{host}{}", uploads("team/a"))).basic_auth("writer", Some(PASSWORD));
    let begun = post.header("content-length", 0).send().await.unwrap();
    let location = begun.headers()["location"].to_str().unwrap();
    assert!(location.starts_with(&format!("https://{host}{}", uploads("team/a"))), "{location}");
    let lie = http.get(format!("https://{host}/v2/")).basic_auth("writer", Some("guess"));
    assert_eq!(lie.header("x-forwarded-for", "203.0.113.66").send().await.unwrap().status(), 401);
    team.0.kill();
    let events = team.rreg(&["audit", "-n", "1000"]).to_string();
    assert!(events.contains("\"127.0.0.7\"") && !events.contains("203.0.113.66"), "{events}");
    let log = fs::read_to_string(team.0.home().join("log")).unwrap();
    assert!(log.contains("127.0.0.7"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_trusted_proxy_says_is_what_counts() {
    let Some(mut team) = Team::start(Backend::SqliteDirectory, &[TRUSTED]).await else { return };
    let api = team.0.api();
    let realm = async |headers: &[(&'static str, &str)]| {
        let mut call = api.get("/v2/").header("host", "registry.example");
        for (name, value) in headers {
            call = call.header(name, value);
        }
        call.send().await
    };
    let told = realm(&[("x-forwarded-proto", "https"), ("x-forwarded-port", "8443")]).await;
    let challenge = told.header("www-authenticate");
    assert!(challenge.starts_with("Bearer realm=\"https://registry.example:8443/v2/token\""), "{challenge}");
    let told = realm(&[("forwarded", "for=\"[2001:db8::1]:4711\";proto=https;host=images.example")]).await;
    let challenge = told.header("www-authenticate");
    assert!(challenge.starts_with("Bearer realm=\"https://images.example/v2/token\""), "{challenge}");
    for (name, unclear) in [
        ("x-forwarded-proto", "https, http"),
        ("x-forwarded-host", "a\",service=\"evil"),
        ("x-forwarded-for", "203.0.113.1, nonsense"),
        ("forwarded", "for=\"203.0.113.1"),
    ] {
        let refused = realm(&[(name, unclear)]).await;
        assert_eq!(
            (refused.status, refused.headers.get("www-authenticate")),
            (400, None),
            "{name}: {unclear}"
        );
    }
    let guess = basic("reader", "guess");
    for list in ["198.51.100.66, 203.0.113.5", "unknown", "2001:db8::7, 127.0.0.1"] {
        api.get("/v2/").header("x-forwarded-for", list).header("authorization", &guess).expect(401).await;
    }
    team.0.kill();
    let events = team.rreg(&["audit", "-n", "1000"]);
    let events = events["events"].as_array().unwrap();
    let failed = events.iter().filter(|event| event["event"] == "login" && event["outcome"] == "failed");
    let mut addresses: Vec<&str> = failed.map(|event| event["address"].as_str().unwrap()).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, ["127.0.0.1", "2001:db8::7", "203.0.113.5"]);
}

/// A proxy's clients share its connections, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_one_proxy_have_shares_of_their_own() {
    let settings = [TRUSTED, ("RREG_SERVER__MAX_CONCURRENT_UPLOADS", "4")];
    let Some(registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    let api = registry.api();
    let mut slow = Vec::new();
    for _ in 0..4 {
        let place = api.open_upload("it/app").await;
        let mut stream = TcpStream::connect(registry.address()).unwrap();
        let head = format!(
            "PATCH {place} HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 203.0.113.1\r\ncontent-type: application/octet-stream\r\n\
             content-length: 1000000\r\n\r\nx"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        slow.push(stream);
    }
    // Three have places; the fourth would take the last one.
    wait_until("a refusal", || {
        slow.iter_mut().any(|stream| {
            let mut answer = [0; 12];
            match stream.read_exact(&mut answer) {
                Ok(()) => answer.ends_with(b"429"),
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                    false
                }
            }
        })
    });
    let blob = Blob::new("another client's");
    let target = format!("{}?digest={}", uploads("it/app"), blob.digest);
    let post = |client: &str| {
        api.post(target.clone()).body(blob.bytes.clone()).octets().header("x-forwarded-for", client)
    };
    post("203.0.113.1").refused(429, "TOOMANYREQUESTS").await;
    post("203.0.113.2").expect(201).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_is_believed() {
    let settings = [("RREG_SERVER__TRUSTED_PROXIES", "192.0.2.1, fd00::/8")];
    let Some(mut team) = Team::start(Backend::SqliteDirectory, &settings).await else { return };
    let lie = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-for", "203.0.113.66"),
        ("forwarded", "for=203.0.113.66;proto=https;host=evil.example"),
    ];
    let api = team.0.api();
    let mut call = api.get("/v2/").header("authorization", &basic("reader", "guess"));
    for (name, value) in lie {
        call = call.header(name, value);
    }
    let answer = call.expect(401).await;
    let ours = format!("Bearer realm=\"http://{}/v2/token\"", team.0.address());
    assert!(answer.header("www-authenticate").starts_with(&ours), "{answer:?}");
    team.0.kill();
    let events = team.rreg(&["audit", "-n", "1000"]).to_string();
    assert!(!events.contains("203.0.113.66") && events.contains("\"127.0.0.1\""), "{events}");
}
