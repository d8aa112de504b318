//! Decisions as they are kept. What is decided about an image differs little from point to point, and there is a row for
//! each image: what is the same is written once.

use std::borrow::Cow;

use rreg_policy::{Decision, Facts, Point};
use serde::{Deserialize, Serialize};

use super::decide::Decisions;

/// Points, those at which a tag differs from a digest twice.
const PLACES: usize = 7;
/// Most bytes of facts that are kept of one image. Those of most have some thousand.
const MAX_FACTS: usize = 512 << 10;

/// Facts as text; an empty one where they are too many, and are gathered again when they are asked for. What is attached
/// once may be about any number of images.
///
/// # Errors
/// None that anything in them leads to.
pub(super) fn facts_text(facts: &Facts) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string(facts)?;
    Ok(if text.len() > MAX_FACTS { String::new() } else { text })
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept<'a> {
    revision: Cow<'a, str>,
    /// The point in them says nothing.
    different: Vec<Cow<'a, Decision>>,
    /// Which of them holds, in the order of [`Decisions::all`].
    places: [usize; PLACES],
}

impl Decisions {
    /// As text.
    ///
    /// # Errors
    /// None that anything in it leads to.
    pub(super) fn to_text(&self) -> Result<String, serde_json::Error> {
        let mut different: Vec<&Decision> = Vec::new();
        let places = self.all().map(|decision| {
            let same = |known: &&Decision| {
                (&known.policies, known.outcome, known.decided_at, known.holds_until)
                    == (&decision.policies, decision.outcome, decision.decided_at, decision.holds_until)
            };
            different.iter().position(same).unwrap_or_else(|| {
                different.push(decision);
                different.len() - 1
            })
        });
        let different = different.into_iter().map(Cow::Borrowed).collect();
        serde_json::to_string(&Kept { revision: Cow::Borrowed(&self.revision), different, places })
    }

    /// Out of text. `None`: it is none, so it has to be decided again.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let kept: Kept<'_> = serde_json::from_str(text).ok()?;
        let mut places = kept.places.iter();
        let mut next = |at: Point| {
            let decision = kept.different.get(*places.next()?)?;
            Some(Decision { at, ..decision.clone().into_owned() })
        };
        Some(Self {
            revision: kept.revision.into_owned(),
            pull: [next(Point::Pull)?, next(Point::Pull)?],
            admit: [next(Point::Admit)?, next(Point::Admit)?],
            run: [next(Point::Run)?, next(Point::Run)?],
            promote: next(Point::Promote)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use rreg_oci::Digest;
    use rreg_policy::ImageFacts;

    use super::super::fixtures::decided;
    use super::*;

    const POLICIES: &str = "
apiVersion: rreg/v1
kind: Policy
name: user
require: [{image: {nonRoot: true}}]
---
apiVersion: rreg/v1
kind: Policy
name: digests
at: [run]
require: [{image: {digestOnly: true}}]
";

    #[test]
    fn large_facts_are_not_kept() {
        let image = ImageFacts::bare("team/app", Digest::sha256(b"image"));
        let mut facts = Facts::bare(image, None);
        assert_eq!(serde_json::from_str::<Facts>(&facts_text(&facts).unwrap()).unwrap(), facts);
        facts.unread = vec!["x".repeat(MAX_FACTS)];
        assert_eq!(facts_text(&facts).unwrap(), "");
    }

    #[test]
    fn what_is_kept_comes_back_and_the_same_is_kept_once() {
        let decisions = decided(POLICIES);
        let text = decisions.to_text().unwrap();
        let back = Decisions::of_text(&text).unwrap();
        assert_eq!(back.revision, "revision");
        assert_eq!(back.all(), decisions.all());
        let kept: Kept<'_> = serde_json::from_str(&text).unwrap();
        // Runs by tag, runs by digest, everything else.
        assert_eq!(kept.different.len(), 3, "{text}");
        assert!(Decisions::of_text("{}").is_none());
        let lost = text.replace("[0,0,0,0,1,2,0]", "[0,0,0,0,1,9,0]");
        assert!(lost != text && Decisions::of_text(&lost).is_none(), "{text}");
    }
}
