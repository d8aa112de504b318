//! What is inside an image.
//!
//! A [`Scanner`] is given the layers of one image as readers, bottom first, and says in the end which packages
//! are in it ([`Sbom`]) and what could not be read ([`Finding`]). Nothing here opens files or connections, and
//! nothing is async. [`cyclonedx`] and [`spdx`] write the documents; [`read`] reads those that others attached.
//!
//! Read: os-release, dpkg (also `status.d`), apk, rpm (SQLite with its logs, ndb, Berkeley DB hash), npm's
//! `package.json`, Python's `dist-info`, `egg-info` and eggs, Go build information (Go 1.18 and later) and cargo-auditable
//! lists in ELF files, Java archives, also nested. Each counts by its name, which may be that of a link. Not read:
//! lock files, gems, composer, nuget, PE and Mach-O programs. Licences are those that packages name, of Debian's those
//! in their `copyright` files, in SPDX's words ([`license`]); where these name none that is known, those of the licence
//! files beside the metadata of npm, Python and in Java archives.
//!
//! Memory is bounded by [`Limits`]; time is the caller's: a reader that fails ends the scan.

mod bytes;
mod catalog;
mod decompress;
mod files;
mod finding;
pub mod license;
mod limits;
mod links;
mod output;
mod owned;
mod package;
mod packed;
mod purl;
pub mod read;
mod sbom;
mod scan;
mod tar;
#[cfg(test)]
mod tests;
mod zip;

pub use catalog::os_release::OsRelease;
pub use finding::{Finding, FindingKind};
pub use limits::Limits;
pub use output::{OutputError, cyclonedx, spdx, write_cyclonedx, write_spdx};
pub use package::{Ecosystem, Location, Package, Source};
pub use sbom::{Sbom, Subject};
pub use scan::Scanner;
