//! A real API server and controller manager before the webhook, with the manifests of `deploy/kubernetes`, where
//! `RREG_KUBERNETES` names a directory with `kube-apiserver`, `kube-controller-manager`, `kubectl` and `etcd`.

use std::env;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::Signal;

use super::*;
use crate::harness::Child;

const SECRET: &str = "a-secret-of-the-cluster_01";
const TOKEN: &str = "token-of-this-test";

fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// How to reach the API server, for clients.
fn access(port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    })
}

/// A cluster without nodes: pods stay pending, and their states are what the test says.
struct Kubernetes {
    programs: PathBuf,
    home: tempfile::TempDir,
    _running: Vec<Child>,
}

impl Kubernetes {
    fn start() -> Option<Self> {
        let Some(programs) = env::var_os("RREG_KUBERNETES").map(PathBuf::from) else {
            tool::skip("RREG_KUBERNETES names no directory with the programs of Kubernetes");
            return None;
        };
        let home = RunDir::get().subdir("kubernetes-");
        let path = |name: &str| home.path().join(name).display().to_string();
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(path("accounts.key"), key.serialize_pem()).unwrap();
        fs::write(path("accounts.pub"), key.public_key_pem()).unwrap();
        fs::write(path("tokens.csv"), format!("{TOKEN},admin,1,system:masters\n")).unwrap();
        let (etcd, peers, api, manager) = (free(), free(), free(), free());
        fs::write(path("config"), access(api).to_string()).unwrap();
        let run = |name: &str, args: &[String]| {
            let log = fs::File::create(home.path().join(format!("{name}.log"))).unwrap();
            let mut command = Command::new(programs.join(name));
            command
                .args(args)
                .current_dir(home.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log);
            Child::spawn(&mut command, Signal::TERM)
        };
        let clients = format!("http://127.0.0.1:{etcd}");
        let running = vec![
            run(
                "etcd",
                &[
                    format!("--data-dir={}", path("etcd")),
                    format!("--listen-client-urls={clients}"),
                    format!("--advertise-client-urls={clients}"),
                    format!("--listen-peer-urls=http://127.0.0.1:{peers}"),
                ],
            ),
            run(
                "kube-apiserver",
                &[
                    format!("--etcd-servers={clients}"),
                    format!("--service-account-key-file={}", path("accounts.pub")),
                    format!("--service-account-signing-key-file={}", path("accounts.key")),
                    "--service-account-issuer=https://cluster".to_owned(),
                    format!("--secure-port={api}"),
                    "--bind-address=127.0.0.1".to_owned(),
                    format!("--cert-dir={}", path("certificates")),
                    format!("--token-auth-file={}", path("tokens.csv")),
                    "--authorization-mode=RBAC".to_owned(),
                    "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
                    "--disable-admission-plugins=ServiceAccount".to_owned(),
                ],
            ),
            run(
                "kube-controller-manager",
                &[
                    format!("--kubeconfig={}", path("config")),
                    format!("--service-account-private-key-file={}", path("accounts.key")),
                    "--leader-elect=false".to_owned(),
                    format!("--secure-port={manager}"),
                ],
            ),
        ];
        let cluster = Self { programs, home, _running: running };
        let deadline = Instant::now() + Duration::from_secs(120);
        while !cluster.kubectl(&["get", "--raw", "/readyz"], "").0 {
            assert!(Instant::now() < deadline, "no API server: {}", cluster.log("kube-apiserver"));
            std::thread::sleep(Duration::from_millis(500));
        }
        Some(cluster)
    }

    fn log(&self, name: &str) -> String {
        let text = fs::read_to_string(self.home.path().join(format!("{name}.log"))).unwrap_or_default();
        text.lines().rev().take(10).collect::<Vec<_>>().join("\n")
    }

