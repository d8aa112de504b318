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
use std::sync::{Arc, LazyLock};

use cel::{Env, IdedExpr};
use regex::Regex;

pub use run::CelError;
pub(crate) use run::Scope;
pub(crate) use values::hour;

/// Longest expression, in bytes.
pub(crate) const MAX_EXPRESSION: usize = 4096;
/// Deepest tree of an expression. Each level takes some tens of kilobytes of stack in a debug build, and threads have 2 MiB.
const MAX_DEPTH: usize = 24;
/// Deepest brackets. They leave no level in the tree, but the parser calls itself for each.
const MAX_BRACKETS: usize = 48;
/// Stack of the thread that parses, in bytes: the parser takes far more of it than what is parsed.
const PARSER_STACK: usize = 64 << 20;
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
        let rewrite::Rewritten { tree, patterns, variables, functions } = parse(text)?;
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

/// Parses on a stack of its own, and gives the tree its bounds there. The parser is made from a grammar and may not
/// expect everything; an expression that upsets it is refused.
fn parse(text: &str) -> Result<rewrite::Rewritten, String> {
    let parse = || {
        let parsed = STANDARD.parser().max_recursion_depth(MAX_BRACKETS as u16).parse(text);
        let tree = parsed.map_err(|errors| {
            let text = errors.to_string();
            let first: Vec<&str> = text.lines().take(3).map(str::trim_end).collect();
            format!("this is no CEL expression: {}", first.join(" "))
        })?;
        rewrite::rewrite(tree)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(PARSER_STACK).spawn_scoped(scope, parse);
        let thread =
            thread.map_err(|error| format!("there is no thread to read the expression on: {error}"))?;
        thread.join().unwrap_or_else(|_| Err("this is no CEL expression that can be read".into()))
    })
}

/// Brackets are counted before the parser sees them.
fn nesting(text: &str) -> Result<(), String> {
    let (mut depth, mut run) = (0_usize, 0_usize);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        run = if c == '!' || c == '-' { run + 1 } else { 0 };
        if depth > MAX_BRACKETS || run > MAX_BRACKETS {
            return Err(format!("the expression is nested more than {MAX_BRACKETS} deep"));
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
