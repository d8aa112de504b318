//! The table: every operation, by every kind of caller, on every kind of repository. What is allowed is written down
//! here by hand, a second time and in another form than in `access.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;

use rreg_oci::Operation;

use crate::access::{Access, Denied, Mode, Rule};
use crate::action::Action;
use crate::identity::{Caller, Role};
use crate::scope::Scope;
use crate::trust::TrustRule;

/// What the table says that an operation needs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Needs {
    /// To have said who one is, or to hold any token.
    Known,
    Reader,
    Writer,
    Maintainer,
    /// To administer the registry.
    Administrator,
}

const UPLOAD: &str = "00000000-0000-4000-8000-000000000000";

/// Every route, every verb, every form of query, and what each needs.
fn table() -> Vec<(&'static str, String, Needs)> {
    use Needs::{Administrator, Known, Maintainer, Reader, Writer};
    let digest = format!("sha256:{}", "0".repeat(64));
    let on = |rest: &str| format!("/v2/team/app/{rest}");
    vec![
        ("GET", "/v2/".into(), Known),
        ("GET", "/v2".into(), Known),
        ("GET", "/v2/_catalog".into(), Known),
        ("GET", "/v2/_catalog?n=1&last=a".into(), Known),
        ("GET", on("tags/list"), Reader),
        ("GET", on("tags/list?n=1&last=a"), Reader),
        ("GET", on(&format!("referrers/{digest}")), Reader),
        ("GET", on(&format!("referrers/{digest}?artifactType=a/b")), Reader),
        ("GET", on("manifests/latest"), Reader),
        ("GET", on(&format!("manifests/{digest}")), Reader),
        ("GET", on("manifests/latest?ns=docker.io"), Reader),
        ("HEAD", on("manifests/latest"), Reader),
        ("HEAD", on(&format!("manifests/{digest}")), Reader),
        ("PUT", on("manifests/latest"), Writer),
        ("PUT", on("manifests/1.0"), Writer),
        ("PUT", on(&format!("manifests/{digest}")), Writer),
        ("PUT", on(&format!("manifests/{digest}?tag=a&tag=latest")), Writer),
        ("DELETE", on("manifests/latest"), Maintainer),
        ("DELETE", on(&format!("manifests/{digest}")), Maintainer),
        ("GET", on(&format!("blobs/{digest}")), Reader),
        ("HEAD", on(&format!("blobs/{digest}")), Reader),
        ("DELETE", on(&format!("blobs/{digest}")), Maintainer),
        ("POST", on("blobs/uploads/"), Writer),
        ("POST", on("blobs/uploads/?digest-algorithm=sha512"), Writer),
        ("POST", on(&format!("blobs/uploads/?digest={digest}")), Writer),
        ("POST", on(&format!("blobs/uploads/?mount={digest}")), Writer),
        ("POST", on(&format!("blobs/uploads/?mount={digest}&from=other/app")), Writer),
        ("PATCH", on(&format!("blobs/uploads/{UPLOAD}")), Writer),
        ("PUT", on(&format!("blobs/uploads/{UPLOAD}?digest={digest}")), Writer),
        ("GET", on(&format!("blobs/uploads/{UPLOAD}")), Writer),
        ("DELETE", on(&format!("blobs/uploads/{UPLOAD}")), Writer),
        ("GET", "/v2/_rreg/tag-rules".into(), Administrator),
        ("PUT", "/v2/_rreg/tag-rules/releases".into(), Administrator),
        ("DELETE", "/v2/_rreg/tag-rules/releases".into(), Administrator),
        ("GET", "/v2/_rreg/policies".into(), Administrator),
        ("GET", "/v2/_rreg/policies/prod".into(), Administrator),
        ("PUT", "/v2/_rreg/policies/prod".into(), Administrator),
        ("DELETE", "/v2/_rreg/policies/prod".into(), Administrator),
        ("GET", "/v2/_rreg/policy-schema".into(), Known),
        ("POST", "/v2/_rreg/what-if".into(), Administrator),
        ("GET", "/v2/_rreg/trust".into(), Administrator),
        ("PUT", "/v2/_rreg/trust/team-a.pub".into(), Administrator),
        ("DELETE", "/v2/_rreg/trust/team-a.pub".into(), Administrator),
        ("GET", on("_rreg/decisions/v1"), Reader),
        ("GET", on(&format!("_rreg/decisions/{digest}")), Reader),
    ]
}

