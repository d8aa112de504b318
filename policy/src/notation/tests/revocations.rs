//! Revocation lists and OCSP.

use chrono::{DateTime, Utc};
use rcgen::ExtendedKeyUsagePurpose;
use x509_cert::ext::pkix::CrlReason;
use x509_ocsp::CertStatus;

use super::mint::{Minted, authority_params, draft, issued, root, self_signed, signer_params};
use super::mint_answers::{List, crl_point, freshest_point, list_extension, ocsp_answer, ocsp_responder};
use super::{JWS, evidence, failed, judge_at, now, subject, time, trusting};
use crate::context::VerifyContext;
use crate::limits::Limits;
use crate::notation::{Answer, Fetch, Revocation, wanted};
use crate::verdict::{Verdict, Verification};

const LIST: &str = "http://crl.acme.io/list";
const DELTA: &str = "http://crl.acme.io/delta";
const OCSP: &str = "http://ocsp.acme.io";

fn list() -> List<'static> {
    List {
        number: 5,
        from: time("2025-05-31T00:00:00Z"),
        to: time("2025-06-08T00:00:00Z"),
        revoked: Vec::new(),
        freshest: None,
        base: None,
        extra: Vec::new(),
    }
}

fn leaf(root: &Minted, extensions: Vec<rcgen::CustomExtension>) -> Minted {
    let mut params = signer_params("Release");
    params.custom_extensions = extensions;
    issued(params, root)
}

fn crl(url: &str) -> Fetch {
    Fetch::Crl { url: url.to_owned() }
}

fn answered(answers: impl IntoIterator<Item = (Fetch, Vec<u8>)>) -> Revocation {
    let mut revocation = Revocation::check();
    for (fetch, body) in answers {
        revocation.insert(fetch, Answer { body: Ok(body.into()), fetched_at: now() });
    }
    revocation
}

fn judge(leaf: &Minted, root: &Minted, revocation: &Revocation) -> Verification {
    judge_at(JWS, &draft(leaf, &[root]).jws(), &trusting(&root.der), revocation, now())
}

fn asked(content: &[u8], root: &Minted, revocation: &Revocation, now: DateTime<Utc>) -> Vec<Fetch> {
    let limits = Limits::default();
    let context = VerifyContext { now, limits: &limits, revocation };
    wanted(&evidence(JWS, content, &subject()), &trusting(&root.der), &context)
}

#[test]
fn a_list_says_who_was_revoked() {
    let root = root();
    let (leaf, other) = (leaf(&root, vec![crl_point(LIST)]), issued(signer_params("Other"), &root));
    let at = time("2025-05-01T00:00:00Z");
    let with = |revoked| answered([(crl(LIST), List { revoked, ..list() }.sign(&root))]);
    let good = judge(&leaf, &root, &with(vec![(&other, at, CrlReason::KeyCompromise, None)]));
    assert_eq!(good.verdict, Verdict::Valid, "{good:?}");
    assert_eq!(good.holds_until, Some(time("2025-06-08T00:00:00Z")));
    for reason in
        [CrlReason::Unspecified, CrlReason::KeyCompromise, CrlReason::Superseded, CrlReason::CertificateHold]
    {
        let found = judge(&leaf, &root, &with(vec![(&leaf, at, reason, None)]));
        failed(&found, "revocation", Verdict::Invalid);
        let lenient = with(vec![(&leaf, at, reason, None)]).accepting_unknown();
        failed(&judge(&leaf, &root, &lenient), "revocation", Verdict::Invalid);
    }
}

#[test]
fn what_is_not_known_is_asked_again_soon() {
    let root = root();
    let leaf = leaf(&root, vec![crl_point(LIST)]);
    let mut failed_to_come = Revocation::check();
    let away = Answer { body: Err("the host is away".into()), fetched_at: now() };
    failed_to_come.insert(crl(LIST), away);
    let soon = Some(now() + chrono::TimeDelta::minutes(5));
    for unknown in [Revocation::check(), failed_to_come, answered([(crl(LIST), b"no list".to_vec())])] {
        let strict = judge(&leaf, &root, &unknown);
        failed(&strict, "revocation", Verdict::Error);
        assert_eq!(strict.holds_until, soon);
        let lenient = judge(&leaf, &root, &unknown.accepting_unknown());
        assert_eq!((lenient.verdict, lenient.holds_until), (Verdict::Valid, soon), "{lenient:?}");
    }
}

