//! A signature log in the manner of Rekor 1: promises, inclusion proofs and checkpoints.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use rreg_oci::Digest;
use serde_json::{Value, json};

use super::mint::{Key, pem};

/// The log.
pub(super) struct Log {
    pub(super) key: Key,
}

/// Index of every entry in the log as a whole, which is not that in the shard of the proof.
const INDEX: i64 = 4711;

impl Log {
    pub(super) fn new(key: Key) -> Self {
        Self { key }
    }

    /// Body of an entry about an artifact.
    pub(super) fn hashedrekord(&self, artifact: &[u8], signature: &[u8], certificate: &[u8]) -> Vec<u8> {
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": Digest::sha256(artifact).hex()}},
                "signature": {
                    "content": STANDARD.encode(signature),
                    "publicKey": {"content": STANDARD.encode(pem(certificate))},
                },
            },
        });
        body.to_string().into_bytes()
    }

    /// Body of an entry about a DSSE envelope.
    pub(super) fn dsse(&self, payload: &[u8], signature: &[u8], certificate: &[u8]) -> Vec<u8> {
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": Digest::sha256(b"not looked at").hex()},
                "payloadHash": {"algorithm": "sha256", "value": Digest::sha256(payload).hex()},
                "signatures": [
                    {"signature": STANDARD.encode(signature), "verifier": STANDARD.encode(pem(certificate))},
                ],
            },
        });
        body.to_string().into_bytes()
    }

    /// The promise to take an entry in, over the canonical JSON (RFC 8785) of its four fields.
    pub(super) fn promise(&self, body: &[u8], time: DateTime<Utc>) -> Vec<u8> {
        let id = hex(&self.key.id());
        let body = STANDARD.encode(body);
        let time = time.timestamp();
        let text =
            format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"{id}","logIndex":{INDEX}}}"#);
        self.key.sign(text.as_bytes())
    }

    /// The annotation of cosign 2 with the promise.
    pub(super) fn annotation(&self, body: &[u8], time: DateTime<Utc>) -> Value {
        json!({
            "SignedEntryTimestamp": STANDARD.encode(self.promise(body, time)),
            "Payload": {
                "body": STANDARD.encode(body),
                "integratedTime": time.timestamp(),
                "logIndex": INDEX,
                "logID": hex(&self.key.id()),
            },
        })
    }

    /// An entry with promise and proof: the second leaf of a tree of two.
    pub(super) fn entry(&self, kind: &str, body: &[u8], time: DateTime<Utc>) -> Value {
        let neighbour = leaf(b"somebody else's entry");
        let root = node(&neighbour, &leaf(body));
        json!({
            "logIndex": INDEX.to_string(),
            "logId": {"keyId": STANDARD.encode(self.key.id())},
            "kindVersion": {"kind": kind, "version": "0.0.1"},
            "integratedTime": time.timestamp().to_string(),
            "inclusionPromise": {"signedEntryTimestamp": STANDARD.encode(self.promise(body, time))},
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": STANDARD.encode(&root),
                "treeSize": "2",
                "hashes": [STANDARD.encode(&neighbour)],
                "checkpoint": {"envelope": self.checkpoint(2, &root)},
            },
            "canonicalizedBody": STANDARD.encode(body),
        })
    }

    /// A signed note (golang.org/x/mod/sumdb/note) about a tree.
    pub(super) fn checkpoint(&self, size: u64, root: &[u8]) -> String {
        let text = format!("log.test - 1\n{size}\n{}\n", STANDARD.encode(root));
        let mut signature = self.key.id()[..4].to_vec();
        signature.extend(self.key.sign(text.as_bytes()));
        format!("{text}\n\u{2014} log.test {}\n", STANDARD.encode(signature))
    }
}

/// Hash of a leaf (RFC 6962, section 2.1).
fn leaf(entry: &[u8]) -> Vec<u8> {
    Digest::sha256(&[&[0], entry].concat()).hash().to_vec()
}

fn node(left: &[u8], right: &[u8]) -> Vec<u8> {
    Digest::sha256(&[&[1], left, right].concat()).hash().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
