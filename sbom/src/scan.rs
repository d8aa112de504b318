//! One pass over an image: layers from the bottom to the top, each as a stream.
//!
//! Only what files *say* is kept, never the files, and it goes when a later layer replaces or removes the file.
//! So memory grows with the packages found. The other order would need every path of every layer above.

use std::io::{self, Read};

use crate::catalog::{Catalog, Content, elf, jar, sniff};
use crate::decompress::decompress;
use crate::files::Files;
use crate::finding::{Complaint, Finding, FindingKind};
use crate::limits::Limits;
use crate::tar::{Entry, Kind, Tar};

/// Marks a directory whose content in the layers below is gone (image-spec, layer.md, "Opaque Whiteout").
const OPAQUE: &str = ".wh..wh..opq";
/// Marks a removed file (image-spec, layer.md, "Whiteouts").
const WHITEOUT: &str = ".wh.";
/// Shorter files are no programs.
const MIN_ELF: u64 = 64;
/// How much of a file is looked at to tell what it is, in bytes.
const HEAD: u64 = 512;

/// Most hard links of a layer that wait for their targets; and how long a chain of them may be.
const MAX_EARLY: usize = 10_000;
const MAX_ROUNDS: usize = 40;

/// Reads an image, layer by layer.
pub struct Scanner {
    pub(crate) limits: Limits,
    /// Digests; none for a directory tree.
    pub(crate) layers: Vec<Option<String>>,
    pub(crate) files: Files,
    pub(crate) findings: Vec<Finding>,
    pub(crate) findings_left_out: usize,
    entries: u64,
    bytes: u64,
    /// Hard links of this layer whose target has not come yet, with their names.
    early: Vec<(String, String)>,
}

impl Scanner {
    /// A scanner that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            layers: Vec::new(),
            files: Files::default(),
            findings: Vec::new(),
            findings_left_out: 0,
            entries: 0,
            bytes: 0,
            early: Vec::new(),
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
        self.early_links();
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

    /// A symbolic link of the tree.
    pub fn link(&mut self, path: &str, target: &str) {
        if let Some(path) = self.enter(path) {
            self.symlink(&path, target);
        }
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
            self.files.hide_below(parent, self.current());
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            // Further names that begin like this are the union file system's own.
            if !hidden.starts_with(WHITEOUT) && !hidden.is_empty() {
                let hidden = if parent.is_empty() { hidden.to_owned() } else { format!("{parent}/{hidden}") };
                self.files.hide(&hidden, self.current());
            }
            return Ok(());
        }
        match &entry.kind {
            Kind::Directory => self.files.forget(&path),
            Kind::File => self.content(&path, entry.size, content)?,
            Kind::HardLink(target) => self.hard_link(&path, target),
            Kind::Symlink(target) => self.symlink(&path, target),
            Kind::Other => self.files.replace(&path),
        }
        Ok(())
    }

    /// Counts an entry and says its path without links, `.` and slashes at its ends.
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
        Some(parts.join("/")).filter(|path| !path.is_empty()).map(|path| self.files.place(path))
    }

    fn content(&mut self, path: &str, size: u64, source: &mut dyn Read) -> io::Result<()> {
        let mut head = Vec::new();
        source.take(HEAD).read_to_end(&mut head)?;
        let named = Catalog::of(path);
        // Under a name that says nothing it may be what a link makes a database or a package of.
        let Some(catalog) = named.or_else(|| sniff::kind(&head)) else {
            let program = size >= MIN_ELF && head.starts_with(&elf::MAGIC);
            let content = if program { elf::scan(&head, source, &self.limits)? } else { Content::default() };
            self.keep(path, None, content);
            return Ok(());
        };
        let limit = catalog.limit(&self.limits);
        if size > limit && catalog == Catalog::Jar {
            let content = jar::stream(path, head.as_slice().chain(source), size, &self.limits);
            self.keep(path, Some(catalog), content);
            return Ok(());
        }
        if size > limit {
            let why = format!("{size} bytes; files like this are read up to {limit} bytes");
            let content = Content::default().complain(Complaint::new(FindingKind::FileTooLarge, why));
            self.keep(path, Some(catalog), content);
            return Ok(());
        }
        // What the header promises is not believed before it comes.
        let mut bytes = head;
        source.take(limit.saturating_sub(bytes.len() as u64)).read_to_end(&mut bytes)?;
        let content = catalog.read(path, &bytes, &self.limits);
        self.keep(path, Some(catalog), content);
        Ok(())
    }

    /// A hard link says what its target says, in the way of its own name.
    fn hard_link(&mut self, path: &str, target: &str) {
        let named = Catalog::of(path);
        if named.is_some() && self.early.len() < MAX_EARLY && self.files.target(target).is_none() {
            self.files.replace(path);
            self.early.push((path.to_owned(), target.to_owned()));
            return;
        }
        self.link_now(path, target);
    }

    /// What came before its target is a link to that as well. A link may lead to another.
    fn early_links(&mut self) {
        let mut waiting = std::mem::take(&mut self.early);
        // Something else may be there by now.
        waiting.retain(|(path, _)| self.files.get(path).is_none());
        for _ in 0..MAX_ROUNDS {
            let before = waiting.len();
            waiting.retain(|(path, target)| {
                let known = self.files.target(target).is_some();
                if known {
                    self.link_now(path, target);
                }
                !known
            });
            if waiting.len() == before {
                break;
            }
        }
        waiting.iter().for_each(|(path, target)| self.link_now(path, target));
    }

    fn link_now(&mut self, path: &str, target: &str) {
        let named = Catalog::of(path);
        let Some(seen) = self.files.target(target) else {
            let mut content = Content::default();
            if named.is_some_and(|kind| kind.is_database() || self.files.left_out) {
                let why = format!("a link to {target}, of which nothing is known");
                content = content.complain(Complaint::new(FindingKind::LinkBroken, why));
            }
            return self.keep(path, named, content);
        };
        if let Some(link) = seen.content.link.clone() {
            return self.symlink(path, &link);
        }
        let (kind, told, mut content) = (seen.kind, seen.counts, seen.content.clone());
        if named.is_some() && named != kind {
            content = Content::default();
        }
        if told {
            content.complaints.clear();
        }
        self.keep(path, named.or(kind), content.renamed(path));
    }

    fn symlink(&mut self, path: &str, target: &str) {
        if target.len() > self.limits.path_bytes {
            let why = format!("a link to {} bytes; the limit is {}", target.len(), self.limits.path_bytes);
            self.files.replace(path);
            return self.complain(Some(path), Complaint::new(FindingKind::BadPath, why));
        }
        self.keep(path, None, Content { link: Some(target.into()), ..Content::default() });
    }

    fn keep(&mut self, path: &str, kind: Option<Catalog>, content: Content) {
        let layer = self.current();
        for complaint in self.files.keep(path, layer, kind, content, &self.limits) {
            self.complain(Some(path), complaint);
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