fn operations() -> Vec<(Operation, Needs)> {
    let parse = |method: &str, target: &str| {
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        Operation::parse(method, path, query).unwrap_or_else(|e| panic!("{method} {target}: {e}"))
    };
    table().into_iter().map(|(method, target, needs)| (parse(method, &target), needs)).collect()
}

fn user(role: Option<(&str, Role)>) -> Caller {
    let mut caller = Caller::new("user:alice".parse().unwrap());
    caller.roles = role.into_iter().map(|(name, role)| (name.parse().unwrap(), role)).collect();
    caller
}

fn admin() -> Caller {
    Caller { admin: true, ..user(None) }
}

/// Callers, and how much each may do in `team`: 0 nothing, 1 reads, 2 writes, 3 deletes.
fn callers() -> Vec<(&'static str, Caller, u8)> {
    let member = |role| user(Some(("team", role)));
    let workload = |rules: &[(&str, &str, Role)]| Caller {
        trusted: rules
            .iter()
            .map(|(organisation, patterns, role)| trust(organisation, patterns, *role))
            .collect(),
        ..Caller::new("workload:https://issuer.example a".parse().unwrap())
    };
    let robot = Caller { identity: "robot:ci".parse().unwrap(), ..member(Role::Writer) };
    vec![
        ("anonymous", Caller::anonymous(), 0),
        ("nobody's member", user(None), 0),
        ("member of another", user(Some(("other", Role::Admin))), 0),
        ("member of a longer name", user(Some(("team-two", Role::Admin))), 0),
        ("reader", member(Role::Reader), 1),
        ("writer", member(Role::Writer), 2),
        ("robot", robot, 2),
        ("maintainer", member(Role::Maintainer), 3),
        ("organisation admin", member(Role::Admin), 3),
        ("registry admin", admin(), 3),
        ("workload without a rule", workload(&[]), 0),
        ("workload of another", workload(&[("other", "", Role::Admin)]), 0),
        ("workload of another repository", workload(&[("team", "team/lib,team/app/*", Role::Admin)]), 0),
        ("workload that reads all", workload(&[("team", "", Role::Reader)]), 1),
        ("workload that writes one", workload(&[("team", "team/app", Role::Writer)]), 2),
        (
            "workload of several rules",
            workload(&[
                ("team", "", Role::Reader),
                ("team", "team/*", Role::Maintainer),
                ("other", "", Role::Admin),
            ]),
            3,
        ),
    ]
}

