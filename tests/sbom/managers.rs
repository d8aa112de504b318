//! Images of what package managers install: the list is what the managers themselves say. They fetch through their
//! usual settings; a source that cannot be reached is said and its test passed over.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{json, syft};
use crate::harness::image::Image;
use crate::harness::{Backend, Registry, RunDir, tool};

/// Name and version.
type Names = BTreeSet<(String, String)>;

/// The root of an image's file system while it is filled.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        Self(RunDir::get().subdir("image-"))
    }

    fn path(&self, below: &str) -> PathBuf {
        let path = self.0.path().join("root").join(below);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Work that does not become a part of the image.
    fn beside(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Pushes the tree as an image, lists it, compares with what its manager says, and with syft where that is.
    async fn assert_lists(&self, ecosystem: &str, expected: &Names) {
        assert!(!expected.is_empty(), "the manager lists nothing");
        let registry =
            Registry::start_with(Backend::SqliteDirectory, &[]).await.expect("a registry of our own");
        let image = Image::of_tree(&self.path(""));
        registry.api().push("managers", &image, Some("v1")).await;
        let source = format!("{}/managers:v1", registry.address());
        let listed = json(&[&source, "--format", "json"]);
        assert_eq!(listed["findings"].as_array().unwrap().len(), 0, "{}", listed["findings"]);
        assert_eq!(names(&listed, ecosystem), *expected);
        image.write_layout(&self.beside("layout"), "v1");
        syft::compare(&registry, &image, &self.beside("layout"), &listed).await;
    }
}

/// The packages of one type, as their managers call them.
fn names(listed: &Value, ecosystem: &str) -> Names {
    let packages = listed["packages"].as_array().unwrap();
    let of_type = packages.iter().filter(|package| package["type"] == ecosystem);
    of_type
        .map(|package| {
            let name = package["name"].as_str().unwrap();
            let name = match (package["namespace"].as_str(), ecosystem) {
                (Some(scope), "npm") => format!("@{scope}/{name}"),
                (Some(group), "maven") => format!("{group}:{name}"),
                _ => name.to_owned(),
            };
            (name, package["version"].as_str().unwrap_or_default().to_owned())
        })
        .collect()
}

fn pair(name: &str, version: &str) -> (String, String) {
    (name.to_owned(), version.to_owned())
}

/// Runs what fetches. `false`, with the reason said, when it fails.
fn fetched(command: &mut Command) -> bool {
    let output = tool::output(command);
    if !output.status.success() {
        let said = tool::describe(command, &output);
        tool::skip(&format!("its source is not reachable from here, or refuses: {said}"));
    }
    output.status.success()
}

fn program(name: &str, directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(tool::find(name).expect("looked for before"));
    command.args(args).current_dir(directory);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debian() {
    if !tool::have(&["dpkg-query"]) {
        return;
    }
    // This machine's own system, as an image.
    let root = Root::new();
    let copied = tool::output(
        Command::new("cp")
            .args(["-a", "/var/lib/dpkg/status", "/var/lib/dpkg/info"])
            .arg(root.path("var/lib/dpkg")),
    );
    assert!(copied.status.success(), "{copied:?}");
    fs::copy("/etc/os-release", root.path("etc").join("os-release")).unwrap();
    let format = "-f=${db:Status-Abbrev}\t${Package}\t${Version}\n";
    let said = tool::run(&mut program("dpkg-query", &root.path(""), &["-W", format]));
    let installed = said.lines().filter_map(|line| line.strip_prefix("ii \t")?.split_once('\t'));
    let expected = installed.map(|(name, version)| pair(name, version)).collect();
    root.assert_lists("deb", &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn npm() {
    if !tool::have(&["npm"]) {
        return;
    }
    let root = Root::new();
    let app = root.path("opt/app");
    let install = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", "."];
    let packages = ["express@4.19.2", "@types/node@20.11.5"];
    if !fetched(&mut program("npm", &app, &[&install[..], &packages].concat())) {
        return;
    }
    let said = tool::run(&mut program("npm", &app, &["ls", "--all", "--parseable", "--long"]));
    let below = said.lines().filter_map(|line| line.split_once("/node_modules/")?.1.rsplit_once(':'));
    let expected = below.filter_map(|(_, package)| package.rsplit_once('@'));
    root.assert_lists("npm", &expected.map(|(name, version)| pair(name, version)).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pypi() {
    if !tool::have(&["pip3"]) {
        return;
    }
    let root = Root::new();
    let site = root.path("usr/lib/python3/site-packages");
    let target = site.display().to_string();
    let install = ["install", "-q", "--target", &target, "requests==2.32.3", "rich==13.9.4"];
    if !fetched(&mut program("pip3", &site, &install)) {
        return;
    }
    let said = tool::run(&mut program("pip3", &site, &["list", "--path", &target, "--format", "json"]));
    let said: Value = serde_json::from_str(&said).unwrap();
    let text = |package: &Value, key: &str| package[key].as_str().unwrap().to_owned();
    let expected = said.as_array().unwrap().iter().map(|p| (text(p, "name"), text(p, "version")));
    root.assert_lists("pypi", &expected.collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn golang() {
    if !tool::have(&["go"]) {
        return;
    }
    let root = Root::new();
    let source = root.beside("source");
    let main = "package main\nimport (\n\"fmt\"\n\"github.com/google/uuid\"\n\"golang.org/x/text/language\"\n)\n\
        func main() { fmt.Println(language.English, uuid.Nil) }\n";
    fs::write(source.join("go.mod"), "module example.test/app\n\ngo 1.21\n").unwrap();
    fs::write(source.join("main.go"), main).unwrap();
    if !fetched(&mut program(
        "go",
        &source,
        &["get", "golang.org/x/text@v0.14.0", "github.com/google/uuid@v1.6.0"],
    )) {
        return;
    }
    let to = root.path("usr/bin").join("app").display().to_string();
    tool::run(program("go", &source, &["build", "-buildvcs=false", "-o", &to, "."]).env("CGO_ENABLED", "0"));
    let said = tool::run(&mut program("go", &source, &["version", "-m", &to]));
    let mut expected = Names::new();
    for line in said.lines() {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["dep", name, version, ..] => expected.insert(pair(name, version)),
            // What was built from a directory has no version.
            ["mod", name, "(devel)", ..] => expected.insert(pair(name, "")),
            // `path: go1.22.1`
            [_, version] if line.starts_with('/') => {
                expected.insert(pair("stdlib", version.trim_start_matches("go")))
            }
            _ => false,
        };
    }
    root.assert_lists("golang", &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maven() {
    if !tool::have(&["mvn"]) {
        return;
    }
    let root = Root::new();
    let source = root.beside("source");
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>"
        )
    };
    let pom = format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>test.example</groupId><artifactId>app</artifactId>\
         <version>1</version><dependencies>{}{}</dependencies></project>",
        dependency("com.fasterxml.jackson.core", "jackson-databind", "2.17.1"),
        dependency("org.slf4j", "slf4j-simple", "2.0.13"),
    );
    fs::write(source.join("pom.xml"), pom).unwrap();
    let to = format!("-DoutputDirectory={}", root.path("opt/app/lib").display());
    if !fetched(&mut program("mvn", &source, &["-q", "-B", "dependency:copy-dependencies", &to])) {
        return;
    }
    let list = source.join("list");
    let to = format!("-DoutputFile={}", list.display());
    if !fetched(&mut program("mvn", &source, &["-q", "-B", "dependency:list", &to])) {
        return;
    }
    let said = fs::read_to_string(list).unwrap();
    let expected =
        said.lines().filter_map(|line| match line.trim().split(':').collect::<Vec<_>>().as_slice() {
            [group, artifact, "jar", version, _scope, ..] => {
                Some(pair(&format!("{group}:{artifact}"), version))
            }
            _ => None,
        });
    root.assert_lists("maven", &expected.collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cargo() {
    if tool::find("cargo-auditable").is_none() || !tool::have(&["cargo"]) {
        tool::skip("cargo-auditable is not installed; `tests/run` installs it where crates can be had");
        return;
    }
    let root = Root::new();
    let source = root.beside("source");
    fs::create_dir_all(source.join("src")).unwrap();
    let manifest = "[package]\nname = \"app\"\nversion = \"0.3.0\"\nedition = \"2021\"\n\
        [dependencies]\nitoa = \"=1.0.11\"\nsemver = \"=1.0.23\"\n[workspace]\n";
    fs::write(source.join("Cargo.toml"), manifest).unwrap();
    fs::write(source.join("src/main.rs"), "fn main() { println!(\"{}\", semver::Version::new(1, 2, 3)); }\n")
        .unwrap();
    let mut build = program("cargo", &source, &["auditable", "build"]);
    build.env("CARGO_TARGET_DIR", source.join("target"));
    if !fetched(&mut build) {
        return;
    }
    fs::copy(source.join("target/debug/app"), root.path("usr/bin").join("app")).unwrap();
    let said = tool::run(&mut program("cargo", &source, &["tree", "--prefix", "none", "-e", "normal"]));
    let expected = said.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some(pair(words.next()?, words.next()?.strip_prefix('v')?))
    });
    root.assert_lists("cargo", &expected.collect()).await;
}
