//! Rules on certificates and chains.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};

use super::mint::{
    Minted, authority_params, draft, extension, issued, params, root, self_signed, signer_params,
};
use super::{JWS, failed, judge, trusting};
use crate::notation::{NotationTrust, TrustStores};
use crate::verdict::Verdict;

#[track_caller]
fn refused(leaf: &Minted, others: &[&Minted], why: &str) {
    let anchor = others.last().map_or(leaf, |last| last);
    let found = judge(JWS, &draft(leaf, others).jws(), &trusting(&anchor.der));
    failed(&found, "integrity", Verdict::Invalid);
    let detail = &found.failure().unwrap().detail;
    assert!(detail.contains(why), "{detail}");
}

fn leaf_with(change: impl Fn(&mut CertificateParams)) -> (Minted, Minted) {
    let root = root();
    let mut params = signer_params("Release");
    change(&mut params);
    (issued(params, &root), root)
}

#[test]
fn leaves_that_must_not_sign() {
    let usage = |usages: &[KeyUsagePurpose]| leaf_with(|params| params.key_usages = usages.to_vec());
    let (leaf, root) = usage(&[]);
    refused(&leaf, &[&root], "no key usage");
    let (leaf, root) = usage(&[KeyUsagePurpose::ContentCommitment]);
    refused(&leaf, &[&root], "lacks digitalSignature");
    let (leaf, root) = usage(&[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment]);
    refused(&leaf, &[&root], "besides digitalSignature");
    let (leaf, root) = usage(&[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign]);
    refused(&leaf, &[&root], "besides digitalSignature");
    for forbidden in [
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::EmailProtection,
        ExtendedKeyUsagePurpose::TimeStamping,
        ExtendedKeyUsagePurpose::OcspSigning,
    ] {
        let (leaf, root) = leaf_with(|params| params.extended_key_usages = vec![forbidden.clone()]);
        refused(&leaf, &[&root], "must not have");
    }
    let (leaf, root) = leaf_with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    refused(&leaf, &[&root], "is an authority");
    // digitalSignature alone, but the extension is not critical.
    let (leaf, root) = leaf_with(|params| {
        params.key_usages.clear();
        params.custom_extensions = vec![extension(&[2, 5, 29, 15], false, vec![3, 2, 7, 0x80])];
    });
    refused(&leaf, &[&root], "not critical");
    let (leaf, root) = leaf_with(|params| {
        params.custom_extensions = vec![extension(&[1, 3, 6, 1, 4, 1, 99999], true, vec![5, 0])]
    });
    refused(&leaf, &[&root], "not understood");
}

#[test]
fn leaves_that_may_sign() {
    let may: [&dyn Fn(&mut CertificateParams); 4] = [
        &|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning],
        &|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any],
        &|params| params.key_usages.push(KeyUsagePurpose::ContentCommitment),
        &|params| params.custom_extensions = vec![extension(&[1, 3, 6, 1, 4, 1, 99999], false, vec![5, 0])],
    ];
    for change in may {
        let (leaf, root) = leaf_with(change);
        let found = judge(JWS, &draft(&leaf, &[&root]).jws(), &trusting(&root.der));
        assert_eq!(found.verdict, Verdict::Valid, "{found:?}");
    }
}

#[test]
fn a_chain_is_ordered_and_whole() {
    let root = root();
    let middle = issued(authority_params("Middle"), &root);
    let leaf = issued(signer_params("Release"), &middle);
    let whole = judge(JWS, &draft(&leaf, &[&middle, &root]).jws(), &trusting(&root.der));
    assert_eq!(whole.verdict, Verdict::Valid, "{whole:?}");
    // The trusted certificate may be any of the chain.
    for trusted in [&middle, &root] {
        let found = judge(JWS, &draft(&leaf, &[&middle, &root]).jws(), &trusting(&trusted.der));
        assert_eq!(found.verdict, Verdict::Valid, "{found:?}");
    }
    refused(&leaf, &[&middle], "must end at a root");
    refused(&leaf, &[&root, &middle], "must end at a root");
    refused(&leaf, &[&root], "was not issued by");
    let alone = judge(JWS, &draft(&leaf, &[]).jws(), &trusting(&root.der));
    failed(&alone, "integrity", Verdict::Invalid);
    refused(&leaf, &[&middle, &root, &root], "signed by itself but does not end the chain");
    let other = self_signed(authority_params("Middle"));
    refused(&leaf, &[&other], "was not issued by");
}

