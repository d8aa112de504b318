use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

fn sources(file: Option<&str>, environment: &[(&str, &str)], listen: Option<&str>) -> (Sources, PathBuf) {
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path().keep().unwrap();
    std::fs::write(&path, file.unwrap_or_default()).unwrap();
    let environment = environment.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect();
    let flags = listen.map(|text| ("--listen", "server.listen", text.to_owned())).into_iter().collect();
    (Sources { file: file.map(|_| path.clone()), environment, flags, is_elsewhere: false }, path)
}

fn load(file: Option<&str>, environment: &[(&str, &str)], listen: Option<&str>) -> Result<Loaded, String> {
    let (sources, path) = sources(file, environment, listen);
    let result = Config::load(&sources).map_err(|e| e.to_string().replace(path.to_str().unwrap(), "FILE"));
    std::fs::remove_file(path).unwrap();
    result
}

fn config(file: &str) -> Config {
    load(Some(file), &[], None).unwrap().config
}

fn refused(file: &str) -> String {
    load(Some(file), &[], None).unwrap_err()
}

#[test]
fn defaults_are_valid_and_on_loopback() {
    let loaded = load(None, &[], None).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.config.server.listen.to_string(), "127.0.0.1:5000");
    assert_eq!(loaded.config.database_url(), DatabaseUrl::Sqlite("./rreg-data/rreg.db".into()));
    assert!(loaded.origins.is_empty());
}

#[test]
fn flag_beats_variable_beats_file() {
    let file = Some("[server]\nlisten = '127.0.0.1:1'\nheader_timeout = '1m'");
    let env = [("RREG_SERVER__LISTEN", "127.0.0.1:2")];
    assert_eq!(load(file, &[], None).unwrap().config.server.listen.port(), 1);
    assert_eq!(load(file, &env, None).unwrap().config.server.listen.port(), 2);
    let loaded = load(file, &env, Some("127.0.0.1:3")).unwrap();
    assert_eq!(loaded.config.server.listen.port(), 3);
    assert_eq!(loaded.config.server.header_timeout.0, Duration::from_secs(60));
    assert_eq!(loaded.origins["server.listen"], Origin::Flag("--listen"));
    assert!(matches!(loaded.origins["server.header_timeout"], Origin::File(_)));
}

