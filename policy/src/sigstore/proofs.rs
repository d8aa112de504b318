//! What can be asked of log entries and timestamps beyond what `sigstore-verify` asks, without cryptography.

use sigstore_verify::types::{Bundle, KindVersion, TransparencyLogEntry};

use super::bundle::hex;
use super::errors::Failure;
use super::root::SigstoreRoot;
use super::timestamp;
use crate::context::VerifyContext;
use crate::verdict::Verdict;

/// What can be said about a log entry without cryptography.
pub(super) fn entry(
    entry: &TransparencyLogEntry,
    root: &SigstoreRoot,
    context: &VerifyContext<'_>,
) -> Result<(), Failure> {
    let log = entry.log_id.key_id.as_bytes();
    if !root.knows_log(log) {
        let detail = format!("the entry is of the log {}, which this trust root does not have", hex(log));
        return Err(Failure::new("tlog-entry", Verdict::Unverifiable, detail));
    }
    if let Some(time) = entry.integrated_time.filter(|time| time.as_second() > context.now.timestamp()) {
        let detail = format!("the entry was logged at {time}, which is after {}", context.now);
        return Err(Failure::invalid("tlog-entry", detail));
    }
    // Version 1 states the size beside the checkpoint that signs it; version 2 leaves the field to nobody.
    let proof =
        entry.inclusion_proof.as_ref().filter(|_| entry.kind_version != KindVersion::HashedRekordV002);
    if let Some((proof, signed)) = proof.and_then(|proof| Some((proof, proof.checkpoint.checkpoint()?)))
        && proof.tree_size != signed.tree_size()
    {
        let detail = format!(
            "the proof is for {} entries, the checkpoint for {}",
            proof.tree_size,
            signed.tree_size()
        );
        return Err(Failure::invalid("tlog-inclusion", detail));
    }
    checkpoint_name(entry)
}

/// The log's own line under a checkpoint bears the log's name, which the signed text begins with. Rekor 1 adds the
/// tree's number to it there: `rekor.sigstore.dev - 2605736670972794746`. Lines of witnesses, whom nobody here knows,
/// are not looked at.
fn checkpoint_name(entry: &TransparencyLogEntry) -> Result<(), Failure> {
    let checkpoint = entry.inclusion_proof.as_ref().and_then(|proof| proof.checkpoint.checkpoint());
    let Some(checkpoint) = checkpoint else { return Ok(()) };
    let origin = checkpoint.origin();
    let name = origin.split_once(" - ").map_or(origin, |(name, _)| name);
    let hint = entry.log_id.key_id.as_bytes().get(..4);
    let own = checkpoint
        .signatures()
        .iter()
        .filter(|signature| Some(signature.key_id.as_bytes().as_slice()) == hint);
    match own.into_iter().find(|signature| signature.name != name && signature.name != origin) {
        Some(other) => {
            let detail = format!("the checkpoint of {origin:?} is signed in the name of {:?}", other.name);
            Err(Failure::invalid("checkpoint", detail))
        }
        None => Ok(()),
    }
}

/// A timestamp by an authority whose name the trust root does not have is unknown, not proved wrong.
pub(super) fn unknown_stamp(failure: Failure, bundle: &Bundle, root: &SigstoreRoot) -> Failure {
    if failure.name != "timestamp" || failure.verdict != Verdict::Invalid {
        return failure;
    }
    let trusted: Vec<&[u8]> = root.timestamp_authorities().collect();
    let stamps = &bundle.verification_material.timestamp_verification_data.rfc3161_timestamps;
    let unknown =
        stamps.iter().find_map(|stamp| timestamp::unknown(stamp.signed_timestamp.as_bytes(), &trusted));
    match unknown {
        Some(name) => Failure::new(
            "timestamp",
            Verdict::Unverifiable,
            format!("the timestamp is by an authority of {name}, which this trust root does not have"),
        ),
        None => failure,
    }
}

/// Refuses timestamps that say odd things outside their signatures.
pub(super) fn timestamps(bundle: &Bundle, root: &SigstoreRoot) -> Result<(), Failure> {
    let trusted: Vec<&[u8]> = root.timestamp_authorities().collect();
    for stamp in &bundle.verification_material.timestamp_verification_data.rfc3161_timestamps {
        timestamp::plain(stamp.signed_timestamp.as_bytes(), &trusted).map_err(|why| {
            Failure::invalid("timestamp", format!("the timestamp is not as it must be: {why}"))
        })?;
    }
    Ok(())
}
