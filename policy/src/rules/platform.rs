//! Platforms as container runtimes compare them: by names that are the same in all their spellings.

use std::fmt;

use rreg_oci::Wildcards;

/// A pattern over `os/architecture[/variant]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformPattern {
    text: Box<str>,
    wildcards: Wildcards,
}

impl PlatformPattern {
    /// Of a pattern that was read: [`rreg_oci::Glob`] or [`super::Pattern`].
    pub(crate) fn new(pattern: &impl fmt::Display) -> Self {
        let text = pattern.to_string();
        let Parts { os, architecture, variant } = Parts::of(&text);
        let parts = [Some(os), architecture, variant];
        let plain = parts.into_iter().flatten().collect::<Vec<_>>().join("/");
        Self { text: text.into(), wildcards: Wildcards::new(&plain, b"/") }
    }

    /// Whether this is what an image says of its platform, in whatever spelling. A variant lies below its architecture.
    pub fn matches(&self, platform: &str) -> bool {
        spellings(platform).iter().any(|text| self.wildcards.matches(text))
    }
}

impl fmt::Display for PlatformPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether what an image says of its platform may be any: a part is left out.
pub(crate) fn may_be_any(platform: &str) -> bool {
    let Parts { os, architecture, .. } = Parts::of(platform);
    let says_nothing = |part: &str| part.is_empty() || part == "unknown";
    says_nothing(&os) || architecture.is_none_or(|part| says_nothing(&part))
}

/// A platform, or a pattern over some, in its parts and in one spelling of them.
struct Parts {
    os: String,
    architecture: Option<String>,
    variant: Option<String>,
}

impl Parts {
    /// containerd's `platforms/database.go` has most of these names; the others are what compilers and `uname` say.
    fn of(text: &str) -> Self {
        let text = text.to_lowercase();
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        let os = parts.next().unwrap_or_default();
        let os = if os == "macos" { "darwin".to_owned() } else { os };
        let (architecture, variant) = (parts.next(), parts.next().filter(|variant| !variant.is_empty()));
        let (architecture, own) = match architecture.as_deref() {
            Some("x86_64" | "x86-64" | "x64") => (Some("amd64".to_owned()), None),
            Some("aarch64" | "arm64v8") => (Some("arm64".to_owned()), None),
            Some("armhf" | "armv7l" | "arm32v7") => (Some("arm".to_owned()), Some("v7")),
            Some("armel" | "armv6l" | "arm32v6") => (Some("arm".to_owned()), Some("v6")),
            Some("arm32v5") => (Some("arm".to_owned()), Some("v5")),
            Some("i386" | "i486" | "i586" | "i686" | "x86") => (Some("386".to_owned()), None),
            Some("ppc64el") => (Some("ppc64le".to_owned()), None),
            _ => (architecture, None),
        };
        let with_v = |variant: String| match variant.starts_with(|first: char| first.is_ascii_digit()) {
            true => format!("v{variant}"),
            false => variant,
        };
        Self { os, architecture, variant: own.map(str::to_owned).or(variant.map(with_v)) }
    }
}

/// What stands for a platform: as it was written, its architecture, and its variant, which is a known one where none is
/// written.
fn spellings(platform: &str) -> Vec<String> {
    let mut spellings = vec![platform.to_lowercase()];
    let Parts { os, architecture: Some(architecture), variant } = Parts::of(platform) else {
        return spellings;
    };
    let default = match architecture.as_str() {
        "amd64" => Some("v1"),
        "arm64" => Some("v8"),
        "arm" => Some("v7"),
        _ => None,
    };
    if let Some(variant) = variant.as_deref().or(default) {
        spellings.push(format!("{os}/{architecture}/{variant}"));
    }
    spellings.push(format!("{os}/{architecture}"));
    spellings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_platform_has_many_names() {
        for (pattern, platforms, others) in [
            (
                "linux/amd64",
                &[
                    "linux/amd64",
                    "linux/x86_64",
                    "linux/x86-64",
                    "Linux/AMD64",
                    "linux/amd64/v1",
                    "linux/x86_64/v3",
                ][..],
                &["windows/amd64", "linux/386", "linux/arm64"][..],
            ),
            ("Linux/x86_64", &["linux/amd64", "linux/amd64/v2"], &["linux/arm64"]),
            ("linux/amd64/v1", &["linux/amd64", "linux/x86_64/v1"], &["linux/amd64/v2"]),
            ("linux/amd64/v2", &["linux/amd64/v2", "linux/amd64/2"], &["linux/amd64", "linux/amd64/v3"]),
            (
                "linux/arm64",
                &["linux/arm64", "linux/aarch64", "linux/arm64/v8", "linux/arm64/8"],
                &["linux/arm"],
            ),
            ("linux/arm64/v8", &["linux/arm64", "linux/aarch64/v8"], &["linux/arm64/v9"]),
            ("linux/arm64/*", &["linux/arm64", "linux/arm64/v8"], &["linux/arm/v7"]),
            ("linux/arm", &["linux/arm", "linux/armhf", "linux/armel", "linux/arm/v6"], &["linux/arm64"]),
            ("linux/arm/v7", &["linux/arm", "linux/armhf", "linux/arm/7"], &["linux/armel", "linux/arm/v6"]),
            ("linux/armel", &["linux/arm/v6"], &["linux/arm", "linux/arm/v7"]),
            ("linux/386", &["linux/i386", "linux/i686", "linux/x86"], &["linux/amd64"]),
            ("linux/x86*", &["linux/x86_64"], &["linux/arm64"]),
            ("linux/*", &["linux/riscv64", "LINUX/s390x", "linux/amd64/v2"], &["windows/amd64"]),
            ("darwin/*", &["macOS/arm64"], &["linux/arm64"]),
            ("**", &["linux/amd64", "unknown/unknown", "linux"], &[]),
        ] {
            let read = PlatformPattern::new(&pattern);
            assert_eq!(read.to_string(), pattern);
            for platform in platforms {
                assert!(read.matches(platform), "{pattern} {platform}");
            }
            for platform in others {
                assert!(!read.matches(platform), "{pattern} {platform}");
            }
        }
    }

    #[test]
    fn a_part_that_is_left_out_may_be_any() {
        for (platform, any) in [
            ("", true),
            ("linux", true),
            ("linux/", true),
            ("/amd64", true),
            ("unknown/unknown", true),
            ("linux/Unknown", true),
            ("unknown/amd64/v2", true),
            ("linux/amd64", false),
            ("linux/arm/v7", false),
        ] {
            assert_eq!(may_be_any(platform), any, "{platform}");
        }
    }
}
