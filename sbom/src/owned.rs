//! Paths that packages of the distribution own, as hashes: a full list of names is many megabytes.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The hash of a path. Whoever makes two paths collide could as well write the path into the list itself.
pub(crate) fn hash(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    canonical(path).hash(&mut hasher);
    hasher.finish()
}

/// Without leading slash, and without `usr/` where merged systems have a link (`/bin` → `usr/bin`).
fn canonical(path: &str) -> &str {
    let path = path.trim_start_matches("./").trim_start_matches('/');
    match path.strip_prefix("usr/") {
        Some(rest) if ["bin/", "sbin/", "lib"].iter().any(|merged| rest.starts_with(merged)) => rest,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_directories_are_the_same() {
        assert_eq!(hash("/usr/bin/x"), hash("bin/x"));
        assert_eq!(hash("./lib/a"), hash("usr/lib/a"));
        assert_ne!(hash("usr/share/a"), hash("share/a"));
    }
}