#[test]
fn the_file_may_be_named_by_a_variable_and_the_flag_wins() {
    let (mut sources, path) = sources(Some("[cache]\ntags = 7"), &[], None);
    let named = sources.file.take().unwrap();
    sources.environment.push(("RREG_CONFIG".into(), named.into()));
    assert_eq!(Config::load(&sources).unwrap().config.cache.tags, 7);
    sources.file = Some("/nonexistent/rreg.toml".into());
    let error = Config::load(&sources).unwrap_err().to_string();
    assert!(error.starts_with("configuration file /nonexistent/rreg.toml: No such file"), "{error}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn every_field_takes_its_own_printed_value() {
    let text = "[server]\ninsecure = true\nlisten = '0.0.0.0:1'\n[server.tls]\ncert = 'c'\nkey = 'k'\n\
                [storage]\nbackend = 's3'\ninline_max = 1024\n[storage.s3]\nbucket = 'b'\nregion = 'r'\n\
                [log]\nlevel = 'info,rreg_server=debug'\nformat = 'json'";
    let loaded = load(Some(text), &[], None).unwrap();
    assert_eq!(config(&loaded.to_toml()).storage, loaded.config.storage);
    assert_eq!(config(&toml::to_string(&loaded.to_table()).unwrap()).server, loaded.config.server);
    assert!(loaded.to_toml().contains("inline_max = \"1KiB\" # file "));
}

#[test]
fn errors_name_field_value_origin_and_what_is_allowed() {
    assert_eq!(
        refused("[server]\nheader_timeout = 10"),
        "configuration: server.header_timeout = 10 (file FILE): is of type integer; allowed: a duration with its \
         unit: ms, s, m, h or d, such as 500ms, 10s, 24h or 1h30m"
    );
    assert_eq!(
        load(None, &[("RREG_STORAGE__BACKEND", "ftp")], None).unwrap_err(),
        "configuration: storage.backend = \"ftp\" (environment variable RREG_STORAGE__BACKEND): is no kind of \
         store; allowed: directory, s3, gcs or azure"
    );
    assert_eq!(
        load(None, &[], Some("localhost")).unwrap_err(),
        "configuration: server.listen = \"localhost\" (flag --listen): invalid socket address syntax; allowed: \
         an IP address and a port, such as 127.0.0.1:5000 or [::1]:5000"
    );
    assert_eq!(
        refused("[server]\nmax_header_bytes = '2GiB'"),
        "configuration: server.max_header_bytes = 2GiB (file FILE): is out of range; allowed: 8KiB to 1MiB"
    );
    assert_eq!(
        refused("server = 3"),
        "configuration: server (file FILE): is a section, not a field; allowed: [server] with its fields below"
    );
    assert!(
        refused("[log]\nlevel = 'loud'").contains("log.level = \"loud\" (file FILE): \"loud\" is no level")
    );
    assert!(refused("[server]\ninsecure = 'true'").contains("is of type string; allowed: true or false"));
    assert!(refused("[cache]\ntags = -1").contains("cache.tags = -1 (file FILE): is out of range"));
    assert!(refused("[cache]\nblobs = '1 potato'").contains("\"potato\" is not a unit of size"));
    assert!(refused("[storage]\ndata = ''").contains("storage.data = \"\" (file FILE): is empty"));
}

#[test]
fn all_problems_are_told_at_once() {
    let error = load(Some("[cache]\ntags = true"), &[("RREG_LOG__FORMAT", "xml")], None).unwrap_err();
    assert!(error.starts_with("configuration: 2 problems\n  cache.tags"), "{error}");
    assert!(error.contains("\n  log.format"), "{error}");
}

#[test]
fn unknown_fields_name_the_nearest() {
    assert_eq!(
        refused("[server]\nlisen = '127.0.0.1:1'"),
        "configuration: server.lisen (file FILE): is not a field; the nearest is server.listen (rreg config \
         reference lists all)"
    );
    for variable in ["RREG_SERVER_LISTEN", "RREG_SERVER__LISTENN", "RREG_LISTEN"] {
        let error = load(None, &[(variable, "127.0.0.1:1")], None).unwrap_err();
        assert!(error.contains(&format!("(environment variable {variable}): is not a field")), "{error}");
        assert!(error.contains("nearest is RREG_SERVER__LISTEN "), "{error}");
    }
}

#[test]
fn variables_of_others_are_not_ours() {
    let env = [
        ("PATH", "/bin"),
        ("RREG_PORT", "tcp://10.0.0.1:5000"),
        ("RREG_PORT_5000_TCP_ADDR", "10.0.0.1"),
        ("RREG_SERVICE_HOST", "10.0.0.1"),
        ("RREG_SERVICE_PORT_HTTP", "5000"),
        ("RREG_KEY_PASSWORD", "pw"),
        ("RREG_CA_FILE", "/etc/ca.pem"),
        ("RREG_TOKEN_REALM", "https://auth.example.com"),
        ("RREG_TEST_ROUNDS", "10"),
        ("RREG_BENCH_ZOT", "zot"),
    ];
    assert_eq!(load(None, &env, None).unwrap().config, Config::default());
}

#[test]
fn broken_toml_names_the_place_and_not_the_line() {
    let error = refused("[storage.s3]\nsecret_access_key = \"hunter2\nbucket = 'b'");
    assert!(error.starts_with("configuration file FILE, line 2, column "), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn only_loopback_is_open_to_all() {
    for address in ["127.0.0.1:5000", "127.9.9.9:0", "[::1]:5000", "[::ffff:127.0.0.1]:5000"] {
        load(None, &[], Some(address)).unwrap();
    }
    for address in ["0.0.0.0:5000", "[::]:5000", "192.0.2.1:5000", "[::ffff:192.0.2.1]:5000"] {
        let error = load(None, &[], Some(address)).unwrap_err();
        assert!(error.contains(&format!("server.listen = {address} (flag --listen)")), "{error}");
        for way in ["--listen 127.0.0.1:5000", "server.tls.client_ca", "--insecure"] {
            assert!(error.contains(way), "{error}");
        }
    }
    let open = Some("0.0.0.0:5000");
    let tls = "[server.tls]\ncert = 'c'\nkey = 'k'\n";
    load(Some(tls), &[], open).unwrap_err();
    load(Some(&format!("{tls}client_ca = 'ca'")), &[], open).unwrap();
    load(Some("[auth]\nmode = 'local'"), &[], open).unwrap_err();
    load(Some(&format!("{tls}[auth]\nmode = 'local'")), &[], open).unwrap();
    load(Some("[server]\ninsecure = true"), &[], open).unwrap();
}

#[test]
fn reviews_are_not_taken_in_clear_over_a_network() {
    let listen = |address: &str, more: &str| format!("{more}[policy]\nadmission_listen = '{address}'\n");
    load(Some(&listen("127.0.0.1:5001", "")), &[], None).unwrap();
    assert!(refused(&listen("0.0.0.0:5001", "")).contains("policy.admission_listen = 0.0.0.0:5001"));
    let tls = "[server.tls]\ncert = 'c'\nkey = 'k'\n";
    load(Some(&listen("0.0.0.0:5001", &format!("{tls}[auth]\nmode = 'local'\n"))), &[], None).unwrap();
    load(Some(&listen("0.0.0.0:5001", "[server]\ninsecure = true\n")), &[], None).unwrap();
}

/// A registry that is open because nobody else reaches it is not open where reviews are taken.
#[test]
fn reviews_are_not_answered_for_everybody_by_the_way() {
    let tls = "[server.tls]\ncert = 'c'\nkey = 'k'\n";
    let listen = |tls: &str, more: &str| format!("{tls}[policy]\nadmission_listen = '0.0.0.0:5001'\n{more}");
    let why = refused(&listen(tls, ""));
    assert!(why.contains("policy.admission_listen = 0.0.0.0:5001") && why.contains("auth.mode"), "{why}");
    let asked_for = [
        (tls.to_owned(), "admission_path_secret = 'a-secret-of-the-cluster'"),
        (tls.to_owned(), "admission_client_ca = 'ca'"),
        (tls.to_owned(), "open_admission = true"),
        (format!("{tls}client_ca = 'ca'\n"), ""),
    ];
    for (tls, more) in asked_for {
        load(Some(&listen(&tls, more)), &[], None).unwrap();
    }
}

#[test]
fn images_of_all_others_are_let_in_only_beside_images_that_are_judged() {
    for foreign in ["allow", "warn"] {
        let policy = format!("[policy]\nforeign_images = '{foreign}'\n");
        assert!(refused(&policy).contains(&format!("policy.foreign_images = {foreign}")));
        load(Some(&format!("{policy}registry_hosts = ['registry.example']\n")), &[], None).unwrap();
        let upstream = "[[upstreams]]\nname = 'hub'\nurl = 'https://docker.io'\nns = ['docker.io']\n";
        load(Some(&format!("{policy}{upstream}")), &[], None).unwrap();
    }
}

#[test]
fn the_secret_of_a_path_comes_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "a-secret-of-the-cluster-01\n").unwrap();
    for field in ["admission_path_secret", "admission_path_secret_next"] {
        let text = format!("[policy]\n{field}_file = '{}'\n", file.display());
        let policy = load(Some(&text), &[], None).unwrap().config.policy;
        let read = [policy.admission_path_secret, policy.admission_path_secret_next];
        let read: Vec<_> = read.iter().flatten().map(Secret::expose).collect();
        assert_eq!(read, ["a-secret-of-the-cluster-01"], "{field}");
    }
    std::fs::write(&file, "short").unwrap();
    let text = format!("[policy]\nadmission_path_secret_file = '{}'\n", file.display());
    assert!(refused(&text).contains("is no secret that can stand in a path"));
}

#[test]
fn sections_ask_for_what_belongs_together() {
    assert!(refused("[server.tls]\ncert = 'c'").contains("server.tls.key (default): is not set"));
    assert!(refused("[server.tls]\nkey = 'k'").contains("server.tls.cert (default): is not set"));
    assert!(refused("[server.tls]\nclient_ca = 'ca'").contains("2 problems"));
    let s3 = refused("[storage]\nbackend = 's3'\n[storage.s3]\naccess_key_id = 'a'\nendpoint = 'http://h'");
    for field in ["storage.s3.bucket", "storage.s3.secret_access_key", "storage.s3.endpoint = http://h"] {
        assert!(s3.contains(field), "{s3}");
    }
    assert!(refused("[storage]\nbackend = 'gcs'").contains("storage.gcs.bucket"));
    assert!(refused("[storage]\nbackend = 'azure'").contains("storage.azure.container"));
    assert!(refused("[storage]\nredirect = true").contains("a directory has no presigned URLs"));
    assert!(refused("[manifests]\nmax_depth = 1").contains("allowed: 8 to 127"));
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, "hunter2\n").unwrap();
    let s3 = "[storage]\nbackend = 's3'\n[storage.s3]\nbucket = 'b'\nregion = 'r'\naccess_key_id = 'a'\n";
    let file = format!("{s3}secret_access_key_file = '{}'\n", key.display());
    let loaded = load(Some(&file), &[], None).unwrap();
    assert_eq!(loaded.config.storage.s3.secret_access_key.as_ref().unwrap().expose(), "hunter2");
    assert!(loaded.to_toml().contains("secret_access_key = \"********\" # file "));
    let printed = format!("{:?}{}{:?}", loaded, loaded.to_toml(), loaded.to_table());
    assert!(!printed.contains("hunter2"));

    let both = format!("{file}secret_access_key = 'hunter3'");
    let error = refused(&both);
    assert!(error.contains("only one of the two can be") && !error.contains("hunter3"), "{error}");
    std::fs::remove_file(&key).unwrap();
    assert!(
        refused(&file).contains("secret_access_key_file = ") && refused(&file).contains("cannot be read")
    );
}

