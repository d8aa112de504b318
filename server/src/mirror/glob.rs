//! Globs over repository names: `*` stands for any text within one component, `**` for any text at all.

/// Whether `name` matches `pattern`. Takes at most `pattern × name` steps, whatever the pattern.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let name = name.as_bytes();
    // Which beginnings of the name the pattern has matched so far.
    let mut reached = vec![false; name.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    let mut rest = pattern.as_bytes();
    while let Some((&c, after)) = rest.split_first() {
        let deep = c == b'*' && after.first() == Some(&b'*');
        rest = if deep { after.get(1..).unwrap_or_default() } else { after };
        let before = reached.clone();
        let mut open = false;
        for (index, slot) in reached.iter_mut().enumerate() {
            let last = index.checked_sub(1).and_then(|i| name.get(i));
            let was = |i: Option<usize>| i.and_then(|i| before.get(i)).copied().unwrap_or_default();
            *slot = if c == b'*' {
                open = was(Some(index)) || (open && (deep || last != Some(&b'/')));
                open
            } else {
                last == Some(&c) && was(index.checked_sub(1))
            };
        }
    }
    reached.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs() {
        for (pattern, name) in [
            ("library/*", "library/alpine"),
            ("**", "a/b/c"),
            ("*", "a"),
            ("team/**", "team/a/b"),
            ("**/app", "x/y/app"),
            ("a*c/d", "abbc/d"),
            ("a", "a"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("library/*", "library/a/b"),
            ("*", "a/b"),
            ("team/**", "team"),
            ("", "a"),
            ("a", "ab"),
            ("*a", "b"),
            ("library/*", "librarx/a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(60), &"a".repeat(59)));
    }
}