#[test]
fn authorities_must_be_authorities() {
    let root = root();
    let with = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = authority_params("Middle");
        change(&mut params);
        let middle = issued(params, &root);
        (issued(signer_params("Release"), &middle), middle)
    };
    let (leaf, middle) = with(&|params| params.is_ca = IsCa::ExplicitNoCa);
    refused(&leaf, &[&middle, &root], "is no authority");
    let (leaf, middle) = with(&|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    refused(&leaf, &[&middle, &root], "may not sign certificates");
    let (leaf, middle) = with(&|params| params.key_usages.clear());
    refused(&leaf, &[&middle, &root], "no key usage");
    // The root allows none between itself and the leaf.
    let mut narrow = authority_params("Root");
    narrow.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let narrow = self_signed(narrow);
    let middle = issued(authority_params("Middle"), &narrow);
    let leaf = issued(signer_params("Release"), &middle);
    refused(&leaf, &[&middle, &narrow], "path length");
    let direct = issued(signer_params("Release"), &narrow);
    let found = judge(JWS, &draft(&direct, &[&narrow]).jws(), &trusting(&narrow.der));
    assert_eq!(found.verdict, Verdict::Valid, "{found:?}");
}

#[test]
fn a_self_signed_signer_is_its_own_root() {
    let alone = self_signed(signer_params("Release"));
    let found = judge(JWS, &draft(&alone, &[]).jws(), &trusting(&alone.der));
    assert_eq!(found.verdict, Verdict::Valid, "{found:?}");
}

#[test]
fn an_unknown_root_is_unverifiable() {
    let (root, other) = (root(), root());
    let leaf = issued(signer_params("Release"), &root);
    let found = judge(JWS, &draft(&leaf, &[&root]).jws(), &trusting(&other.der));
    failed(&found, "authenticity", Verdict::Unverifiable);
    assert_eq!(found.signer, None);
    let by_authority = draft(&leaf, &[&root]).by_authority("2024-05-01T00:00:00Z");
    let stores = TrustStores::new([("ca", "acme", "root.der", root.der.as_slice())]).unwrap();
    let trust = NotationTrust::strict("acme", &stores).unwrap();
    failed(&judge(JWS, &by_authority.jws(), &trust), "authenticity", Verdict::Unverifiable);
}

#[test]
fn stores_take_no_leaf_that_others_issued() {
    let root = root();
    let leaf = issued(signer_params("Release"), &root);
    let plain = issued(params("Nobody"), &root);
    for der in [&leaf.der, &plain.der] {
        let error = TrustStores::new([("ca", "acme", "leaf.der", der.as_slice())]).unwrap_err();
        assert!(error.to_string().contains("leaf.der"), "{error}");
    }
    let middle = issued(authority_params("Middle"), &root);
    assert!(TrustStores::new([("ca", "acme", "middle.der", middle.der.as_slice())]).is_ok());
    assert!(TrustStores::new([("tsa", "acme", "middle.der", middle.der.as_slice())]).is_err());
    assert!(TrustStores::new([("other", "acme", "root.der", root.der.as_slice())]).is_err());
    assert!(TrustStores::new([("ca", "a/b", "root.der", root.der.as_slice())]).is_err());
    assert!(TrustStores::new([("ca", "acme", "empty", b"".as_slice())]).is_err());
}
