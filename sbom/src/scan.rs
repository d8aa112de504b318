//! One pass over an image: layers from the bottom to the top, each as a stream.
//!
//! Only what files *say* is kept, never the files, and it goes when a later layer replaces or removes the file.
//! So memory grows with the packages found. The other order would need every path of every layer above.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};

use crate::catalog::{Catalog, Content, elf};
use crate::decompress::decompress;
use crate::finding::{Complaint, Finding, FindingKind};
use crate::limits::Limits;
use crate::tar::{Entry, Kind, Tar};

/// Marks a directory whose content in the layers below is gone (image-spec, layer.md, "Opaque Whiteout").
const OPAQUE: &str = ".wh..wh..opq";
/// Marks a removed file (image-spec, layer.md, "Whiteouts").
const WHITEOUT: &str = ".wh.";
/// Shorter files are no programs.
const MIN_ELF: u64 = 64;

/// What a file says, and since which layer it says so of each package.
pub(crate) struct Seen {
    pub(crate) layer: usize,
    pub(crate) content: Content,
    pub(crate) since: Vec<usize>,
}

/// Reads an image, layer by layer.
pub struct Scanner {
    pub(crate) limits: Limits,
    /// Digests; none for a directory tree.
    pub(crate) layers: Vec<Option<String>>,
    pub(crate) files: BTreeMap<String, Seen>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) findings_left_out: usize,
    entries: u64,
    bytes: u64,
    packages: usize,
    owned: usize,
}