#[test]
fn lists_that_prove_nothing() {
    let (root, stranger) = (root(), self_signed(authority_params("Root")));
    let leaf = leaf(&root, vec![crl_point(LIST)]);
    let old = List { to: time("2025-06-01T11:00:00Z"), ..list() };
    let early = List { from: time("2025-06-02T00:00:00Z"), ..list() };
    let unknown = List { extra: vec![list_extension("1.3.6.1.4.1.99999", true, vec![5, 0])], ..list() };
    // An issuing distribution point: only authorities' certificates; another place; only users' certificates.
    let scope = |value: &[u8]| list_extension("2.5.29.28", true, value.to_vec());
    let for_authorities = List { extra: vec![scope(&[0x30, 3, 0x82, 1, 0xff])], ..list() };
    let elsewhere = List { extra: vec![scope(b"\x30\x10\xa0\x0e\xa0\x0c\x86\x0ahttp://b.c")], ..list() };
    let for_users = List { extra: vec![scope(&[0x30, 3, 0x81, 1, 0xff])], ..list() };
    let mut tampered = list().sign(&root);
    let last = tampered.len() - 1;
    tampered[last] ^= 1;
    let cases = [
        list().sign(&stranger),
        old.sign(&root),
        early.sign(&root),
        unknown.sign(&root),
        for_authorities.sign(&root),
        elsewhere.sign(&root),
        tampered,
        b"no list".to_vec(),
    ];
    for body in cases {
        let revocation = answered([(crl(LIST), body)]);
        failed(&judge(&leaf, &root, &revocation), "revocation", Verdict::Error);
        assert_eq!(judge(&leaf, &root, &revocation.accepting_unknown()).verdict, Verdict::Valid);
    }
    let found = judge(&leaf, &root, &answered([(crl(LIST), for_users.sign(&root))]));
    assert_eq!(found.verdict, Verdict::Valid, "{found:?}");
    // An authority that may not sign lists.
    let mut params = authority_params("Root");
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let narrow = self_signed(params);
    let leaf = self::leaf(&narrow, vec![crl_point(LIST)]);
    let found = judge(&leaf, &narrow, &answered([(crl(LIST), list().sign(&narrow))]));
    failed(&found, "revocation", Verdict::Error);
}

#[test]
fn delta_lists_add_and_remove() {
    let root = root();
    let leaf = leaf(&root, vec![crl_point(LIST), freshest_point(DELTA)]);
    let (first, second) = (time("2025-05-01T00:00:00Z"), time("2025-05-02T00:00:00Z"));
    let hold = || vec![(&leaf, first, CrlReason::CertificateHold, None)];
    let base = |revoked| List { revoked, freshest: Some(DELTA), ..list() }.sign(&root);
    let delta = |number, base, revoked| List { number, base, revoked, ..list() }.sign(&root);
    let judge = |base: &[u8], delta: &[u8]| {
        judge(&leaf, &root, &answered([(crl(LIST), base.to_vec()), (crl(DELTA), delta.to_vec())]))
    };
    let free = delta(6, Some(5), vec![(&leaf, second, CrlReason::RemoveFromCRL, None)]);
    let good = judge(&base(hold()), &free);
    assert_eq!(good.verdict, Verdict::Valid, "{good:?}");
    failed(&judge(&base(hold()), &delta(6, Some(5), vec![])), "revocation", Verdict::Invalid);
    let added = delta(6, Some(5), vec![(&leaf, second, CrlReason::KeyCompromise, None)]);
    failed(&judge(&base(vec![]), &added), "revocation", Verdict::Invalid);
    // Not newer, on a later base, and no delta list at all.
    for wrong in [delta(5, Some(5), vec![]), delta(6, Some(6), vec![]), delta(6, None, vec![])] {
        failed(&judge(&base(vec![]), &wrong), "revocation", Verdict::Error);
    }
    let revocation = answered([(crl(LIST), base(vec![]))]);
    failed(&self::judge(&leaf, &root, &revocation), "revocation", Verdict::Error);
    let content = draft(&leaf, &[&root]).jws();
    assert_eq!(asked(&content, &root, &revocation, now()), [crl(DELTA)]);
    let silent = answered([(crl(LIST), list().sign(&root))]);
    failed(&self::judge(&leaf, &root, &silent), "revocation", Verdict::Error);
}