#[test]
fn database_urls_are_checked_and_masked() {
    let text = "postgres://rreg:hunter2@db/registry?sslmode=require&sslpassword=hunter2";
    let loaded = load(None, &[("RREG_DATABASE__URL", text)], None).unwrap();
    let DatabaseUrl::Postgres(url) = loaded.config.database_url() else { panic!("postgres") };
    assert_eq!(url.expose(), text);
    let printed = loaded.to_toml() + &format!("{:?}", loaded.config);
    assert!(printed.contains("postgres://rreg:********@db/registry?sslmode=require&sslpassword=********"));
    assert!(!printed.contains("hunter2"));

    for wrong in
        ["mysql://rreg:hunter2@db/registry", "postgres://rreg:hunter2@db", "postgres://u:hunter2@[/x"]
    {
        let error = load(None, &[("RREG_DATABASE__URL", wrong)], None).unwrap_err();
        assert!(
            error.contains("database.url (environment variable") && !error.contains("hunter2"),
            "{error}"
        );
    }
    for (text, path) in [("sqlite:a/b.db", "a/b.db"), ("sqlite:///a b.db", "/a b.db")] {
        assert_eq!(text.parse(), Ok(DatabaseUrl::Sqlite(path.into())));
    }
}

/// Every address: a login in it would be in logs and in `config print`.
#[test]
fn addresses_have_no_login_and_none_is_shown() {
    let s3 = |endpoint: &str| {
        format!(
            "[storage]\nbackend = 's3'\n[storage.s3]\nbucket = 'b'\nallow_http = true\nendpoint = {endpoint}"
        )
    };
    let gcs = "[storage]\nbackend = 'gcs'\n[storage.gcs]\nbucket = 'b'\nendpoint = 'https://ak:hunter2@h'";
    let azure = "[storage]\nbackend = 'azure'\n[storage.azure]\naccount = 'a'\ncontainer = 'c'\nendpoint = 'https://ak:hunter2@h'";
    for (file, field) in [
        (s3("'http://ak:hunter2@127.0.0.1:1'"), "storage.s3.endpoint"),
        (s3("'http://h/?token=hunter2'"), "storage.s3.endpoint"),
        (s3("'ak:hunter2@h'"), "storage.s3.endpoint"),
        (s3("['http://ak:hunter2@h']"), "storage.s3.endpoint"),
        (gcs.to_owned(), "storage.gcs.endpoint"),
        (azure.to_owned(), "storage.azure.endpoint"),
        ("[auth]\nurl = 'https://u:hunter2@h'".to_owned(), "auth.url"),
        ("[auth]\nurl = 'https://hunter2@h'".to_owned(), "auth.url"),
        ("[[auth.oidc]]\nissuer = 'https://u:hunter2@h'\naudience = 'a'".to_owned(), "auth.oidc"),
        ("[[upstreams]]\nname = 'a'\nurl = 'https://u:hunter2@h'".to_owned(), "upstreams[0].url"),
    ] {
        let error = refused(&file);
        assert!(error.contains(field) && !error.contains("hunter2"), "{error}");
    }
    // Of a store that is not used the address is not looked at.
    let loaded = load(Some("[storage.s3]\nendpoint = 'https://u:hunter2@h'"), &[], None).unwrap();
    assert!(!loaded.to_toml().contains("hunter2"), "{}", loaded.to_toml());
    assert_eq!(loaded.config.storage.s3.endpoint.as_deref(), Some("https://u:hunter2@h"));
}

