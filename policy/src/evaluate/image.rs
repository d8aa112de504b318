//! What the image itself is like: one answer for each part of an `image` rule.

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};

use super::reason::{Finding, few};
use super::{ALL_LAYERS, Inquiry};
use crate::decision::{Outturn, Point};
use crate::facts::{BASE_NAME, ConfigFacts, Fact};
use crate::rules::words::age_text;
use crate::rules::{ImageRule, Pattern, PlatformPattern};

const MIB: u64 = 1 << 20;

impl Inquiry<'_> {
    pub(super) fn image(&self, rule: &ImageRule, path: &str) -> Vec<(String, Finding)> {
        let parts = rule.parts().into_iter();
        parts.map(|part| (format!("{path}.{part}"), self.image_part(rule, part))).collect()
    }

    /// The answer about a part. Where not every image of an index was looked at, those that were are not enough to pass;
    /// what is wrong with one of them is wrong.
    fn image_part(&self, rule: &ImageRule, part: &str) -> Finding {
        let finding = self.part_of_what_is_there(rule, part);
        let of_request = matches!(part, "digestOnly" | "allowedRegistries");
        let open = finding.result == Outturn::Pass || self.facts.image.configs.is_empty();
        let image = &self.facts.image;
        match (image.unread.first(), image.incomplete.first()) {
            (Some(why), _) if open && !of_request => self.unreadable(finding.expected, why),
            (None, Some(why)) if open && !of_request => self.partly(finding.expected, why),
            _ => finding,
        }
    }

    /// Whoever made it chose that: it is no error, which `onError: allow` would let through.
    pub(super) fn unreadable(&self, expected: String, why: &str) -> Finding {
        let fix =
            "build it so that every reader reads it alike, or ask for one platform's image by its digest";
        Finding::fail(expected, format!("not all of the image can be looked at: {why}"), fix)
    }

    pub(super) fn partly(&self, expected: String, why: &str) -> Finding {
        let fix = "ask for one platform's image by its digest";
        Finding::error(expected, format!("not every image of the index was looked at: {why}"), fix)
    }

    fn part_of_what_is_there(&self, rule: &ImageRule, part: &str) -> Finding {
        match part {
            "nonRoot" => self.non_root(),
            "digestOnly" => self.digest_only(),
            "maxAgeDays" => self.age(rule.max_age.unwrap_or_default()),
            "baseMaxAgeDays" => self.base_age(rule.base_max_age.unwrap_or_default()),
            "allowedBases" => self.base(&rule.allowed_bases),
            "allowedRegistries" => self.registry(&rule.allowed_registries),
            "platforms" => self.platforms(&rule.platforms),
            "labels" => self.labels(rule),
            "maxSizeMiB" => self.size(rule.max_size_mib.unwrap_or_default()),
            "denyPorts" => self.ports(&rule.deny_ports),
            other => Finding::error(format!("the image has {other}"), "this is not known here", ""),
        }
    }

    /// What is wrong with the configs, one by one; an image without a config is wrong by that.
    fn configs(&self, expected: &str, fix: &str, wrong: impl Fn(&ConfigFacts) -> Option<String>) -> Finding {
        let configs = &self.facts.image.configs;
        if configs.is_empty() {
            return Finding::fail(expected, "it has no image config", fix);
        }
        let several = configs.len() > 1;
        let told = |config: &ConfigFacts| {
            let wrong = wrong(config)?;
            Some(if several { format!("{}: {wrong}", config.platform) } else { wrong })
        };
        let wrong: Vec<String> = configs.iter().filter_map(told).collect();
        Finding::of(
            wrong.is_empty(),
            expected,
            if wrong.is_empty() { "so it is".into() } else { few(wrong) },
            fix,
        )
    }

    fn non_root(&self) -> Finding {
        self.configs(
            "a user that is not root, by its number",
            "set USER in the Dockerfile to a number above 0, such as USER 65532",
            |config| root(&config.user),
        )
    }

    fn digest_only(&self) -> Finding {
        let expected = "asked for by digest";
        if matches!(self.at, Point::Push | Point::Promote) {
            return Finding::pass(expected, "not asked when something is pushed or tagged");
        }
        match self.facts.image.pinned {
            Some(true) => Finding::pass(expected, "asked for by digest"),
            Some(false) => {
                let digest = &self.facts.image.digest;
                let fix = format!("write {}@{digest} instead of the tag", self.facts.image.repository);
                Finding::fail(expected, "asked for by tag", fix)
            }
            None => Finding::error(expected, "it is not known how it was asked for", "ask for it by digest"),
        }
    }

    /// Whether something made at a moment is young enough.
    fn is_young(&self, made: DateTime<Utc>, age: Duration) -> bool {
        self.horizon.is_before(made.checked_add_signed(age))
    }

    fn age(&self, age: Duration) -> Finding {
        let expected = format!("made less than {} ago", age_text(age));
        let wrong = |config: &ConfigFacts| match config.created {
            None => Some("it does not say when it was made".into()),
            // It would never be too old.
            Some(made) if self.horizon.is_before(made.checked_sub_signed(Duration::days(1))) => {
                Some(format!("made on {}, which is to come", made.format("%Y-%m-%d")))
            }
            Some(made) if self.is_young(made, age) => None,
            Some(made) => Some(format!("made on {}", made.format("%Y-%m-%d"))),
        };
        self.configs(&expected, "build it anew", wrong)
    }

    fn base_age(&self, age: Duration) -> Finding {
        let expected = format!("built on an image made less than {} ago", age_text(age));
        match &self.facts.base_created {
            Fact::Known(made) => {
                let found = format!("its base was made on {}", made.format("%Y-%m-%d"));
                Finding::of(
                    self.is_young(*made, age),
                    expected,
                    found,
                    "build it anew on the newest base image",
                )
            }
            Fact::Absent => Finding::fail(
                expected,
                "it does not say what it is built on",
                "set the annotation org.opencontainers.image.base.name",
            ),
            Fact::NotGathered(why) => {
                Finding::error(expected, format!("baseMaxAgeDays cannot be asked: {why}"), "")
            }
        }
    }

    fn base(&self, allowed: &[Pattern]) -> Finding {
        let expected = format!("built on {}", any_of(allowed));
        let bases = self.bases();
        if bases.iter().any(BTreeSet::is_empty) {
            return Finding::fail(
                expected,
                "it does not say what it is built on",
                "set the annotation org.opencontainers.image.base.name",
            );
        }
        let named: BTreeSet<&str> = bases.into_iter().flatten().collect();
        let is_other = |name: &&&str| !allowed.iter().any(|pattern| pattern.matches(name));
        let others: Vec<String> = named.iter().filter(is_other).map(|name| (*name).to_owned()).collect();
        let is_allowed = others.is_empty();
        let told = if is_allowed { named.into_iter().map(str::to_owned).collect() } else { others };
        let found = format!("built on {}", few(told));
        Finding::of(is_allowed, expected, found, "build it on one of these images")
    }

    /// What is said of the image below, in annotation and label, by each image: two statements that differ are both held
    /// to the rule. Where an image of an index says nothing, the index speaks for it.
    fn bases(&self) -> Vec<BTreeSet<&str>> {
        let image = &self.facts.image;
        let some = |name: &&str| !name.is_empty();
        if image.images.is_empty() {
            let labels = image.configs.iter().filter_map(base_label);
            return vec![image.base_name.as_deref().into_iter().chain(labels).filter(some).collect()];
        }
        let of_index = image.annotations.get(BASE_NAME).map(String::as_str).filter(some);
        let mut bases = Vec::with_capacity(image.images.len());
        for child in &image.images {
            let label = child.config.and_then(|place| base_label(image.configs.get(place)?));
            let own: BTreeSet<&str> =
                child.base_name.as_deref().into_iter().chain(label).filter(some).collect();
            bases.push(if own.is_empty() { of_index.into_iter().collect() } else { own });
        }
        bases
    }

    fn registry(&self, allowed: &[Pattern]) -> Finding {
        let expected = format!("from the registry {}", any_of(allowed));
        let registry = &self.facts.image.registry;
        if registry.is_empty() {
            return Finding::pass(expected, "from this registry itself");
        }
        let allowed = allowed.iter().any(|pattern| pattern.matches(registry));
        Finding::of(
            allowed,
            expected,
            format!("from {registry}"),
            "copy it to one of these registries with `rreg cp`",
        )
    }

    fn platforms(&self, allowed: &[PlatformPattern]) -> Finding {
        let expected = format!("only for {}", any_of(allowed));
        let platforms = &self.facts.image.platforms;
        if platforms.is_empty() {
            return Finding::fail(expected, "it says no platform", "build it for one of these platforms");
        }
        let other = |platform: &&String| !allowed.iter().any(|pattern| pattern.matches(platform));
        let others: Vec<String> = platforms.iter().filter(other).cloned().collect();
        let found = if others.is_empty() {
            platforms.join(", ")
        } else {
            format!("also for {}", few(others.clone()))
        };
        Finding::of(others.is_empty(), expected, found, "build it for these platforms only")
    }

    fn labels(&self, rule: &ImageRule) -> Finding {
        let wanted: Vec<String> = rule.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let wrong = |config: &ConfigFacts| {
            let wrong = rule.labels.iter().filter_map(|(name, pattern)| match config.labels.get(name) {
                None => Some(format!("no label {name}")),
                Some(value) if pattern.matches(value) => None,
                Some(value) => Some(format!("{name}={}", value.chars().take(100).collect::<String>())),
            });
            let wrong: Vec<String> = wrong.collect();
            (!wrong.is_empty()).then(|| few(wrong))
        };
        self.configs(
            &format!("the labels {}", wanted.join(", ")),
            "set them with LABEL in the Dockerfile",
            wrong,
        )
    }

    fn size(&self, most: u64) -> Finding {
        let expected = format!("at most {most} MiB");
        let image = &self.facts.image;
        if image.size == 0 && image.layers.is_empty() {
            let found = "it has no size of its own; each image of an index is asked by itself";
            return Finding::error(expected, found, "ask for one platform's image by its digest");
        }
        if let Some(layer) = image.elsewhere.first() {
            let found =
                format!("the layer {layer} is fetched from elsewhere, and its size is not known here");
            return Finding::fail(expected, found, ALL_LAYERS);
        }
        let found = format!("{:.1} MiB", image.size as f64 / MIB as f64);
        Finding::of(
            image.size <= most.saturating_mul(MIB),
            expected,
            found,
            "leave out of it what is not needed",
        )
    }

    fn ports(&self, denied: &[u16]) -> Finding {
        let named: Vec<String> = denied.iter().map(ToString::to_string).collect();
        let wrong = |config: &ConfigFacts| {
            let exposed =
                config.ports.iter().filter(|port| denied.iter().any(|denied| exposes(port, *denied)));
            let exposed: Vec<String> = exposed.map(|port| format!("it exposes {port}")).collect();
            (!exposed.is_empty()).then(|| few(exposed))
        };
        let expected = format!("none of the ports {}", named.join(", "));
        self.configs(&expected, "take EXPOSE out of the Dockerfile", wrong)
    }
}

