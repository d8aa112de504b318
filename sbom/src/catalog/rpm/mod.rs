//! rpm's database in its three forms: SQLite, ndb, and Berkeley DB's hash. Each holds one header a package.
//!
//! None is read through its own library: those want files, locks and trust. The readers here look at bytes,
//! never follow a pointer twice, and stop at the first thing that is wrong, keeping what came before.

mod bdb;
mod header;
mod ndb;
mod sqlite;

use super::Content;
use crate::finding::{Complaint, FindingKind};
use crate::limits::Limits;

/// Longest header of one package, in bytes. The largest known, of kernels, are below 4 MiB.
const MAX_HEADER: usize = 32 << 20;

/// Which form it is says its content: the names are those of links as well.
pub(crate) fn read(bytes: &[u8], limits: &Limits) -> Content {
    let mut content = Content::default();
    let mut broken = 0_usize;
    let mut header = |bytes: &[u8]| {
        if content.packages.len() >= limits.packages_per_file {
            let why = format!("more than {} packages", limits.packages_per_file);
            return Err(Complaint::new(FindingKind::TooMany, why));
        }
        match header::read(bytes, limits.owned.saturating_sub(content.owned.len()), &mut content.owned) {
            // Keys that packages were signed with are kept as if they were packages.
            Some(package) if package.name != "gpg-pubkey" => content.add(package),
            Some(_) => {}
            None => broken += 1,
        }
        Ok(())
    };
    let walked = if bytes.starts_with(sqlite::MAGIC) {
        sqlite::packages(bytes, &mut header)
    } else if bytes.starts_with(ndb::MAGIC) {
        ndb::packages(bytes, &mut header)
    } else {
        bdb::packages(bytes, &mut header)
    };
    if broken > 0 {
        content.complaints.push(Complaint::malformed(format!("{broken} package headers cannot be read")));
    }
    content.complaints.extend(walked.err());
    content
}

/// Whether a file begins like one of the databases.
pub(crate) fn begins(head: &[u8]) -> bool {
    head.starts_with(sqlite::MAGIC) || head.starts_with(ndb::MAGIC) || bdb::order(head).is_some()
}

/// Takes a package's header.
type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), Complaint> + 'a;
