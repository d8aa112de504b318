use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// base64 of `user:secret` and of `other:word`.
const USER: &str = "dXNlcjpzZWNyZXQ=";
const OTHER: &str = "b3RoZXI6d29yZA==";

fn write(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("config.json");
    std::fs::write(&path, text).unwrap();
    path
}

async fn find(
    text: &str,
    host: &str,
    repository: Option<&str>,
) -> Result<Option<Credential>, CredentialError> {
    let dir = tempfile::tempdir().unwrap();
    let keychain = Keychain::from_files(vec![dir.path().join("absent.json"), write(dir.path(), text)]);
    keychain.find(host, repository.map(|r| r.parse().unwrap()).as_ref()).await
}

fn password(user: &str, password: &str) -> Option<Credential> {
    Some(Credential::Password { user: user.into(), password: password.into() })
}

#[tokio::test]
async fn auths() {
    let text = format!(
        r#"{{"auths":{{"h.x:5000":{{"auth":"{USER}"}},"https://old.x/v1/":{{"auth":"{USER}"}},
        "h.x:5000/team":{{"auth":"{OTHER}"}},"id.x":{{"auth":"{USER}","identitytoken":"refresh"}},
        "bearer.x":{{"registrytoken":"t"}},"https://index.docker.io/v1/":{{"username":"hub","password":"p"}},
        "empty.x":{{}}}},"psFormat":"x"}}"#
    );
    let cases = [
        ("h.x:5000", None, password("user", "secret")),
        ("h.x:5000", Some("other/app"), password("user", "secret")),
        ("h.x:5000", Some("team/app"), password("other", "word")),
        ("h.x:5000", Some("teams/app"), password("user", "secret")),
        ("old.x", Some("a"), password("user", "secret")),
        ("id.x", None, Some(Credential::IdentityToken("refresh".into()))),
        ("bearer.x", None, Some(Credential::RegistryToken("t".into()))),
        ("docker.io", Some("library/a"), password("hub", "p")),
        ("empty.x", None, None),
        ("h.x", None, None),
        ("x:5000", None, None),
    ];
    for (host, repository, expected) in cases {
        assert_eq!(find(&text, host, repository).await.unwrap(), expected, "{host} {repository:?}");
    }
}