#[test]
fn what_was_signed_before_the_invalidity_stays() {
    let root = root();
    let leaf = leaf(&root, vec![crl_point(LIST)]);
    let at = time("2025-05-01T00:00:00Z");
    let revoked = vec![(&leaf, at, CrlReason::KeyCompromise, Some(time("2025-04-01T00:00:00Z")))];
    let revocation = answered([(crl(LIST), List { revoked, ..list() }.sign(&root))]);
    let judge =
        |draft: super::mint::Draft<'_>| judge_at(JWS, &draft.jws(), &trusting(&root.der), &revocation, now());
    let before = judge(draft(&leaf, &[&root]).by_authority("2025-03-01T00:00:00Z"));
    assert_eq!(before.verdict, Verdict::Valid, "{before:?}");
    failed(
        &judge(draft(&leaf, &[&root]).by_authority("2025-04-15T00:00:00Z")),
        "revocation",
        Verdict::Invalid,
    );
    // A time that the signer alone claims does not count.
    failed(&judge(draft(&leaf, &[&root])), "revocation", Verdict::Invalid);
}

fn good() -> CertStatus {
    CertStatus::Good(der::asn1::Null)
}

fn revoked() -> CertStatus {
    let at = der::asn1::GeneralizedTime::from_unix_duration(std::time::Duration::from_secs(1_700_000_000))
        .unwrap();
    CertStatus::revoked(x509_ocsp::RevokedInfo {
        revocation_time: x509_ocsp::OcspGeneralizedTime(at),
        revocation_reason: Some(CrlReason::KeyCompromise),
    })
}

fn week() -> (DateTime<Utc>, DateTime<Utc>) {
    (time("2025-05-31T00:00:00Z"), time("2025-06-07T00:00:00Z"))
}

#[test]
fn a_responder_answers_about_one_certificate() {
    let root = root();
    let leaf = leaf(&root, vec![ocsp_responder(OCSP)]);
    let other = self::leaf(&root, vec![ocsp_responder(OCSP)]);
    let content = draft(&leaf, &[&root]).jws();
    let [fetch] = asked(&content, &root, &Revocation::check(), now()).try_into().unwrap();
    let Fetch::Ocsp { url, request } = &fetch else { panic!("{fetch:?}") };
    assert_eq!(url, OCSP);
    let other_fetch = asked(&draft(&other, &[&root]).jws(), &root, &Revocation::check(), now()).remove(0);
    let Fetch::Ocsp { request: other_request, .. } = &other_fetch else { panic!("{other_fetch:?}") };

    let delegate_with = |purposes: Vec<ExtendedKeyUsagePurpose>, issuer: &Minted| {
        let mut params = signer_params("Responder");
        params.extended_key_usages = purposes;
        issued(params, issuer)
    };
    let delegate = delegate_with(vec![ExtendedKeyUsagePurpose::OcspSigning], &root);
    let plain = delegate_with(vec![], &root);
    let stranger_root = self_signed(authority_params("Root"));
    let stranger = delegate_with(vec![ExtendedKeyUsagePurpose::OcspSigning], &stranger_root);
    let old = (week().0, time("2025-06-01T11:00:00Z"));
    let early = (time("2025-06-02T00:00:00Z"), week().1);
    let mut tampered = ocsp_answer(request, good(), week(), &root, &[]);
    let last = tampered.len() - 1;
    tampered[last] ^= 1;
    let cases = [
        (ocsp_answer(request, good(), week(), &root, &[]), Verdict::Valid),
        (ocsp_answer(request, good(), week(), &delegate, &[&delegate]), Verdict::Valid),
        (ocsp_answer(request, revoked(), week(), &root, &[]), Verdict::Invalid),
        (ocsp_answer(request, revoked(), week(), &delegate, &[&delegate]), Verdict::Invalid),
        (ocsp_answer(request, CertStatus::unknown(), week(), &root, &[]), Verdict::Error),
        (ocsp_answer(request, good(), week(), &plain, &[&plain]), Verdict::Error),
        (ocsp_answer(request, good(), week(), &stranger, &[&stranger]), Verdict::Error),
        (ocsp_answer(request, good(), week(), &stranger_root, &[]), Verdict::Error),
        (ocsp_answer(other_request, good(), week(), &root, &[]), Verdict::Error),
        (ocsp_answer(request, good(), old, &root, &[]), Verdict::Error),
        (ocsp_answer(request, good(), early, &root, &[]), Verdict::Error),
        (tampered, Verdict::Error),
        (x509_tryer(), Verdict::Error),
        (b"nothing".to_vec(), Verdict::Error),
    ];
    for (at, (body, expected)) in cases.into_iter().enumerate() {
        let revocation = answered([(fetch.clone(), body)]);
        let found = judge_at(JWS, &content, &trusting(&root.der), &revocation, now());
        assert_eq!(found.verdict, expected, "case {at}: {found:?}");
        if expected == Verdict::Valid {
            assert_eq!(found.holds_until, Some(week().1));
        }
    }
}