fn trust(organisation: &str, patterns: &str, role: Role) -> Arc<TrustRule> {
    let claims = [("sub".to_owned(), "a".to_owned())].into();
    let patterns = patterns.split(',').filter(|text| !text.is_empty()).map(|text| text.parse().unwrap());
    let place = (organisation.parse().unwrap(), patterns.collect());
    Arc::new(TrustRule::new(("https://issuer.example", true), "deploy", &claims, place, role).unwrap())
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Visibility {
    Private,
    Public,
    AnonymousPull,
}

fn access(visibility: Visibility) -> Access {
    let public = if visibility == Visibility::Public { vec!["team/*".parse().unwrap()] } else { Vec::new() };
    Access {
        mode: Mode::Local,
        read_only: false,
        anonymous_pull: visibility == Visibility::AnonymousPull,
        public,
    }
}

#[test]
fn every_operation_is_decided() {
    let named: BTreeSet<_> = operations().iter().map(|(operation, _)| operation.name()).collect();
    assert_eq!(named.len(), Operation::NAMES.len(), "an operation is missing from the table");
    for (operation, _) in operations() {
        assert_eq!(Action::named(operation.name()), Some(Action::of(&operation)), "{operation:?}");
    }
    for name in Operation::NAMES {
        assert!(Action::named(name).is_some(), "{name}");
    }
    assert_eq!(Action::named("everything"), None);
}

#[test]
fn operation_by_role_by_visibility() {
    let mut cells = 0;
    for visibility in [Visibility::Private, Visibility::Public, Visibility::AnonymousPull] {
        let access = Arc::new(access(visibility));
        for (who, caller, power) in callers() {
            let caller = Arc::new(caller);
            for (operation, needs) in operations() {
                cells += 1;
                let allowed = match needs {
                    Needs::Known => who != "anonymous",
                    Needs::Reader => power >= 1 || visibility != Visibility::Private,
                    Needs::Writer => power >= 2,
                    Needs::Maintainer => power >= 3,
                    Needs::Administrator => who == "registry admin",
                };
                let judged = access.authorize(&caller, operation.clone());
                assert_eq!(judged.is_ok(), allowed, "{visibility:?} {who} {operation:?}: {judged:?}");
                match judged {
                    Ok(permit) => assert_eq!(*permit.operation(), operation),
                    Err(denied) if who == "anonymous" => assert_eq!(denied, Denied::Anonymous),
                    Err(denied) if needs == Needs::Administrator => {
                        assert!(matches!(denied, Denied::Administrator(_)), "{denied:?}");
                    }
                    Err(denied) => assert!(matches!(denied, Denied::Role { .. }), "{denied:?}"),
                }
            }
        }
    }
    assert_eq!(cells, 3 * callers().len() * table().len());
}

#[test]
fn open_allows_everything_and_read_only_refuses_every_change() {
    for (who, caller, _) in callers() {
        let caller = Arc::new(caller);
        for (operation, needs) in operations() {
            let open = Arc::new(Access::default()).authorize(&caller, operation.clone());
            assert_eq!(open.map(|permit| permit.rule().clone()), Ok(Rule::Open), "{who} {operation:?}");
            let changes = matches!(needs, Needs::Writer | Needs::Maintainer);
            for mode in [Mode::Open, Mode::Local] {
                let access = Arc::new(Access { mode, read_only: true, ..access(Visibility::AnonymousPull) });
                let refused =
                    access.authorize(&caller, operation.clone()).is_err_and(|e| e == Denied::ReadOnly);
                assert_eq!(refused, changes, "{mode:?} {who} {operation:?}");
            }
        }
    }
}

#[test]
fn a_token_narrows_and_never_widens() {
    let access = Arc::new(access(Visibility::Private));
    let all = "repository:team/app:pull,push,delete registry:catalog:*";
    for (asked, pull, push, delete, list, admin) in [
        (all, true, true, true, true, false),
        ("repository:team/app:pull", true, false, false, false, false),
        ("repository:team/app:push", false, true, false, false, false),
        ("repository:team/app:delete", false, false, true, false, false),
        ("repository:team/other:pull,push,delete", false, false, false, false, false),
        ("repository:team:pull,push,delete", false, false, false, false, false),
        ("registry:catalog:*", false, false, false, true, false),
        ("registry:admin:*", false, false, false, false, true),
        ("registry:admin:pull repository:admin:*", false, false, false, false, false),
        ("", false, false, false, false, false),
    ] {
        let scopes = Scope::parse_list(asked).unwrap();
        for (who, caller, power) in callers() {
            let caller = Arc::new(caller.narrowed(scopes.clone()));
            for (operation, needs) in operations() {
                let allowed = match (needs, Action::of(&operation)) {
                    (_, Action::Ping) => true,
                    (_, Action::List) => list,
                    (_, Action::Pull) => power >= 1 && pull,
                    (_, Action::Push) => power >= 2 && push,
                    (_, Action::Delete) => power >= 3 && delete,
                    (_, Action::Administer) => who == "registry admin" && admin,
                };
                let judged = access.authorize(&caller, operation.clone());
                assert_eq!(judged.is_ok(), allowed, "{asked:?} {who} {operation:?}: {judged:?}");
            }
        }
    }
}

#[test]
fn tokens_get_what_the_roles_give() {
    let grant = |access: &Access, caller: &Caller, asked: &str| {
        Scope::render_list(&access.grant(caller, Scope::parse_list(asked).unwrap()))
    };
    let private = access(Visibility::Private);
    let writer = user(Some(("team", Role::Writer)));
    let all = "repository:team/app:pull,push,delete";
    assert_eq!(grant(&private, &writer, all), "repository:team/app:pull,push");
    assert_eq!(grant(&private, &admin(), all), all);
    assert_eq!(grant(&private, &Caller::anonymous(), all), "");
    assert_eq!(grant(&access(Visibility::Public), &Caller::anonymous(), all), "repository:team/app:pull");
    assert_eq!(grant(&private, &admin(), "registry:admin:*"), "registry:admin:*");
    for nobody in [Caller::anonymous(), writer.clone(), admin().narrowed(Vec::new())] {
        assert_eq!(grant(&private, &nobody, "registry:admin:*"), "");
    }
    let mount = "repository:team/app:pull,push repository:other/app:pull";
    assert_eq!(grant(&private, &writer, mount), "repository:team/app:pull,push");
    assert_eq!(grant(&private, &admin(), mount), mount);
    let frozen = Access { read_only: true, ..access(Visibility::Private) };
    assert_eq!(grant(&frozen, &writer, all), "repository:team/app:pull,push");
}

/// zot CVE-2024-39897: content of one repository was handed out through another.
#[test]
fn mounting_needs_to_read_the_source() {
    let access = Arc::new(access(Visibility::Private));
    let operation = operations().into_iter().map(|(o, _)| o).find(|o| o.name() == "upload_start").unwrap();
    let (theirs, ours) = ("other/app".parse().unwrap(), "team/lib".parse().unwrap());
    let permit = |caller: Caller| access.authorize(&Arc::new(caller), operation.clone()).unwrap();
    let writer = permit(user(Some(("team", Role::Writer))));
    assert!(!writer.may_read(&theirs) && writer.may_read(&ours));
    assert!(permit(admin()).may_read(&theirs));
    let narrowed = |text: &str| admin().narrowed(Scope::parse_list(text).unwrap());
    assert!(!permit(narrowed("repository:team/app:pull,push")).may_read(&theirs));
    assert!(permit(narrowed("repository:team/app:pull,push repository:other/app:pull")).may_read(&theirs));
}

#[test]
fn lists_show_what_may_be_read() {
    let access = access(Visibility::Public);
    let [ours, theirs] = ["team/app", "other/app"].map(|name| name.parse().unwrap());
    let member = user(Some(("other", Role::Reader)));
    assert!(access.may_list(&member, &ours) && access.may_list(&member, &theirs));
    assert!(access.may_list(&Caller::anonymous(), &ours) && !access.may_list(&Caller::anonymous(), &theirs));
    assert!(!access.lists_all(&member) && access.lists_all(&admin()));
    assert_eq!(access.listed_beginnings(&member), ["other", "team"]);
    assert_eq!(access.listed_beginnings(&Caller::anonymous()), ["team"]);
    assert_eq!(access.listed_beginnings(&admin()), [""]);
    assert!(Access { public: Vec::new(), ..access }.listed_beginnings(&Caller::anonymous()).is_empty());
}

#[test]
fn patterns_of_repositories() {
    let public = |text: &str| vec![text.parse().unwrap()];
    let access = |text: &str| Access { mode: Mode::Local, public: public(text), ..Access::default() };
    let open =
        |pattern: &str, name: &str| access(pattern).may_list(&Caller::anonymous(), &name.parse().unwrap());
    assert!(open("team/*", "team/app") && !open("team/*", "team/app/sub") && !open("team/*", "team"));
    assert!(open("team/**", "team/app/sub") && !open("team/**", "teams/app"));
    assert!(open("solo", "solo") && !open("solo", "solo/x"));
}

#[test]
fn denials_say_what_would_help() {
    let denied = access(Visibility::Private)
        .judge(&user(Some(("team", Role::Reader))), Action::Push, Some(&"team/app".parse().unwrap()))
        .unwrap_err();
    assert_eq!(
        denied.to_string(),
        "user:alice may not push here: that needs the role writer in organisation team, and they have reader; an \
         administrator can give it with `rreg org add`"
    );
    assert_eq!(denied.rule(), "role needed");
    let mut workload = Caller::new("workload:https://issuer.example a".parse().unwrap());
    workload.trusted.push(trust("team", "", Role::Reader));
    let judge =
        |action| access(Visibility::Private).judge(&workload, action, Some(&"team/app".parse().unwrap()));
    let denied = judge(Action::Push).unwrap_err().to_string();
    assert!(denied.ends_with("they have reader; a trust rule of auth.oidc can give it"), "{denied}");
    let rule = judge(Action::Pull).unwrap().to_string();
    assert_eq!(rule, "trust rule \"deploy\" of auth.oidc (reader)");
}
