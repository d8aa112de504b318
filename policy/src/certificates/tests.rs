//! Chains with an intermediate, and what is refused.

use chrono::TimeDelta;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::*;

struct Chain {
    root: Vec<u8>,
    between: Vec<u8>,
    leaf: Vec<u8>,
}

struct Plan {
    usage: Option<ExtendedKeyUsagePurpose>,
    root_until: DateTime<Utc>,
    between_is_ca: bool,
}

fn plan() -> Plan {
    Plan {
        usage: Some(ExtendedKeyUsagePurpose::CodeSigning),
        root_until: Utc::now() + TimeDelta::days(100),
        between_is_ca: true,
    }
}

fn params(name: &str, ca: bool, until: DateTime<Utc>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = if ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
    params.key_usages =
        vec![if ca { KeyUsagePurpose::KeyCertSign } else { KeyUsagePurpose::DigitalSignature }];
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds =
        |time: DateTime<Utc>| std::time::Duration::from_secs(u64::try_from(time.timestamp()).unwrap());
    params.not_before = epoch + seconds(Utc::now() - TimeDelta::days(100));
    params.not_after = epoch + seconds(until);
    params
}

fn chain(plan: &Plan) -> Chain {
    let keys = [(); 3].map(|()| KeyPair::generate().unwrap());
    let root = params("acme root", true, plan.root_until);
    let between = params("acme signing", plan.between_is_ca, Utc::now() + TimeDelta::days(50));
    let mut leaf = params("release", false, Utc::now() + TimeDelta::days(10));
    leaf.subject_alt_names = vec![rcgen::SanType::Rfc822Name("release@acme.test".try_into().unwrap())];
    leaf.extended_key_usages = plan.usage.clone().into_iter().collect();
    Chain {
        root: root.self_signed(&keys[0]).unwrap().der().to_vec(),
        between: between.signed_by(&keys[1], &Issuer::from_params(&root, &keys[0])).unwrap().der().to_vec(),
        leaf: leaf.signed_by(&keys[2], &Issuer::from_params(&between, &keys[1])).unwrap().der().to_vec(),
    }
}

fn pem(der: &[u8]) -> String {
    der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).unwrap()
}

fn roots(ders: &[&[u8]]) -> CertificateRoots {
    let text: String = ders.iter().map(|der| pem(der)).collect();
    CertificateRoots::parse(text.as_bytes()).unwrap()
}

/// The name of what is wrong; `unknown` for an authority that is not among the roots.
fn wrong(roots: &CertificateRoots, chain: &Chain, others: &[Vec<u8>], at: DateTime<Utc>) -> &'static str {
    match roots.verify(&chain.leaf, others, at) {
        Ok(_) => "nothing",
        Err(ChainError::Unknown(_)) => "unknown",
        Err(ChainError::Wrong(name, _)) => name,
    }
}

#[test]
fn a_chain_leads_through_what_it_brings_along() {
    let chain = chain(&plan());
    let (roots, now) = (roots(&[&chain.root]), Utc::now());
    assert_eq!(wrong(&roots, &chain, std::slice::from_ref(&chain.between), now), "nothing");
    let verified = roots.verify(&chain.leaf, std::slice::from_ref(&chain.between), now).ok().unwrap();
    let Signer::Certificate { subject, names, root } = verified.signer else {
        panic!("{:?}", verified.signer)
    };
    assert_eq!((subject.as_str(), names), ("CN=release", vec!["release@acme.test".to_owned()]));
    assert_eq!(root, Digest::sha256(&chain.root));
    assert!(verified.until.unwrap() < now + TimeDelta::days(11));
    assert_eq!(wrong(&roots, &chain, &[], now), "unknown");
    assert_eq!(wrong(&roots, &chain, std::slice::from_ref(&chain.root), now), "unknown");
}

#[test]
fn what_is_wrong_is_named() {
    let right = chain(&plan());
    let trusted = roots(&[&right.root]);
    let between = [right.between.clone()];
    assert_eq!(wrong(&trusted, &right, &between, Utc::now() + TimeDelta::days(11)), "certificate-time");
    assert_eq!(wrong(&trusted, &right, &between, Utc::now() - TimeDelta::days(101)), "certificate-time");
    let other = chain(&plan());
    assert_eq!(wrong(&trusted, &right, &[other.between], Utc::now()), "certificate-chain");
    let served = chain(&Plan { usage: Some(ExtendedKeyUsagePurpose::ServerAuth), ..plan() });
    let trusted = roots(&[&served.root]);
    assert_eq!(
        wrong(&trusted, &served, std::slice::from_ref(&served.between), Utc::now()),
        "certificate-chain"
    );
    let weak = chain(&Plan { between_is_ca: false, ..plan() });
    let trusted = roots(&[&weak.root]);
    assert_eq!(wrong(&trusted, &weak, std::slice::from_ref(&weak.between), Utc::now()), "certificate-chain");
    let old = chain(&Plan { root_until: Utc::now() - TimeDelta::days(1), ..plan() });
    let trusted = roots(&[&old.root]);
    assert_eq!(wrong(&trusted, &old, std::slice::from_ref(&old.between), Utc::now()), "certificate-time");
}

#[test]
fn a_certificate_that_does_not_say_what_it_is_for_signs() {
    for (usage, found) in [
        (None, "nothing"),
        (Some(ExtendedKeyUsagePurpose::Any), "nothing"),
        (Some(ExtendedKeyUsagePurpose::CodeSigning), "nothing"),
        (Some(ExtendedKeyUsagePurpose::TimeStamping), "certificate-chain"),
        (Some(ExtendedKeyUsagePurpose::ClientAuth), "certificate-chain"),
    ] {
        let made = chain(&Plan { usage: usage.clone(), ..plan() });
        let trusted = roots(&[&made.root]);
        assert_eq!(
            wrong(&trusted, &made, std::slice::from_ref(&made.between), Utc::now()),
            found,
            "{usage:?}"
        );
    }
}

#[test]
fn no_changed_byte_of_a_certificate_is_accepted() {
    let chain = chain(&plan());
    let trusted = roots(&[&chain.root]);
    for at in 0..chain.leaf.len() {
        let mut leaf = chain.leaf.clone();
        leaf[at] ^= 1;
        assert!(
            trusted.verify(&leaf, std::slice::from_ref(&chain.between), Utc::now()).is_err(),
            "byte {at}"
        );
    }
}

#[test]
fn roots_are_named_by_what_they_are() {
    let (one, two) = (chain(&plan()), chain(&plan()));
    assert_eq!(roots(&[&one.root, &two.root]).id(), roots(&[&two.root, &one.root, &two.root]).id());
    assert_ne!(roots(&[&one.root]).id(), roots(&[&two.root]).id());
}

#[test]
fn roots_that_are_none_are_refused() {
    assert!(CertificateRoots::parse(b"").is_err());
    assert!(
        CertificateRoots::parse(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err()
    );
    assert!(CertificateRoots::parse(pem(&chain(&plan()).leaf).as_bytes()).is_err());
    assert!(CertificateRoots::parse(&vec![b'x'; MAX_PEM + 1]).is_err());
}
