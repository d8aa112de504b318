//! What the files of an image say, by path: as a file system it is, only with what is said in place of content.
//!
//! A file counts by its name (`var/lib/dpkg/status`). One that has the content of such a file under another name is
//! kept as well, apart and within limits of its own, as a link may give it the name later.

use std::collections::{BTreeMap, HashMap};

use crate::catalog::{Catalog, Content};
use crate::finding::{Complaint, FindingKind};
use crate::limits::Limits;
use crate::packed::Packed;

/// What a file says, and since which layer it says so of each package.
pub(crate) struct Seen {
    pub(crate) layer: usize,
    /// As what it was read; none for programs and links.
    pub(crate) kind: Option<Catalog>,
    pub(crate) content: Content,
    pub(crate) since: Vec<usize>,
    /// Whether it says so under this name, or only if a link leads to it.
    pub(crate) counts: bool,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    packages: usize,
    text: usize,
    owned: usize,
}

impl Kept {
    fn of(path: &str, content: &Content) -> Self {
        let text = if content.link.is_some() { 0 } else { path.len() + content.text() };
        Self { packages: content.weight(), text, owned: content.owned.len() }
    }

    fn exceeds(self, limits: &Limits) -> bool {
        self.packages > limits.packages || self.text > limits.kept_bytes || self.owned > limits.owned
    }

    fn with(self, other: Self) -> Self {
        Self {
            packages: self.packages + other.packages,
            text: self.text + other.text,
            owned: self.owned + other.owned,
        }
    }

    fn without(self, other: Self) -> Self {
        Self {
            packages: self.packages - other.packages,
            text: self.text - other.text,
            owned: self.owned - other.owned,
        }
    }
}

/// The files of the layers so far.
#[derive(Default)]
pub(crate) struct Files {
    seen: BTreeMap<String, Seen>,
    counting: Kept,
    waiting: Kept,
    /// Licence files, which only stand in for what packages do not say themselves.
    beside: Kept,
    link_bytes: usize,
    raw_bytes: u64,
    licenses_left_out: bool,
    /// Whether something was left out that only a link could have made a package.
    pub(crate) left_out: bool,
}

impl Files {
    pub(crate) fn get(&self, path: &str) -> Option<&Seen> {
        self.seen.get(path)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Seen)> {
        self.seen.iter()
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (String, Seen)> {
        self.seen.into_iter()
    }

    pub(crate) fn has_links(&self) -> bool {
        self.link_bytes > 0
    }

    /// A file of `layer` at `path`, read as `kind`. Says what is wrong with it, if that matters under this name.
    pub(crate) fn keep(
        &mut self,
        path: &str,
        layer: usize,
        kind: Option<Catalog>,
        mut content: Content,
        limits: &Limits,
    ) -> Vec<Complaint> {
        let old = self.seen.get(path).map(layers_of).unwrap_or_default();
        let key = |at: usize, content: &Content| content.packages.get(at).map(|f| key(&f.package));
        let since = (0..content.packages.len())
            .map(|at| key(at, &content).and_then(|key| old.get(&key).copied()).unwrap_or(layer))
            .collect();
        self.replace(path);
        let counts = kind.is_none() || kind == Catalog::of(path);
        let mut complaints = if counts { content.complaints.clone() } else { Vec::new() };
        if content.is_empty() {
            return complaints;
        }
        let link_bytes = content.link.as_ref().map_or(0, |target| weight_of_link(path, target));
        let cut = content.packages.iter_mut().filter_map(|found| {
            let name = &found.package.name;
            let why = format!("{name} has more licences than are kept of a package");
            found.package.in_spdx_words().then(|| Complaint::new(FindingKind::TooMany, why))
        });
        let cut: Vec<Complaint> = cut.collect();
        complaints.extend(cut.iter().filter(|_| counts).cloned());
        content.complaints.extend(cut);
        let more = Kept::of(path, &content);
        let kept = self.kept(kind, counts).with(more);
        let full = kept.exceeds(limits) || self.link_bytes + link_bytes > limits.link_bytes;
        let told = kind == Some(Catalog::License) && std::mem::replace(&mut self.licenses_left_out, full);
        if full && counts && !told {
            let why = "the image has more packages, owned paths or links, or longer ones, than are kept: the list is cut, \
                those of this file are left out";
            complaints.push(Complaint::new(FindingKind::TooMany, why));
        }
        if full {
            self.left_out |= !counts;
            return complaints;
        }
        // Without its bytes a database still says what it says, only not what its log changes.
        let room = limits.file_bytes.saturating_sub(self.raw_bytes);
        content.raw = content.raw.take().filter(|raw| raw.kept() <= room);
        self.raw_bytes += content.raw.as_ref().map_or(0, Packed::kept);
        content.owned.shrink_to_fit();
        content.packages.shrink_to_fit();
        *self.kept(kind, counts) = kept;
        self.link_bytes += link_bytes;
        self.seen.insert(path.to_owned(), Seen { layer, kind, content, since, counts });
        complaints
    }

    fn kept(&mut self, kind: Option<Catalog>, counts: bool) -> &mut Kept {
        match (kind, counts) {
            (Some(Catalog::License), _) => &mut self.beside,
            (_, true) => &mut self.counting,
            (_, false) => &mut self.waiting,
        }
    }

    /// Something else is at `path` now: what was there, or below it when it was a directory, is gone.
    pub(crate) fn replace(&mut self, path: &str) {
        self.forget(path);
        for below in self.below(path) {
            self.forget(&below);
        }
    }

    /// What layers lower than `layer` have at `path`, or below it, is gone.
    pub(crate) fn hide(&mut self, path: &str, layer: usize) {
        if self.seen.get(path).is_some_and(|seen| seen.layer < layer) {
            self.forget(path);
        }
        self.hide_below(path, layer);
    }

    /// What layers lower than `layer` have below `path` is gone.
    pub(crate) fn hide_below(&mut self, path: &str, layer: usize) {
        for below in self.below(path) {
            if self.seen.get(&below).is_some_and(|seen| seen.layer < layer) {
                self.forget(&below);
            }
        }
    }

    /// Paths below a directory.
    pub(crate) fn below(&self, path: &str) -> Vec<String> {
        if path.is_empty() {
            return self.seen.keys().cloned().collect();
        }
        // `0` follows `/`.
        let range = self.seen.range(format!("{path}/")..format!("{path}0"));
        range.map(|(path, _)| path.clone()).collect()
    }

    pub(crate) fn forget(&mut self, path: &str) {
        let Some(seen) = self.seen.remove(path) else { return };
        let kept = self.kept(seen.kind, seen.counts);
        *kept = kept.without(Kept::of(path, &seen.content));
        self.raw_bytes -= seen.content.raw.as_ref().map_or(0, Packed::kept);
        self.link_bytes -= seen.content.link.map_or(0, |target| weight_of_link(path, &target));
    }
}

/// A link in bytes, with what it takes besides its text.
fn weight_of_link(path: &str, target: &str) -> usize {
    const BESIDES: usize = 200;
    path.len() + target.len() + BESIDES
}

type Key = (String, Option<String>, Option<String>);

fn key(package: &crate::Package) -> Key {
    (package.name.clone(), package.version.clone(), package.architecture.clone())
}

/// Since which layer a file has said each of its packages.
pub(crate) fn layers_of(seen: &Seen) -> HashMap<Key, usize> {
    let pairs = seen.content.packages.iter().zip(&seen.since);
    pairs.map(|(found, layer)| (key(&found.package), *layer)).collect()
}