/// A responder that asks to come back later.
fn x509_tryer() -> Vec<u8> {
    der::Encode::to_der(&x509_ocsp::OcspResponse::try_later()).unwrap()
}

#[test]
fn the_list_is_asked_where_the_responder_does_not_answer() {
    let root = root();
    let leaf = leaf(&root, vec![ocsp_responder(OCSP), crl_point(LIST)]);
    let content = draft(&leaf, &[&root]).jws();
    let mut revocation = Revocation::check();
    // The list is not asked for while the responder may answer.
    let [first] = asked(&content, &root, &revocation, now()).try_into().unwrap();
    assert!(matches!(first, Fetch::Ocsp { .. }));
    revocation
        .insert(first.clone(), Answer { body: Err("connection refused".to_owned()), fetched_at: now() });
    assert_eq!(asked(&content, &root, &revocation, now()), [crl(LIST)]);
    revocation.insert(crl(LIST), Answer { body: Ok(list().sign(&root).into()), fetched_at: now() });
    assert_eq!(judge_at(JWS, &content, &trusting(&root.der), &revocation, now()).verdict, Verdict::Valid);
    assert!(asked(&content, &root, &revocation, now()).is_empty());
    // After a while the responder is tried again, and a list that ended is fetched anew.
    let later = time("2025-06-09T00:00:00Z");
    assert_eq!(asked(&content, &root, &revocation, later).first(), Some(&first));
    revocation.insert(first, Answer { body: Err("connection refused".to_owned()), fetched_at: later });
    assert_eq!(asked(&content, &root, &revocation, later), [crl(LIST)]);
}

#[test]
fn nobody_is_asked_about_strangers() {
    let (root, other) = (root(), root());
    let leaf = leaf(&root, vec![ocsp_responder(OCSP), crl_point(LIST)]);
    let content = draft(&leaf, &[&root]).jws();
    assert!(asked(&content, &other, &Revocation::check(), now()).is_empty());
    assert!(asked(&content, &root, &Revocation::off(), now()).is_empty());
    let found = judge_at(JWS, &content, &trusting(&root.der), &Revocation::off(), now());
    assert_eq!(found.verdict, Verdict::Valid);
    let made = found.checks.iter().find(|check| check.name == "revocation").unwrap();
    assert_eq!((made.verdict, made.enforced), (Verdict::Unverifiable, false));
    let secret = self::leaf(&root, vec![crl_point("file:///etc/passwd")]);
    assert!(asked(&draft(&secret, &[&root]).jws(), &root, &Revocation::check(), now()).is_empty());
}
