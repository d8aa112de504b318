//! A real API server and controller manager before the webhook, with the manifests of `deploy/kubernetes`, where
//! `RREG_KUBERNETES` names a directory with `kube-apiserver`, `kube-controller-manager`, `kubectl` and `etcd`.

mod manifests;
mod outage;
mod replicas;
mod verdicts;

use std::env;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::Signal;

use super::*;
use crate::harness::Child;
use crate::harness::port::free;

const SECRET: &str = "a-secret-of-the-cluster-01";
const TOKEN: &str = "token-of-this-test";

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
        Self::start_with(|_| Vec::new())
    }

    /// With more arguments for the API server, which may name files that are made in the cluster's directory.
    fn start_with(arguments: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
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
        let of_etcd = [
            format!("--data-dir={}", path("etcd")),
            format!("--listen-client-urls={clients}"),
            format!("--advertise-client-urls={clients}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peers}"),
        ];
        let mut of_api = vec![
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
        ];
        of_api.extend(arguments(home.path()));
        let of_manager = [
            format!("--kubeconfig={}", path("config")),
            format!("--service-account-private-key-file={}", path("accounts.key")),
            "--leader-elect=false".to_owned(),
            format!("--secure-port={manager}"),
        ];
        let running = vec![
            run("etcd", &of_etcd),
            run("kube-apiserver", &of_api),
            run("kube-controller-manager", &of_manager),
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

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes").join(file)
}

/// The webhooks of `deploy/kubernetes`, asking at this address with this secret in the path; without one those that pin too.
fn webhooks(address: &str, secret: Option<&str>, home: &Path) -> String {
    let files = ["webhooks.yaml", "pinning.yaml"].into_iter().take(if secret.is_some() { 1 } else { 2 });
    let texts = files.map(|file| fs::read_to_string(deploy(file)).unwrap());
    let all = texts.flat_map(|text| serde_saphyr::from_multiple::<Value>(&text).unwrap());
    let ca = STANDARD.encode(fs::read(home.join("ca.pem")).unwrap());
    let edited = all.map(|mut one| {
        let config = &mut one["webhooks"][0]["clientConfig"];
        let path = config["service"]["path"].as_str().unwrap();
        let path = match secret {
            Some(secret) => path.replace("ADMISSION_PATH_SECRET", secret),
            None => path.replace("/ADMISSION_PATH_SECRET", ""),
        };
        *config = json!({"url": format!("https://{address}{path}"), "caBundle": ca});
        one.to_string()
    });
    edited.collect::<Vec<_>>().join("\n---\n")
}

/// A registry before which API servers can stand: it has `free/app:v1`, which no policy is about, `it/app:v1`, which is
/// not signed, and `warned/app:v1`, of which that is only said; and then takes reviews over TLS alone.
struct Judge {
    registry: Registry,
    policies: Policies,
    /// Where reviews are sent.
    address: String,
}

impl Judge {
    async fn start(backend: Backend, settings: &[(&'static str, &str)]) -> Option<Self> {
        let policies = Policies::new();
        let home = policies.home();
        super::listener::authority(home);
        let address = format!("localhost:{}", free());
        let listen = listening(&address);
        let directory = policies.directory();
        let mut all = vec![
            ("RREG_POLICY__DIRECTORY", directory.as_str()),
            ("RREG_POLICY__REGISTRY_HOSTS", HOST),
            ("RREG_POLICY__ADMISSION_LISTEN", &listen),
        ];
        all.extend(settings);
        let mut registry = Registry::start_with(backend, &all).await?;
        for name in ["free/app", "it/app", "warned/app"] {
            registry.api().push(name, &Image::layered(name, 1), Some("v1")).await;
        }
        registry.stop();
        let mut judge = Self { registry, policies, address };
        judge.encrypt(&[]);
        judge.registry.resume();
        Some(judge)
    }

    /// From the next start on, over TLS alone, with these settings as well.
    fn encrypt(&mut self, settings: &[(&'static str, &str)]) {
        let home = self.policies.home();
        let file = |name: &str| home.join(name).display().to_string();
        let (cert, key) = (file("server.pem"), file("server.key"));
        self.registry.set("RREG_SERVER__TLS__CERT", &cert);
        self.registry.set("RREG_SERVER__TLS__KEY", &key);
        settings.iter().for_each(|(name, value)| self.registry.set(name, value));
    }

    /// Moves `v1` to an image that is made of `text`, without TLS and without these settings meanwhile. Gives its digest.
    async fn moves_on(&mut self, repository: &str, text: &str, settings: &[(&'static str, &str)]) -> String {
        self.registry.stop();
        let off = ["RREG_SERVER__TLS__CERT", "RREG_SERVER__TLS__KEY"].into_iter();
        off.chain(settings.iter().map(|(name, _)| *name)).for_each(|name| self.registry.set(name, ""));
        self.registry.resume();
        let other = Image::layered(text, 1);
        self.registry.api().push(repository, &other, Some("v1")).await;
        self.registry.stop();
        self.encrypt(settings);
        self.registry.resume();
        other.root().digest.to_string()
    }
}

/// What to listen on for this address.
fn listening(address: &str) -> String {
    address.replace("localhost", "127.0.0.1")
}

fn named(repository: &str) -> String {
    format!("{HOST}/{repository}:v1")
}

impl Kubernetes {
    /// Applies the webhooks, and waits until the API server asks them.
    fn ask(&self, webhooks: &str) {
        self.must(&["apply", "-f", "-"], webhooks);
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.kubectl(&["apply", "--dry-run=server", "-f", "-"], &pod_of("probe", "nginx:1")).0 {
            assert!(Instant::now() < deadline, "the webhooks are not asked");
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}