#[test]
fn an_empty_variable_unsets_an_optional_field() {
    let file = Some("[storage.s3]\nendpoint = 'https://h'");
    let loaded = load(file, &[("RREG_STORAGE__S3__ENDPOINT", "")], None).unwrap();
    assert_eq!(loaded.config.storage.s3.endpoint, None);
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("0", 0),
        ("17", 17),
        ("17 B", 17),
        ("1g", 1 << 30),
        ("8MiB", 8 << 20),
        ("64k", 64 << 10),
        ("2TB", 2_000_000_000_000),
    ] {
        assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
    }
    for text in ["", "-1", "1.5M", "MiB", "1 MiBs", "99999999999999999999", "99999999T"] {
        text.parse::<ByteSize>().unwrap_err();
    }
    for n in [0, 1, 1023, 1024, 1536, 3 << 20, 5 << 30, u64::MAX] {
        assert_eq!(ByteSize(n).to_string().parse(), Ok(ByteSize(n)));
    }
}

#[test]
fn durations() {
    for (text, milliseconds) in
        [("0", 0), ("0s", 0), ("500ms", 500), ("10s", 10_000), ("1h30m", 5_400_000), ("2d", 172_800_000)]
    {
        assert_eq!(text.parse(), Ok(HumanDuration(Duration::from_millis(milliseconds))), "{text}");
    }
    for text in ["", "10", "s", "1.5s", "10 parsecs", "-1s", "1h30", "99999999999999999999d"] {
        text.parse::<HumanDuration>().unwrap_err();
    }
    for (milliseconds, text) in [(86_400_000, "24h"), (172_800_000, "2d"), (90_061_001, "25h1m1s1ms")] {
        assert_eq!(HumanDuration(Duration::from_millis(milliseconds)).to_string(), text);
    }
}