#[tokio::test]
async fn malformed_is_an_error_without_the_secret() {
    for text in ["{", r#"{"auths":{"h.x":{"auth":"!!hunter2"}}}"#, r#"{"auths":"hunter2"}"#] {
        let error = find(text, "h.x", None).await.unwrap_err().to_string();
        assert!(error.contains("config.json is malformed"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    assert_eq!(format!("{:?}", password("u", "hunter2")), "Some(Password)");
}

#[tokio::test]
async fn helpers() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("docker-credential-test");
    let text = "#!/bin/sh\nread -r server || true\ncase \"$1:$server\" in\n\
        get:h.x) echo '{\"ServerURL\":\"h.x\",\"Username\":\"u\",\"Secret\":\"s\"}' ;;\n\
        get:t.x) echo '{\"Username\":\"<token>\",\"Secret\":\"r\"}' ;;\n\
        get:none.x) echo 'credentials not found in native keychain'; exit 1 ;;\n\
        *) echo 'locked'; exit 1 ;;\nesac\n";
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::join_paths([dir.path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let ask = async |text: &str, host: &str| {
        let keychain = Keychain::from_files(vec![write(dir.path(), text)]).with_helper_path(path.clone());
        keychain.find(host, None).await
    };
    let store = r#"{"credsStore":"test","auths":{"h.x":{}}}"#;
    let named = r#"{"credHelpers":{"t.x":"test"}}"#;
    let found = [
        ask(store, "h.x").await,
        ask(named, "t.x").await,
        ask(store, "none.x").await,
        ask(named, "h.x").await,
    ];
    let locked = ask(store, "locked.x").await;
    let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
    assert_eq!(found, [password("u", "s"), Some(Credential::IdentityToken("r".into())), None, None]);
    assert!(locked.unwrap_err().to_string().ends_with("failed: locked"));
}

#[tokio::test]
async fn a_helper_is_no_path() {
    let error = find(r#"{"credsStore":"../../bin/sh"}"#, "h.x", None).await.unwrap_err();
    assert!(error.to_string().contains("letters, digits"), "{error}");
    let error = find(r#"{"credsStore":"rreg-no-such-helper"}"#, "h.x", None).await.unwrap_err();
    assert!(error.to_string().contains("PATH"), "{error}");
}

#[tokio::test]
async fn what_is_kept_is_found_and_can_be_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/config.json");
    let podman = dir.path().join("auth.json");
    let keychain = Keychain::from_files(vec![podman.clone(), path.clone()]);
    assert_eq!(keychain.keep("h.x:5000", "user", "se:cret").await.unwrap(), Kept::File(path.clone()));
    assert_eq!(keychain.find("h.x:5000", None).await.unwrap(), password("user", "se:cret"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");

    // What else is in a file stays; old spellings of the same registry go.
    let text = format!(
        r#"{{"psFormat":"x","auths":{{"https://h.x:5000/v1/":{{"auth":"{USER}"}},"h.x:5000/team":{{"auth":"{OTHER}"}},"o.x":{{}}}}}}"#
    );
    std::fs::write(&podman, text).unwrap();
    assert_eq!(keychain.keep("h.x:5000", "new", "word").await.unwrap(), Kept::File(podman.clone()));
    assert_eq!(keychain.find("h.x:5000", None).await.unwrap(), password("new", "word"));
    assert_eq!(
        keychain.find("h.x:5000", Some(&"team/a".parse().unwrap())).await.unwrap(),
        password("other", "word")
    );
    let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(&podman).unwrap()).unwrap();
    assert_eq!((&whole["psFormat"], whole["auths"].as_object().unwrap().len()), (&"x".into(), 3));
    keychain.keep("docker.io", "hub", "p").await.unwrap();
    assert_eq!(keychain.find("docker.io", None).await.unwrap(), password("hub", "p"));

    assert!(keychain.forget("h.x:5000").await.unwrap());
    assert_eq!(keychain.find("h.x:5000", None).await.unwrap(), None, "in neither file");
    assert!(!keychain.forget("h.x:5000").await.unwrap());
    std::fs::write(&podman, "{").unwrap();
    assert!(keychain.keep("h.x", "user", "hunter2").await.is_err());
    assert_eq!(std::fs::read(&podman).unwrap(), b"{", "what does not parse is not overwritten");
}

#[tokio::test]
async fn helpers_keep_and_forget() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("docker-credential-file");
    let kept = dir.path().join("kept");
    let text = format!(
        "#!/bin/sh\nf={}\ncase \"$1\" in\nstore) cat > $f ;;\nerase) rm -f $f ;;\n\
         get) [ -f $f ] && cat $f || {{ echo 'credentials not found in native keychain'; exit 1; }} ;;\nesac\n",
        kept.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::join_paths([dir.path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    for config in [r#"{"credsStore":"file"}"#, r#"{"credHelpers":{"h.x":"file"}}"#] {
        let file = write(dir.path(), config);
        let keychain = Keychain::from_files(vec![file.clone()]).with_helper_path(path.clone());
        assert_eq!(keychain.keep("h.x", "user", "hunter2").await.unwrap(), Kept::Helper("file".into()));
        assert!(!std::fs::read_to_string(&file).unwrap().contains("hunter2"));
        assert_eq!(keychain.find("h.x", None).await.unwrap(), password("user", "hunter2"));
        assert!(keychain.forget("h.x").await.unwrap() && !kept.exists());
        assert!(!keychain.forget("h.x").await.unwrap());
    }
}
