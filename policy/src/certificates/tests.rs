use super::*;

#[test]
fn roots_that_are_none_are_refused() {
    assert!(CertificateRoots::parse(b"").is_err());
    assert!(
        CertificateRoots::parse(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err()
    );
}
