//! Licence expressions (SPDX specification, annex "SPDX license expressions"): `MIT OR (GPL-2.0-only WITH x AND BSD)`.

/// Deepest nesting of brackets.
const MAX_DEPTH: usize = 32;

/// Whether a licence can be chosen under which everything of the expression is acceptable: of `OR` one part has to be,
/// of `AND` each. What is no expression is taken as one licence, and as all the words in it.
pub(super) fn is_acceptable(expression: &str, accepts: &dyn Fn(&str) -> bool) -> bool {
    let words = words(expression);
    let mut parser = Parser { words: &words, at: 0, accepts };
    match parser.or(0) {
        Some(acceptable) if parser.at == words.len() => acceptable,
        _ => accepts(expression) && words.iter().filter(|word| is_name(word)).all(|word| accepts(word)),
    }
}

fn words(expression: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for part in expression.split_whitespace() {
        let mut rest = part;
        while let Some(index) = rest.find(['(', ')']) {
            let (before, after) = rest.split_at(index);
            let (bracket, after) = after.split_at(1);
            words.extend((!before.is_empty()).then_some(before));
            words.push(bracket);
            rest = after;
        }
        words.extend((!rest.is_empty()).then_some(rest));
    }
    words
}

fn is_name(word: &str) -> bool {
    !["(", ")"].contains(&word)
        && !["and", "or", "with"].iter().any(|operator| word.eq_ignore_ascii_case(operator))
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
    accepts: &'a dyn Fn(&str) -> bool,
}

impl Parser<'_> {
    fn next_is(&mut self, operator: &str) -> bool {
        let is = self.words.get(self.at).is_some_and(|word| word.eq_ignore_ascii_case(operator));
        self.at += usize::from(is);
        is
    }

    fn or(&mut self, depth: usize) -> Option<bool> {
        let mut acceptable = self.and(depth)?;
        while self.next_is("or") {
            acceptable |= self.and(depth)?;
        }
        Some(acceptable)
    }

    fn and(&mut self, depth: usize) -> Option<bool> {
        let mut acceptable = self.one(depth)?;
        while self.next_is("and") {
            acceptable &= self.one(depth)?;
        }
        Some(acceptable)
    }

    fn one(&mut self, depth: usize) -> Option<bool> {
        if depth > MAX_DEPTH {
            return None;
        }
        if self.next_is("(") {
            let inner = self.or(depth + 1)?;
            return self.next_is(")").then_some(inner);
        }
        let name = self.words.get(self.at).copied().filter(|word| is_name(word))?;
        self.at += 1;
        if !self.next_is("with") {
            return Some((self.accepts)(name));
        }
        let exception = self.words.get(self.at).copied().filter(|word| is_name(word))?;
        self.at += 1;
        Some((self.accepts)(name) && (self.accepts)(&format!("{name} WITH {exception}")))
    }
}
