//! CEL expressions: compiled and judged when a policy is loaded, run within bounds.
//!
//! The interpreter has no bounds of its own, so an expression gets them here, in two ways. Statically: its length, the
//! depth of its tree, how deep comprehensions (`all`, `exists`, `map`, …) lie in each other, and the size of its regular
//! expressions. While it runs: every comprehension pays for what it goes over, and every function and operator for what
//! it is given, out of one [`Budget`](budget::Budget); see [`rewrite`]. Past the budget the answer is an error whatever
//! the expression says, since `||` and `exists` swallow errors.

mod budget;
mod rewrite;
mod run;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::{Env, IdedExpr};
use regex::Regex;

pub use run::CelError;
pub(crate) use run::Scope;
pub(crate) use values::hour;

/// Longest expression, in bytes.
pub(crate) const MAX_EXPRESSION: usize = 4096;
/// Deepest tree of an expression.
const MAX_DEPTH: usize = 48;
/// How deep comprehensions may lie in each other.
const MAX_NESTED: usize = 2;

/// What expressions may name.
pub(crate) const VARIABLES: &[&str] = &["image", "signatures", "attestations", "predicate", "sbom", "now"];

/// Functions that there are, besides operators.
const FUNCTIONS: &[&str] = &[
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "string",
    "int",
    "uint",
    "double",
    "bool",
    "bytes",
    "type",
    "dyn",
    "timestamp",
    "duration",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];

/// The standard library: built once, since it never changes.
static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// A compiled expression.
#[derive(Clone)]
pub struct Expression {
    text: Arc<str>,
    tree: Arc<IdedExpr>,
    variables: BTreeSet<String>,
    patterns: Arc<HashMap<String, Regex>>,
}

impl Expression {
    /// Compiles an expression that may use the variables `allowed`.
    pub(crate) fn compile(text: &str, allowed: &[&str]) -> Result<Self, String> {
        if text.len() > MAX_EXPRESSION {
            return Err(format!("the expression has more than {MAX_EXPRESSION} bytes"));
        }
        nesting(text)?;
        let compile = || STANDARD.parser().max_recursion_depth(MAX_DEPTH as u16).parse(text);
        // The parser is made from a grammar and may not expect everything; an expression that upsets it is refused.
        let parsed = catch_unwind(AssertUnwindSafe(compile));
        let tree = match parsed {
            Ok(Ok(tree)) => tree,
            Ok(Err(errors)) => {
                let text = errors.to_string();
                let first: Vec<&str> = text.lines().take(3).map(str::trim_end).collect();
                return Err(format!("this is no CEL expression: {}", first.join(" ")));
            }
            Err(_) => return Err("this is no CEL expression that can be read".into()),
        };
        let rewrite::Rewritten { tree, patterns, variables, functions } = rewrite::rewrite(tree)?;
        if let Some(unknown) = variables.iter().find(|name| !allowed.contains(&name.as_str())) {
            return Err(format!("{unknown:?} is not known here; there are {}", allowed.join(", ")));
        }
        if let Some(unknown) = functions.iter().find(|name| !FUNCTIONS.contains(&name.as_str())) {
            let near = super::shape::nearest(unknown, FUNCTIONS.iter().copied());
            let near = near.map(|near| format!("; did you mean {near}()?")).unwrap_or_default();
            return Err(format!("there is no function {unknown}(){near}"));
        }
        let patterns = Arc::new(patterns);
        Ok(Self { text: text.into(), tree: Arc::new(tree), variables, patterns })
    }

    /// Whether it names a variable.
    pub(crate) fn uses(&self, variable: &str) -> bool {
        self.variables.contains(variable)
    }

    /// Whether the image alone decides it, so that it can be asked at a push.
    pub fn needs_only_image(&self) -> bool {
        self.variables.iter().all(|name| name == "image")
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Brackets are counted before the parser sees them: it calls itself for each.
fn nesting(text: &str) -> Result<(), String> {
    let (mut depth, mut run) = (0_usize, 0_usize);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        run = if c == '!' || c == '-' { run + 1 } else { 0 };
        if depth > MAX_DEPTH || run > MAX_DEPTH {
            return Err(format!("the expression is nested more than {MAX_DEPTH} deep"));
        }
    }
    Ok(())
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
