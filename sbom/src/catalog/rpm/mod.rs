//! rpm's database in its three forms: SQLite, ndb, and Berkeley DB's hash. Each holds one header a package.
//!
//! None is read through its own library: those want files, locks and trust. The readers here look at bytes,
//! never follow a pointer twice, and stop at the first thing that is wrong, keeping what came before.

mod bdb;
mod header;
mod journal;
mod ndb;
mod sqlite;
mod wal;

use super::{Catalog, Content};
use crate::finding::{Complaint, FindingKind};
use crate::limits::Limits;
use crate::packed::Packed;

/// Longest header of one package, in bytes. The largest known, of kernels, are below 4 MiB.
const MAX_HEADER: usize = 32 << 20;

/// Which form it is says its content: the names are those of links as well.
pub(crate) fn read(bytes: &[u8], limits: &Limits) -> Content {
    let mut content = Content::default();
    let (mut broken, mut cut) = (0_usize, 0_usize);
    let mut header = |bytes: &[u8]| {
        if content.packages.len() >= limits.packages_per_file {
            let why = format!("more than {} packages", limits.packages_per_file);
            return Err(Complaint::new(FindingKind::TooMany, why));
        }
        match header::read(bytes, limits.owned, &mut content.owned) {
            // Keys that packages were signed with are kept as if they were packages.
            Some((package, all)) if package.name != "gpg-pubkey" => {
                cut += usize::from(!all);
                content.add(package);
            }
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
    if cut > 0 {
        let why = format!("the files of {cut} packages cannot be read, or are more than {}", limits.owned);
        content.complaints.push(Complaint::new(FindingKind::TooMany, why));
    }
    content.complaints.extend(walked.err());
    // A log beside it may change it, or be all there is of it so far. What is another's database is not kept.
    let ours = !content.packages.is_empty() || sqlite::is_new(bytes);
    let may_change = ours && (bytes.is_empty() || bytes.starts_with(sqlite::MAGIC));
    content.raw = Some(bytes).filter(|_| may_change).and_then(Packed::new);
    content
}

/// What a file in rpm's directory is.
pub(crate) fn kind(name: &str) -> Option<Catalog> {
    match name {
        "rpmdb.sqlite" | "Packages.db" | "Packages" => Some(Catalog::Rpm),
        "rpmdb.sqlite-wal" | "rpmdb.sqlite-journal" => Some(Catalog::RpmLog),
        _ => None,
    }
}

/// Whether a file begins like one that changes a database beside it.
pub(crate) fn begins_log(head: &[u8]) -> bool {
    wal::begins(head) || journal::begins(head)
}

/// The database as one sees it who opens it beside this log. `None` where that changes nothing.
///
/// # Errors
/// What is wrong with the log.
pub(crate) fn with_log(database: &[u8], log: &[u8], limit: u64) -> Result<Option<Vec<u8>>, Complaint> {
    if journal::begins(log) {
        return journal::apply(database, log, limit);
    }
    wal::apply(database, log, limit)
}

/// The name of the database whose log this is.
pub(crate) fn database_of(log: &str) -> Option<&str> {
    log.strip_suffix("-wal").or_else(|| log.strip_suffix("-journal"))
}

/// Whether a file begins like one of the databases.
pub(crate) fn begins(head: &[u8]) -> bool {
    head.starts_with(sqlite::MAGIC) || head.starts_with(ndb::MAGIC) || bdb::order(head).is_some()
}

/// Takes a package's header.
type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), Complaint> + 'a;
