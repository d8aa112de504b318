//! Distinguished names.

use crate::notation::{check_subject_pattern, subject_matches};

#[test]
fn a_pattern_is_part_of_a_subject() {
    let subject = "CN=Release,OU=Builds,O=acme,L=Seattle,ST=WA,C=US";
    for pattern in [
        "C=US,ST=WA,O=acme",
        "x509.subject:C=US,ST=WA,O=acme",
        "x509.subject: C=US, ST=WA, L=Seattle, O=acme",
        "O=acme,S=WA,C=US,CN=Release",
        "*",
    ] {
        assert!(subject_matches(pattern, subject), "{pattern}");
        assert!(check_subject_pattern(pattern).is_ok(), "{pattern}");
    }
    for pattern in ["C=US,ST=WA,O=Acme", "C=US,ST=WA,O=acme,CN=Other", "C=US,ST=WA,O=acme,STREET=Main"] {
        assert!(!subject_matches(pattern, subject), "{pattern}");
        assert!(check_subject_pattern(pattern).is_ok(), "{pattern}");
    }
}

#[test]
fn a_subject_may_group_and_repeat_its_attributes() {
    let subject = r"CN=Release+OU=Builds+OU=a\+b,DC=com,DC=acme,O=acme+ST=WA,C=US";
    for pattern in [
        "C=US,ST=WA,O=acme",
        "C=US,ST=WA,O=acme,CN=Release,OU=Builds",
        r"C=US,ST=WA,O=acme,OU=a\+b",
        "DC=acme,C=US,ST=WA,O=acme",
    ] {
        assert!(subject_matches(pattern, subject), "{pattern}");
    }
    for pattern in ["C=US,ST=WA,O=acme,OU=b", "C=US,ST=WA,O=acme,DC=org", "C=US,ST=WA,O=acme,OU=Builds+OU=x"]
    {
        assert!(!subject_matches(pattern, subject), "{pattern}");
    }
    // Two organizations are none in particular.
    assert!(!subject_matches("C=US,ST=WA,O=acme", "CN=x,O=mallory+O=acme,ST=WA,C=US"));
    assert!(!subject_matches("C=US,ST=WA,O=acme", "CN=x,O=mallory,O=acme,ST=WA,C=US"));
}

#[test]
fn patterns_that_cannot_be_read_match_nothing() {
    for pattern in [
        "",
        "invalid",
        "C=US,O=acme",
        "C=US,ST=WA",
        "C=US,ST=WA,O=acme,S=WA",
        "C=US,ST=WA,O=acme,OU=#abcd",
        "C=US,ST=WA,O=acme+OU=x",
        "C=US,ST=WA,O=",
        "C=US,ST=WA,O=acme\\",
    ] {
        assert!(check_subject_pattern(pattern).is_err(), "{pattern}");
        assert!(!subject_matches(pattern, "O=acme,ST=WA,C=US"), "{pattern}");
    }
}

#[test]
fn a_value_cannot_pose_as_other_attributes() {
    use super::mint::{params, self_signed};
    let mut forged = params("x");
    let mut name = rcgen::DistinguishedName::new();
    name.push(rcgen::DnType::CommonName, "Mallory,O=acme,ST=WA,C=US");
    name.push(rcgen::DnType::OrganizationalUnitName, " #+\"\\<>; ");
    forged.distinguished_name = name;
    let subject = self_signed(forged).certificate().subject();
    assert_eq!(subject, r#"OU=\ #\+\"\\\<\>\;\ ,CN=Mallory\,O=acme\,ST=WA\,C=US"#);
    assert!(!subject_matches("C=US,ST=WA,O=acme", &subject));
    let read = super::super::identity::parse(&subject).unwrap();
    assert_eq!(read["OU"], " #+\"\\<>; ");
    assert_eq!(read["CN"], "Mallory,O=acme,ST=WA,C=US");
}

#[test]
fn escapes_are_read() {
    let read = |dn| super::super::identity::parse(dn).map(|all| all["O"].clone());
    assert_eq!(read(r"O=Sm\c3\b6rg\2c Inc").as_deref(), Ok("Smörg, Inc"));
    assert_eq!(read(r"O=  spaced  ").as_deref(), Ok("spaced"));
    assert_eq!(read(r"O=kept\ ").as_deref(), Ok("kept "));
    assert!(read(r"O=\ff").is_err());
}