impl Scanner {
    /// A scanner that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            layers: Vec::new(),
            files: BTreeMap::new(),
            findings: Vec::new(),
            findings_left_out: 0,
            entries: 0,
            bytes: 0,
            packages: 0,
            owned: 0,
        }
    }

    /// Reads the next layer up: a tar stream, plain or compressed with gzip or zstd. The reader need not be
    /// read to its end: whoever checks digests or lengths reads on.
    ///
    /// # Errors
    /// The reader's own. What is wrong with the content is a finding.
    pub fn layer(&mut self, digest: Option<String>, reader: impl Read) -> io::Result<()> {
        self.layers.push(digest);
        let mut source = Noted { inner: reader, error: None };
        let walked = self.walk(&mut source);
        match (source.error, walked) {
            (Some(error), _) => Err(error),
            (None, Ok(())) => Ok(()),
            (None, Err(e)) => {
                let (kind, why) = match self.bytes > self.limits.total_bytes {
                    true => (
                        FindingKind::ImageTooLarge,
                        format!("the layers decompress to more than {} bytes", self.limits.total_bytes),
                    ),
                    false => (FindingKind::LayerDamaged, format!("the layer cannot be read on: {e}")),
                };
                self.complain(None, Complaint::new(kind, why));
                Ok(())
            }
        }
    }

    /// A layer that cannot be read, as it is elsewhere or no file system.
    pub fn skip_layer(&mut self, digest: Option<String>, kind: FindingKind, why: &str) {
        self.layers.push(digest);
        self.complain(None, Complaint::new(kind, why));
    }

    /// Begins a directory tree, to be given file by file with [`Scanner::file`].
    pub fn tree(&mut self) {
        self.layers.push(None);
    }

    /// A regular file of the tree.
    ///
    /// # Errors
    /// The reader's own.
    pub fn file(&mut self, path: &str, size: u64, content: impl Read) -> io::Result<()> {
        let mut source = Noted { inner: content.take(size), error: None };
        if let Some(path) = self.enter(path) {
            // A file that grew shorter while it was read is no error.
            let _ = self.content(&path, size, &mut source);
        }
        source.error.map_or(Ok(()), Err)
    }

    fn walk(&mut self, source: impl Read) -> io::Result<()> {
        let mut counted =
            Counted { inner: decompress(source)?, read: self.bytes, limit: self.limits.total_bytes };
        let result = self.tar(&mut counted);
        self.bytes = counted.read;
        result
    }

    fn tar(&mut self, source: &mut dyn Read) -> io::Result<()> {
        let mut tar = Tar::new(source);
        while let Some(entry) = tar.next()? {
            if self.entries >= self.limits.entries {
                let why = format!("the layers have more than {} entries", self.limits.entries);
                self.complain(None, Complaint::new(FindingKind::TooMany, why));
                return Ok(());
            }
            self.entry(&entry, &mut tar)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let Some(path) = self.enter(&entry.path) else { return Ok(()) };
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == OPAQUE {
            self.hide_below(parent);
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            // Further names that begin like this are the union file system's own.
            if !hidden.starts_with(WHITEOUT) && !hidden.is_empty() {
                let hidden = if parent.is_empty() { hidden.to_owned() } else { format!("{parent}/{hidden}") };
                let layer = self.current();
                if self.files.get(&hidden).is_some_and(|seen| seen.layer < layer) {
                    self.forget(&hidden);
                }
                self.hide_below(&hidden);
            }
            return Ok(());
        }
        match &entry.kind {
            Kind::Directory => {
                self.forget(&path);
            }
            Kind::File => self.content(&path, entry.size, content)?,
            Kind::HardLink(target) => self.link(&path, target),
            Kind::Other => self.replace(&path),
        }
        Ok(())
    }

    /// Counts an entry and says its path without `.` and slashes at its ends.
    fn enter(&mut self, path: &str) -> Option<String> {
        self.entries += 1;
        if path.len() > self.limits.path_bytes {
            let why = format!("a path of {} bytes; the limit is {}", path.len(), self.limits.path_bytes);
            self.complain(None, Complaint::new(FindingKind::BadPath, why));
            return None;
        }
        let mut parts = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    self.complain(Some(path), Complaint::new(FindingKind::BadPath, "the path contains `..`"));
                    return None;
                }
                part => parts.push(part),
            }
        }
        Some(parts.join("/")).filter(|path| !path.is_empty())
    }

    fn content(&mut self, path: &str, size: u64, source: &mut dyn Read) -> io::Result<()> {
        let Some(catalog) = Catalog::of(path) else {
            let mut head = [0; 4];
            let program = size >= MIN_ELF && {
                source.read_exact(&mut head)?;
                head == elf::MAGIC
            };
            let content = if program { elf::scan(&head, source, &self.limits)? } else { Content::default() };
            self.keep(path, content);
            return Ok(());
        };
        let limit = catalog.limit(&self.limits);
        if size > limit {
            let why = format!("{size} bytes; files like this are read up to {limit} bytes");
            self.replace(path);
            self.complain(Some(path), Complaint::new(FindingKind::FileTooLarge, why));
            return Ok(());
        }
        // What the header promises is not believed before it comes.
        let mut bytes = Vec::new();
        source.take(limit).read_to_end(&mut bytes)?;
        let content = catalog.read(path, &bytes, &self.limits);
        self.keep(path, content);
        Ok(())
    }

    /// A hard link says what its target says.
    fn link(&mut self, path: &str, target: &str) {
        let target = target.trim_start_matches("./").trim_matches('/');
        let same = Catalog::of(path) == Catalog::of(target);
        let content = self.files.get(target).filter(|_| same).map(|seen| seen.content.clone());
        self.keep(path, content.unwrap_or_default());
    }

    fn keep(&mut self, path: &str, mut content: Content) {
        let old = self.files.get(path).map(|seen| since(&seen.content, &seen.since)).unwrap_or_default();
        let layer = self.current();
        let key = |at: usize, content: &Content| content.packages.get(at).map(|f| key(&f.package));
        let since = (0..content.packages.len())
            .map(|at| key(at, &content).and_then(|key| old.get(&key).copied()).unwrap_or(layer))
            .collect();
        self.replace(path);
        for complaint in std::mem::take(&mut content.complaints) {
            self.complain(Some(path), complaint);
        }
        if content.packages.is_empty() && content.owned.is_empty() && content.os.is_none() {
            return;
        }
        if self.packages + content.packages.len() > self.limits.packages
            || self.owned + content.owned.len() > self.limits.owned
        {
            let why =
                "the image has more packages or owned paths than are kept; those of this file are left out";
            self.complain(Some(path), Complaint::new(FindingKind::TooMany, why));
            return;
        }
        self.packages += content.packages.len();
        self.owned += content.owned.len();
        content.owned.shrink_to_fit();
        self.files.insert(path.to_owned(), Seen { layer, content, since });
    }

    /// Something else is at `path` now: what was there, or below it when it was a directory, is gone.
    fn replace(&mut self, path: &str) {
        self.forget(path);
        for below in self.below(path) {
            self.forget(&below);
        }
    }

    /// What lower layers have below `path` is gone.
    fn hide_below(&mut self, path: &str) {
        let layer = self.current();
        for below in self.below(path) {
            if self.files.get(&below).is_some_and(|seen| seen.layer < layer) {
                self.forget(&below);
            }
        }
    }

    fn below(&self, path: &str) -> Vec<String> {
        if path.is_empty() {
            return self.files.keys().cloned().collect();
        }
        // `0` follows `/`.
        let range = self.files.range(format!("{path}/")..format!("{path}0"));
        range.map(|(path, _)| path.clone()).collect()
    }

    fn forget(&mut self, path: &str) {
        if let Some(seen) = self.files.remove(path) {
            self.packages -= seen.content.packages.len();
            self.owned -= seen.content.owned.len();
        }
    }

    fn current(&self) -> usize {
        self.layers.len().saturating_sub(1)
    }

    pub(crate) fn complain(&mut self, path: Option<&str>, complaint: Complaint) {
        if self.findings.len() >= self.limits.findings {
            self.findings_left_out += 1;
            return;
        }
        let layer = self.layers.last().cloned().flatten();
        let path = path.map(str::to_owned);
        self.findings.push(Finding { kind: complaint.kind, layer, path, message: complaint.message });
    }
}

type Key = (String, Option<String>, Option<String>);

fn key(package: &crate::Package) -> Key {
    (package.name.clone(), package.version.clone(), package.architecture.clone())
}

/// Since which layer a file has said each of its packages.
fn since(content: &Content, since: &[usize]) -> HashMap<Key, usize> {
    content.packages.iter().zip(since).map(|(found, layer)| (key(&found.package), *layer)).collect()
}

/// A reader that remembers its own failure, as decoders dress it as theirs.
struct Noted<R> {
    inner: R,
    error: Option<io::Error>,
}

impl<R: Read> Read for Noted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.inner.read(into).map_err(|e| {
            if e.kind() == io::ErrorKind::Interrupted {
                return e;
            }
            let seen = io::Error::new(e.kind(), "the source failed");
            self.error = Some(e);
            seen
        })
    }
}

/// Stops when too much has come out.
struct Counted<R> {
    inner: R,
    read: u64,
    limit: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.read = self.read.saturating_add(read as u64);
        if self.read > self.limit { Err(io::Error::other("too many bytes")) } else { Ok(read) }
    }
}