fn base_label(config: &ConfigFacts) -> Option<&str> {
    config.labels.get(BASE_NAME).map(String::as_str)
}

/// Why a user may be root. As with Kubernetes' `runAsNonRoot`, only a number says that it is not: what a name stands for
/// is in a file of the image, which anybody may have written. Numbers are what container runtimes take for one: digits
/// alone, up to 2^31 - 1.
fn root(user: &str) -> Option<String> {
    let user = user.split(':').next().unwrap_or_default();
    if user.is_empty() {
        return Some("no user, which is root".into());
    }
    let digits = user.bytes().all(|byte| byte.is_ascii_digit());
    match user.parse::<u64>() {
        Ok(1..=0x7fff_ffff) if digits => None,
        Ok(0) if digits => Some(format!("the user {user}, which is root")),
        _ if digits => Some(format!("the user {user}, which is no number of a user")),
        _ => Some(format!("the user {user:?}, a name, which may be root")),
    }
}

/// Whether `80`, `80/tcp` or `8000-8010/tcp` has a port. What cannot be read is taken to have it.
fn exposes(text: &str, port: u16) -> bool {
    let range = text.split('/').next().unwrap_or_default();
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    match (from.trim().parse::<u16>(), to.trim().parse::<u16>()) {
        (Ok(from), Ok(to)) => (from..=to).contains(&port),
        _ => true,
    }
}

fn any_of(patterns: &[impl std::fmt::Display]) -> String {
    let texts: Vec<String> = patterns.iter().map(ToString::to_string).collect();
    texts.join(" or ")
}