#[test]
fn the_reference_has_every_field() {
    let text = reference();
    for part in
        ["## `[storage.azure]`", "### `client_ca`", "`RREG_UPLOADS__RECLAIM_GRACE`", "Default: `\"24h\"`"]
    {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn who_may_do_what() {
    let auth = config("[auth]\nmode = 'local'\npublic = ['library/*', 'a/**']\ntoken_lifetime = '10m'").auth;
    assert_eq!((auth.mode, auth.service(), auth.anonymous_pull), (AuthMode::Local, "rreg", false));
    let from = load(None, &[("RREG_AUTH__PUBLIC", "library/*, a/**")], None).unwrap().config.auth;
    assert_eq!(from.public, auth.public);
    assert_eq!(config("").auth.mode, AuthMode::Open);
    assert!(refused("[auth]\nmode = 'none'").contains("allowed: open or local"));
    assert!(refused("[auth]\npublic = ['a[']").contains("\"a[\" is no pattern"));
    assert!(refused("[auth]\npublic = 'a'").contains("auth.public"));
    assert!(refused("[auth]\npublic = [1]").contains("has an entry that is no text"));
    assert!(refused("[auth]\ntoken_lifetime = '2h'").contains("allowed: 1m to 1h"));
    for url in ["registry.example", "ftp://h", "https://h/path", "https://h?q"] {
        assert!(refused(&format!("[auth]\nurl = '{url}'")).contains("auth.url"), "{url}");
    }
    assert!(refused("[auth]\nservice = 'a\"b'").contains("auth.service"));
}

#[test]
fn a_network_is_listened_on_behind_proxies_that_are_known() {
    let file = |proxies: &str, more: &str| {
        format!("[server]\nlisten = '0.0.0.0:1'\ntrusted_proxies = {proxies}\n{more}\n[auth]\nmode = 'local'")
    };
    let config = config(&file("['10.0.0.0/8', '::1']", ""));
    assert!(config.server.trusted_proxies.contain("10.1.1.1".parse().unwrap()));
    let listener = "[policy]\nadmission_listen = '0.0.0.0:2'";
    assert!(load(Some(&file("['10.0.0.0/8']", listener)), &[], None).is_ok());
    assert!(refused(&file("[]", "")).contains("set server.trusted_proxies"));
    let open = "[server]\nlisten = '0.0.0.0:1'\ntrusted_proxies = ['10.0.0.0/8']";
    assert!(refused(open).contains("(4) set server.trusted_proxies"), "nobody is asked who they are");
    let why = refused(&file("['0.0.0.0/0']", ""));
    assert!(why.contains("server.trusted_proxies") && why.contains("is everybody"), "{why}");
    let variable = [("RREG_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1")];
    let loaded = load(None, &variable, None).unwrap();
    assert!(
        loaded.to_toml().contains("trusted_proxies = [\"10.0.0.0/8\", \"127.0.0.1/32\"]"),
        "{}",
        loaded.to_toml()
    );
}
