use coset::cbor::Value as Cbor;
use coset::{
    CborSerializable as _, CoseSign1, CoseSign1Builder, HeaderBuilder, TaggedCborSerializable as _, iana,
};

use super::*;

/// Gives a header that has `name` as the beginning of its file name a good checksum.
fn tar(name: &[u8]) -> Vec<u8> {
    let mut bytes = name.to_vec();
    bytes.resize(TAR_HEADER, 0);
    bytes[100..108].copy_from_slice(b"0000644\0");
    bytes[124..136].copy_from_slice(b"00000000000\0");
    checksum(&mut bytes);
    bytes.extend([0; 1024]);
    bytes
}

fn checksum(header: &mut [u8]) {
    header[TAR_CHECKSUM].fill(b' ');
    let sum: u32 = header[..TAR_HEADER].iter().map(|byte| u32::from(*byte)).sum();
    header[TAR_CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn what_could_be_unpacked_is_no_evidence_whatever_it_is_called() {
    let types = [
        "application/vnd.in-toto+json",
        "application/vnd.dsse.envelope.v1+json",
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "application/vnd.dev.cosign.simplesigning.v1+json",
        "application/vnd.cncf.notary.signature",
        "application/jose+json",
        "application/cose",
        "application/spdx+json",
        "application/vnd.cyclonedx+json",
        "text/spdx+json",
    ];
    let mut contents = vec![
        b"\x1f\x8b\x08".to_vec(),
        b"\x28\xb5\x2f\xfd".to_vec(),
        b"\x50\x2a\x4d\x18\x04\0\0\0".to_vec(),
        b"BZh9".to_vec(),
        b"\xfd7zXZ\0".to_vec(),
        Vec::new(),
        b"[]".to_vec(),
        b" []".to_vec(),
        b"{} {}".to_vec(),
        b"{\"a\": [}".to_vec(),
        b"{\"a\": \"\xff\"}".to_vec(),
        b"null".to_vec(),
        tar(b"etc/passwd"),
        tar(b"{}"),
        tar(b"SPDXVersion: SPDX-2.3\n"),
        json_and_tar(),
        cose_and_tar(),
    ];
    let mut erofs = vec![b' '; 4096];
    erofs[1024..1028].copy_from_slice(b"\xe2\xe1\xf5\xe0");
    contents.push(erofs);
    for media in types {
        for content in &contents {
            let start = String::from_utf8_lossy(&content[..content.len().min(16)]).into_owned();
            assert!(!is_evidence_content(media, content), "{media}: {start:?}");
        }
    }
    assert!(is_evidence_content(types[0], br#"{"_type": "https://in-toto.io/Statement/v1"}"#));
    // Whatever is in it, it takes no more memory than it has bytes.
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    assert!(is_evidence_content(types[7], deep.as_bytes()));
    assert!(is_evidence_content("text/spdx+json", b"SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\n"));
    assert!(!is_evidence_content("application/vnd.oci.image.layer.v1.tar", b"{}"));
}

#[test]
fn a_checksum_is_read_as_any_reader_of_tars_does() {
    let whole = json_and_tar();
    let sum: u32 = {
        let mut header = whole[..TAR_HEADER].to_vec();
        header[TAR_CHECKSUM].fill(b' ');
        header.iter().map(|byte| u32::from(*byte)).sum()
    };
    for field in [
        format!("{sum:06o}\0 "),
        format!("{sum:06o}  "),
        format!("{sum:08o}"),
        format!("  {sum:06o}"),
        format!("{sum:06o}\09"),
        format!("{sum:06o} 7"),
        format!("{sum:07o}x"),
        format!("\0{sum:06o}\0"),
    ] {
        let mut header = whole.clone();
        header[TAR_CHECKSUM].copy_from_slice(field.as_bytes());
        assert!(begins_a_layer(&header), "{field:?}");
    }
    let mut binary = whole.clone();
    binary[TAR_CHECKSUM].copy_from_slice(&(0x80 << 56 | u64::from(sum)).to_be_bytes());
    assert!(begins_a_layer(&binary));
    let mut wrong = whole;
    wrong[TAR_CHECKSUM].copy_from_slice(format!("{:06o}  ", sum + 1).as_bytes());
    assert!(!begins_a_layer(&wrong));
}

/// A whole JSON object that Go's reader of tars takes for one: every field of a header can be text.
fn json_and_tar() -> Vec<u8> {
    let mut bytes = vec![b'a'; TAR_HEADER];
    bytes[..6].copy_from_slice(br#"{"x":""#);
    for (field, text) in [
        (100..108, "0000644 "),
        (108..116, "0000000 "),
        (116..124, "0000000 "),
        (124..136, "00000000000 "),
        (136..148, "00000000000 "),
    ] {
        bytes[field].copy_from_slice(text.as_bytes());
    }
    bytes[TAR_HEADER - 2..].copy_from_slice(b"\"}");
    bytes[156] = b'0';
    checksum(&mut bytes);
    bytes[154..156].copy_from_slice(b"  ");
    assert!(serde_json::from_slice::<Map<String, Value>>(&bytes).is_ok());
    bytes
}

/// The four items of a COSE_Sign1 around a tar whose first file is called like its head.
fn cose_and_tar() -> Vec<u8> {
    let mut bytes = b"\x84\x40\xa0\x5a\0\0\x06\x00".to_vec();
    let mut header = bytes.clone();
    header.truncate(8);
    bytes = tar(&header);
    let payload = u32::try_from(bytes.len() - 8).unwrap();
    bytes[4..8].copy_from_slice(&payload.to_be_bytes());
    checksum(&mut bytes);
    bytes.push(0x40);
    assert!(CoseSign1::from_slice(&bytes).is_ok());
    bytes
}

#[test]
fn an_envelope_has_all_its_parts() {
    let bare = CoseSign1Builder::new().payload(b"{}".to_vec()).build();
    let with = |protected, payload: &[u8]| {
        let unprotected =
            HeaderBuilder::new().value(33, Cbor::Array(vec![Cbor::Bytes(vec![1, 2, 3])])).build();
        CoseSign1Builder::new()
            .protected(protected)
            .unprotected(unprotected)
            .payload(payload.to_vec())
            .signature(vec![0; 64])
            .build()
    };
    let header = HeaderBuilder::new()
        .algorithm(iana::Algorithm::PS256)
        .content_type("application/vnd.cncf.notary.payload.v1+json".into())
        .build();
    for message in [bare, with(HeaderBuilder::new().build(), b"{}"), with(header, b"no json")] {
        for bytes in [message.clone().to_tagged_vec().unwrap(), message.to_vec().unwrap()] {
            assert!(!is_evidence_content("application/cose", &bytes));
        }
    }
    for text in ["{}", r#"{"payload": "e30", "protected": "e30", "signature": "", "header": {}}"#] {
        assert!(!is_evidence_content("application/jose+json", text.as_bytes()), "{text}");
    }
}

#[test]
fn a_config_that_starts_something_is_an_images() {
    for nothing in [
        "{}",
        r#"{"architecture":"","os":"","created":"0001-01-01T00:00:00Z","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:0"]}}"#,
        r#"{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#,
        r#"{"config":null,"os":null}"#,
    ] {
        assert!(runs_nothing(nothing.as_bytes()), "{nothing}");
    }
    for something in [
        "",
        "[]",
        r#"{"os":"linux"}"#,
        r#"{"OS":"linux"}"#,
        r#"{"architecture":"amd64"}"#,
        r#"{"config":{"Cmd":["sh"]}}"#,
        r#"{"config":{"entrypoint":["sh"]}}"#,
        r#"{"Config":{"Cmd":["sh"]}}"#,
        r#"{"container_config":{"Cmd":["sh"]}}"#,
    ] {
        assert!(!runs_nothing(something.as_bytes()), "{something}");
    }
}
