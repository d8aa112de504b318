//! Text for people: colours, sizes, tables.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

/// Names and digests.
pub(crate) const NAME: Style = AnsiColor::Cyan.on_default();
/// Column titles and labels.
pub(crate) const TITLE: Style = Style::new().bold();
/// Something went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Something went wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What to do next.
pub(crate) const HINT: Style = AnsiColor::Yellow.on_default();

/// `text` in a style. The stream removes it where colours are not wanted.
pub(crate) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// A stranger's text without characters that could steer a terminal.
pub(crate) fn plain(text: &str) -> String {
    rreg_oci::visible(text).collect()
}

/// Milliseconds since the Unix epoch as RFC 3339 in UTC, to the second.
pub(crate) fn timestamp(milliseconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(milliseconds);
    time.map_or_else(|| format!("{milliseconds} ms"), |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Bytes in binary units, exact below 1 KiB.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut whole = bytes;
    while whole >= 1024 * 1024 && unit + 1 < UNITS.len() {
        whole /= 1024;
        unit += 1;
    }
    let tenths = whole.saturating_mul(10) / 1024;
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Columns under bold titles, each as wide as its widest cell.
pub(crate) fn table<const N: usize>(titles: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = titles.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = paint(TITLE, line(&titles.map(str::to_owned)));
    std::iter::once(head).chain(rows.iter().map(line)).map(|line| line + "\n").collect()
}

/// Aligned `label: value` lines.
pub(crate) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(label, _)| label.len()).max().unwrap_or(0) + 1;
    fields
        .iter()
        .map(|(label, value)| {
            let label = format!("{label}:");
            format!("{} {value}\n", paint(TITLE, format_args!("{label:<width$}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps() {
        for (ms, text) in [
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (i64::MAX, "9223372036854775807 ms"),
        ] {
            assert_eq!(timestamp(ms), text);
        }
    }

    #[test]
    fn sizes() {
        let shown = [0, 1023, 1024, 1536, 1 << 20, (1 << 30) + (1 << 29), u64::MAX].map(size);
        assert_eq!(shown[..6], ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.5 GiB"]);
        assert!(shown[6].ends_with("TiB"));
    }

    #[test]
    fn tables_align() {
        let text =
            anstream::adapter::strip_str(&table(["A", "LONG"], &[["xyz".into(), "1".into()]])).to_string();
        assert_eq!(text, "A    LONG\nxyz  1\n");
        assert_eq!(plain("a\u{1b}[31mb"), "a\u{fffd}[31mb");
    }
}
