//! What strangers have written, as it can be shown: in terminals, headers, logs, messages and tables.

/// Whether a character is not seen, or turns the order of those around it: a stranger's text with one looks like another
/// (CVE-2021-42574). These are the characters that Unicode lets everybody leave out (`Default_Ignorable_Code_Point`), those
/// that turn the direction of writing, and those that break lines or annotate.
pub fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// A stranger's text as one line that does nothing but be read: a space for each line break and tab, U+FFFD for any other
/// control character, and an escape such as `\u{202e}` for what is not seen.
pub fn visible(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().flat_map(|c| {
        let escape = is_invisible(c).then(|| c.escape_unicode());
        let seen = match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        };
        let seen = escape.is_none().then_some(seen);
        escape.into_iter().flatten().chain(seen)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_escaped() {
        let shown = |text: &str| visible(text).collect::<String>();
        assert_eq!(shown("as it is: ä 漢 🦀"), "as it is: ä 漢 🦀");
        assert_eq!(shown("a\nb\tc\r\n"), "a b c  ");
        assert_eq!(shown("\u{1b}[2J\u{7}\u{9b}"), "\u{fffd}[2J\u{fffd}\u{fffd}");
        let all =
            "\u{ad}\u{200b}\u{200e}\u{202e}\u{2028}\u{2066}\u{2069}\u{feff}\u{e0041}\u{fe0f}\u{3164}\u{206a}";
        for c in all.chars() {
            assert_eq!(shown(&format!("a{c}b")), format!("a\\u{{{:x}}}b", u32::from(c)));
        }
    }
}