    /// Whether it succeeds, and all that it says.
    fn kubectl(&self, args: &[&str], input: &str) -> (bool, String) {
        let mut command = Command::new(self.programs.join("kubectl"));
        command.arg("--kubeconfig").arg(self.home.path().join("config")).args(args);
        command
            .env("HOME", self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    fn must(&self, args: &[&str], input: &str) -> String {
        let (done, said) = self.kubectl(args, input);
        assert!(done, "{args:?}: {said}");
        said
    }

    /// Waits until the answer is this.
    fn until(&self, args: &[&str], wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let said = self.kubectl(args, "").1;
            if said.trim() == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{args:?} says {said:?} and not {wanted:?}");
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

fn pod_of(name: &str, image: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": image}]},
    })
    .to_string()
}

/// The webhooks of `deploy/kubernetes`, asking at this address.
fn webhooks(address: &str, home: &Path) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/webhooks.yaml");
    let all: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(file).unwrap()).unwrap();
    let ca = STANDARD.encode(fs::read(home.join("ca.pem")).unwrap());
    let edited = all.into_iter().map(|mut one| {
        let config = &mut one["webhooks"][0]["clientConfig"];
        let path = config["service"]["path"].as_str().unwrap().replace("ADMISSION_PATH_SECRET", SECRET);
        *config = json!({"url": format!("https://{address}{path}"), "caBundle": ca});
        one.to_string()
    });
    edited.collect::<Vec<_>>().join("\n---\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_api_server() {
    let Some(cluster) = Kubernetes::start() else { return };
    let policies = Policies::new();
    let home = policies.home().to_owned();
    super::listener::authority(&home);
    let address = format!("localhost:{}", free());
    let listen = address.replace("localhost", "127.0.0.1");
    let file = |name: &str| home.join(name).display().to_string();
    let (directory, cert, key) = (policies.directory(), file("server.pem"), file("server.key"));
    let settings = [
        ("RREG_POLICY__DIRECTORY", directory.as_str()),
        ("RREG_POLICY__REGISTRY_HOSTS", HOST),
        ("RREG_POLICY__ADMISSION_LISTEN", &listen),
        ("RREG_POLICY__ADMISSION_PATH_SECRET", SECRET),
    ];
    let Some(mut registry) = Registry::start_with(Backend::SqliteDirectory, &settings).await else { return };
    // No policy is about it.
    registry.api().push("free/app", &Image::layered("free", 1), Some("v1")).await;
    let free_image = format!("{HOST}/free/app:v1");
    // API servers ask over TLS only.
    registry.stop();
    registry.set("RREG_SERVER__TLS__CERT", &cert);
    registry.set("RREG_SERVER__TLS__KEY", &key);
    registry.resume();
    cluster.must(&["apply", "-f", "-"], &webhooks(&address, &home));
    // Until the API server knows of them.
    let deadline = Instant::now() + Duration::from_secs(60);
    while cluster.kubectl(&["apply", "--dry-run=server", "-f", "-"], &pod_of("probe", "nginx:1")).0 {
        assert!(Instant::now() < deadline, "the webhooks are not asked");
        std::thread::sleep(Duration::from_millis(300));
    }
    // A refusal is told with its reason, and nothing is slept out.
    let (done, said) = cluster.kubectl(&["apply", "-f", "-"], &pod_of("none", &format!("{HOST}/it/none:v1")));
    assert!(!done && said.contains("push it first") && !said.contains("deadline exceeded"), "{said}");
    cluster.must(&["apply", "-f", "-"], &pod_of("good", &free_image));
    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": free_image}]},
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    });
    let mut spec = template["spec"].clone();
    spec["restartPolicy"] = "Never".into();
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"template": {"spec": spec}},
    });
    cluster.must(&["apply", "-f", "-"], &deployment.to_string());
    cluster.must(&["apply", "-f", "-"], &job.to_string());
    let phases = |of: &'static str| ["get", "pods", "-l", of, "-o", "jsonpath={.items[*].status.phase}"];
    cluster.until(&phases("app=web"), "Pending Pending");
    cluster.until(&phases("job-name=job"), "Pending");

    // An outage: what leaves the pods as they are goes on; what brings an image does not.
    registry.stop();
    cluster.must(&["label", "pod", "good", "a=b"], "");
    cluster.must(&["scale", "deployment/web", "--replicas=0"], "");
    cluster.until(&phases("app=web"), "");
    let done = json!({"status": {"phase": "Succeeded", "containerStatuses": [{
        "name": "c", "image": "x", "imageID": "x", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 0}},
    }]}});
    let name = cluster.must(&["get", "pods", "-l", "job-name=job", "-o", "name"], "");
    cluster
        .must(&["patch", name.trim(), "--subresource=status", "--type=merge", "-p", &done.to_string()], "");
    cluster.until(&["get", "job", "job", "-o", "jsonpath={.status.succeeded}"], "1");
    cluster.must(&["delete", "deployment", "web", "--cascade=foreground", "--timeout=30s"], "");
    let (done, _) = cluster.kubectl(&["apply", "-f", "-"], &pod_of("late", &free_image));
    assert!(!done, "failurePolicy is Fail");
    let (done, _) = cluster.kubectl(&["set", "image", "pod/good", "c=elsewhere.example/x:1"], "");
    assert!(!done, "another image is asked about");
}
