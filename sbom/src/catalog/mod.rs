//! Which files say what is installed, and who reads them.
//!
//! How to add one: a file here with a function from bytes to [`Content`], a [`Catalog`] variant, and its paths
//! in [`Catalog::of`].

pub(crate) mod apk;
pub(crate) mod cargo;
pub(crate) mod copyright;
pub(crate) mod dpkg;
pub(crate) mod elf;
pub(crate) mod go;
pub(crate) mod jar;
pub(crate) mod license_file;
pub(crate) mod npm;
pub(crate) mod os_release;
pub(crate) mod python;
pub(crate) mod rpm;
pub(crate) mod sniff;

use std::sync::Arc;

use crate::finding::Complaint;
use crate::limits::Limits;
use crate::package::Package;
use crate::packed::Packed;

/// What one file says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) packages: Vec<Found>,
    /// Hashes of paths that distribution packages own.
    pub(crate) owned: Vec<u64>,
    pub(crate) os: Option<Box<os_release::OsRelease>>,
    pub(crate) complaints: Vec<Complaint>,
    /// Of the package that the file is about.
    pub(crate) licenses: Vec<String>,
    /// Where a symbolic link leads, as it says.
    pub(crate) link: Option<Box<str>>,
    /// What a Java archive says, from which its name makes a package.
    pub(crate) archive: Option<Arc<jar::Facts>>,
    /// The file itself, where another file may say that it has changed.
    pub(crate) raw: Option<Packed>,
}

/// A package and where in its file it is.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) package: Package,
    /// The path inside an archive, after `!/`; empty for the file itself.
    pub(crate) inside: String,
}

impl Content {
    pub(crate) fn add(&mut self, package: Package) {
        self.packages.push(Found { package, inside: String::new() });
    }

    /// Whether it says nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.packages.is_empty()
            && self.complaints.is_empty()
            && self.licenses.is_empty()
            && self.owned.is_empty()
            && self.os.is_none()
            && self.link.is_none()
            && self.raw.is_none()
    }

    /// How many things are kept of it that take about a package's room; a file that says anything takes one.
    pub(crate) fn weight(&self) -> usize {
        let one = usize::from(self.link.is_none());
        one.max(self.packages.len() + self.complaints.len() + self.licenses.len())
    }

    /// What is kept of it is written with, in bytes.
    pub(crate) fn text(&self) -> usize {
        let packages = self.packages.iter().map(|found| found.inside.len() + found.package.text());
        let complaints = self.complaints.iter().map(|complaint| complaint.message.len());
        let licenses = self.licenses.iter().map(String::len);
        let os = self.os.iter().map(|os| os.text());
        let archive = self.archive.iter().map(|facts| facts.text());
        packages.chain(complaints).chain(licenses).chain(os).chain(archive).sum()
    }

    /// The same file under another name.
    pub(crate) fn renamed(self, path: &str) -> Self {
        jar::renamed(self, path)
    }

    pub(crate) fn complain(mut self, complaint: Complaint) -> Self {
        self.complaints.push(complaint);
        self
    }
}

/// A kind of file that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Catalog {
    OsRelease,
    DpkgStatus,
    DpkgFiles,
    Copyright,
    License,
    Apk,
    Rpm,
    RpmLog,
    Npm,
    Python,
    Egg,
    Jar,
}

impl Catalog {
    /// The kind of file at a path of the image, by its name alone. Binaries are told by their content.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        match (parent, name) {
            ("etc" | "usr/lib", "os-release") => return Some(Self::OsRelease),
            ("var/lib/dpkg", "status") => return Some(Self::DpkgStatus),
            ("var/lib/dpkg/status.d" | "var/lib/dpkg/info", name) if dpkg::lists_files(name) => {
                return Some(Self::DpkgFiles);
            }
            ("var/lib/dpkg/status.d", name) if dpkg::is_record(name) => return Some(Self::DpkgStatus),
            (parent, "copyright") if parent.starts_with("usr/share/doc/") => return Some(Self::Copyright),
            // What Debian's files say in full elsewhere; they may be links to these.
            ("usr/share/common-licenses", _) => return Some(Self::Copyright),
            ("lib/apk/db" | "usr/lib/apk/db", "installed") => return Some(Self::Apk),
            ("var/lib/rpm" | "usr/lib/sysimage/rpm" | "usr/share/rpm", name) => {
                if let Some(kind) = rpm::kind(name) {
                    return Some(kind);
                }
            }
            (_, "package.json") if npm::is_package(path) => return Some(Self::Npm),
            (parent, "METADATA") if parent.ends_with(".dist-info") => return Some(Self::Python),
            (parent, "PKG-INFO") if parent.ends_with(".egg-info") => return Some(Self::Python),
            (parent, "PKG-INFO") if parent.ends_with(".egg/EGG-INFO") => return Some(Self::Python),
            (_, name) if name.ends_with(".egg-info") => return Some(Self::Python),
            (_, name) if name.ends_with(".egg") => return Some(Self::Egg),
            _ if license_file::owner(path).is_some() => return Some(Self::License),
            _ => {}
        }
        jar::is_archive(name).then_some(Self::Jar)
    }

    /// Longest file of this kind that is read, in bytes.
    pub(crate) fn limit(self, limits: &Limits) -> u64 {
        match self {
            Self::OsRelease | Self::Npm | Self::Python | Self::Copyright | Self::License => limits.text_bytes,
            Self::DpkgStatus
            | Self::DpkgFiles
            | Self::Apk
            | Self::Rpm
            | Self::RpmLog
            | Self::Egg
            | Self::Jar => limits.file_bytes,
        }
    }

    /// Whether it stands for all packages of a distribution: without it none is known.
    pub(crate) fn is_database(self) -> bool {
        matches!(self, Self::OsRelease | Self::DpkgStatus | Self::Apk | Self::Rpm)
    }

    pub(crate) fn read(self, path: &str, bytes: &[u8], limits: &Limits) -> Content {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        match self {
            Self::OsRelease => os_release::read(text),
            Self::DpkgStatus => dpkg::status(text, limits),
            Self::DpkgFiles => dpkg::files(text, limits),
            Self::Copyright => copyright::read(text),
            Self::License => license_file::read(text),
            Self::Apk => apk::installed(text, limits),
            Self::Rpm => rpm::read(bytes, limits),
            Self::RpmLog => Content { raw: Packed::new(bytes), ..Content::default() },
            Self::Npm => npm::package_json(text),
            Self::Python => python::metadata(text),
            Self::Egg => python::egg(bytes, limits),
            Self::Jar => jar::read(path, bytes, limits),
        }
    }
}
