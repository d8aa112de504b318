//! Gives an expression its bounds: checks its tree and puts calls of [`OVER`], [`PAY`] and [`MATCHES`] into it. Names
//! that begin with `@` cannot be written in CEL, so no author can call or shadow them.

use std::collections::{BTreeSet, HashMap};

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};
use regex::Regex;

use super::{MAX_DEPTH, MAX_NESTED};
use crate::rules::words;

/// `@over(range, cost)`: pays for going over a list or map with a body of `cost` parts.
pub(super) const OVER: &str = "@over";
/// `@pay(value)`: pays for a value that is looked at or copied as a whole.
pub(super) const PAY: &str = "@pay";
/// `@matches(text, pattern)`: like `matches`, with patterns that were compiled when the policy was loaded.
pub(super) const MATCHES: &str = "@matches";

/// The fields of the variables that are facts.
const FIELDS: [(&str, &[&str]); 2] = [
    (
        "image",
        &[
            "registry",
            "repository",
            "unknown",
            "incomplete",
            "tags",
            "digest",
            "parents",
            "mediaType",
            "artifactType",
            "pinned",
            "platforms",
            "annotations",
            "size",
            "layers",
            "configs",
            "baseName",
            "baseDigest",
            "labels",
            "users",
            "created",
        ],
    ),
    ("sbom", &["format", "packages", "quality", "missing", "licenses", "evidence"]),
];

/// A tree with its bounds, and what it names.
pub(super) struct Rewritten {
    pub(super) tree: IdedExpr,
    pub(super) patterns: HashMap<String, Regex>,
    pub(super) variables: BTreeSet<String>,
    pub(super) functions: BTreeSet<String>,
}

pub(super) fn rewrite(tree: IdedExpr) -> Result<Rewritten, String> {
    let mut rewriter = Rewriter::default();
    let tree = rewriter.walk(tree, 0, 0)?;
    let Rewriter { patterns, variables, functions, .. } = rewriter;
    Ok(Rewritten { tree, patterns, variables, functions })
}

#[derive(Default)]
struct Rewriter {
    patterns: HashMap<String, Regex>,
    variables: BTreeSet<String>,
    functions: BTreeSet<String>,
    /// Names that the comprehensions around the place bind.
    bound: Vec<String>,
    /// Parts seen so far; the cost of a body is what it adds.
    parts: u64,
}

/// Operators that only choose among their arguments.
fn is_choice(name: &str) -> bool {
    [
        operators::CONDITIONAL,
        operators::LOGICAL_AND,
        operators::LOGICAL_OR,
        operators::LOGICAL_NOT,
        operators::NOT_STRICTLY_FALSE,
        operators::INDEX,
    ]
    .contains(&name)
}

fn is_operator(name: &str) -> bool {
    use operators::{ADD, DIVIDE, EQUALS, GREATER, GREATER_EQUALS, IN, LESS, LESS_EQUALS, MODULO, MULTIPLY};
    use operators::{NEGATE, NOT_EQUALS, SUBSTRACT};
    let sums = [ADD, SUBSTRACT, MULTIPLY, DIVIDE, MODULO, NEGATE];
    let comparisons = [EQUALS, NOT_EQUALS, GREATER, GREATER_EQUALS, LESS, LESS_EQUALS, IN];
    is_choice(name) || sums.contains(&name) || comparisons.contains(&name)
}

fn is_accumulator(expr: &IdedExpr) -> bool {
    matches!(&expr.expr, Expr::Ident(name) if name.starts_with('@'))
}

fn call(name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    let expr = Expr::Call(CallExpr { func_name: name.into(), target: None, args });
    IdedExpr { id: 0, expr }
}

/// Literals cost what their text costs, which the length of the expression bounds; the elements of a list or map that
/// is written out have paid for themselves; the accumulator of `map` and `filter` is appended to in place, and that
/// only where `@result + [x]` is left as it is.
fn paid(expr: IdedExpr) -> IdedExpr {
    match &expr.expr {
        Expr::Literal(_) | Expr::List(_) | Expr::Map(_) => expr,
        _ if is_accumulator(&expr) => expr,
        _ => call(PAY, vec![expr]),
    }
}

impl Rewriter {
    fn walk(&mut self, node: IdedExpr, depth: usize, nested: usize) -> Result<IdedExpr, String> {
        if depth > MAX_DEPTH {
            return Err(format!(
                "the expression is nested more than {MAX_DEPTH} deep; split it into several rules"
            ));
        }
        self.parts += 1;
        let IdedExpr { id, expr } = node;
        let expr = match expr {
            Expr::Unspecified => return Err("the expression has an empty part".into()),
            Expr::Struct(_) => return Err("messages and other structures cannot be made here".into()),
            Expr::Literal(literal) => {
                self.parts += literal_size(&literal);
                Expr::Literal(literal)
            }
            Expr::Ident(name) => {
                let plain = name.trim_start_matches('.');
                if !name.starts_with('@') && !self.bound.iter().any(|bound| bound == plain) {
                    self.variables.insert(plain.to_owned());
                }
                Expr::Ident(name)
            }
            Expr::Select(mut select) => {
                self.check_field(&select)?;
                let is_map = !select.test && is_map_of_names(&select.operand);
                select.operand = Box::new(self.walk(*select.operand, depth + 1, nested)?);
                if is_map {
                    let key = text(&select.field);
                    let map = *select.operand.clone();
                    or_null(key, map, IdedExpr { id, expr: Expr::Select(select) })
                } else {
                    Expr::Select(select)
                }
            }
            Expr::List(mut list) => {
                let elements = list.elements.into_iter();
                list.elements = elements
                    .map(|e| Ok(paid(self.walk(e, depth + 1, nested)?)))
                    .collect::<Result<_, String>>()?;
                Expr::List(list)
            }
            Expr::Map(mut map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        entry.key = paid(self.walk(std::mem::take(&mut entry.key), depth + 1, nested)?);
                        entry.value = paid(self.walk(std::mem::take(&mut entry.value), depth + 1, nested)?);
                    } else {
                        return Err("structures cannot be made here".into());
                    }
                }
                Expr::Map(map)
            }
            Expr::Call(call) => self.call(call, depth, nested)?,
            Expr::Comprehension(comprehension) => self.comprehension(*comprehension, depth, nested)?,
        };
        Ok(IdedExpr { id, expr })
    }

    fn call(&mut self, mut of: CallExpr, depth: usize, nested: usize) -> Result<Expr, String> {
        let target = of.target.take().map(|target| self.walk(*target, depth + 1, nested)).transpose()?;
        let args = std::mem::take(&mut of.args).into_iter().map(|arg| self.walk(arg, depth + 1, nested));
        let args: Vec<IdedExpr> = args.collect::<Result<_, String>>()?;
        if !is_operator(&of.func_name) {
            self.functions.insert(of.func_name.clone());
        }
        if of.func_name == "matches" {
            return self.matches(target.into_iter().chain(args).collect());
        }
        check_literal(&of.func_name, args.first())?;
        if of.func_name == operators::INDEX
            && let [map, key @ IdedExpr { expr: Expr::Literal(LiteralValue::String(_)), .. }] = &args[..]
        {
            let (map, key) = (map.clone(), key.clone());
            of.args = args;
            return Ok(or_null(key, map, IdedExpr { id: 0, expr: Expr::Call(of) }));
        }
        of.target = target.map(paid).map(Box::new);
        of.args = if is_choice(&of.func_name) { args } else { args.into_iter().map(paid).collect() };
        Ok(Expr::Call(of))
    }

    /// A field of a fact that there is no such field of is a mistake whatever the image.
    fn check_field(&self, select: &SelectExpr) -> Result<(), String> {
        let Expr::Ident(name) = &select.operand.expr else { return Ok(()) };
        let plain = name.trim_start_matches('.');
        if self.bound.iter().any(|bound| bound == plain) {
            return Ok(());
        }
        let Some((_, fields)) = FIELDS.iter().find(|(of, _)| *of == plain) else { return Ok(()) };
        if fields.contains(&select.field.as_str()) {
            return Ok(());
        }
        let near = crate::rules::shape::nearest(&select.field, fields.iter().copied());
        let near = near.map(|near| format!("; did you mean {plain}.{near}?")).unwrap_or_default();
        Err(format!("{plain} has no field {:?}{near}", select.field))
    }

    fn matches(&mut self, args: Vec<IdedExpr>) -> Result<Expr, String> {
        let Ok([text, pattern]) = <[IdedExpr; 2]>::try_from(args) else {
            return Err("matches() takes a text and a pattern".into());
        };
        let Expr::Literal(LiteralValue::String(literal)) = &pattern.expr else {
            return Err("the pattern of matches() is to be written out, so that it can be checked now".into());
        };
        let regex = words::regex(literal.inner())?;
        self.patterns.insert(literal.inner().to_owned(), regex);
        Ok(call(MATCHES, vec![paid(text), pattern]).expr)
    }

    fn comprehension(
        &mut self,
        mut of: cel::common::ast::ComprehensionExpr,
        depth: usize,
        nested: usize,
    ) -> Result<Expr, String> {
        if nested >= MAX_NESTED {
            return Err(format!(
                "all(), exists(), map() and the like lie more than {MAX_NESTED} deep in each other"
            ));
        }
        let range = self.walk(of.iter_range, depth + 1, nested)?;
        of.accu_init = self.walk(of.accu_init, depth + 1, nested)?;
        let before = self.parts;
        let bound = self.bound.len();
        self.bound.push(of.iter_var.clone());
        self.bound.extend(of.iter_var2.clone());
        of.loop_cond = self.walk(of.loop_cond, depth + 1, nested + 1)?;
        of.loop_step = self.walk(of.loop_step, depth + 1, nested + 1)?;
        self.bound.truncate(bound);
        of.result = self.walk(of.result, depth + 1, nested)?;
        let cost = i64::try_from(self.parts - before).unwrap_or(i64::MAX);
        let cost = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Int(cost.into())) };
        of.iter_range = call(OVER, vec![range, cost]);
        Ok(Expr::Comprehension(Box::new(of)))
    }
}

/// Whether this is a map from names to texts, of which one that is not there is none.
fn is_map_of_names(of: &IdedExpr) -> bool {
    matches!(&of.expr, Expr::Select(select) if matches!(select.field.as_str(), "labels" | "annotations" | "claims"))
}

fn text(literal: &str) -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::String(literal.to_owned().into())) }
}

/// `key in map ? value : null`
fn or_null(key: IdedExpr, map: IdedExpr, value: IdedExpr) -> Expr {
    let has = call(operators::IN, vec![key, paid(map)]);
    let null = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Null) };
    call(operators::CONDITIONAL, vec![has, value, null]).expr
}

/// What can be seen of a written-out argument now.
fn check_literal(function: &str, argument: Option<&IdedExpr>) -> Result<(), String> {
    let Some(IdedExpr { expr: Expr::Literal(LiteralValue::String(text)), .. }) = argument else {
        return Ok(());
    };
    let text = text.inner();
    match function {
        "duration" if !is_duration(text) => Err(format!(
            "duration({text:?}) is none: write hours, minutes and seconds, such as duration('720h')"
        )),
        "timestamp" if chrono::DateTime::parse_from_rfc3339(text).is_err() => {
            Err(format!("timestamp({text:?}) is none: write it such as timestamp('2026-01-31T12:00:00Z')"))
        }
        _ => Ok(()),
    }
}

/// Numbers with units, as CEL has them: `1h30m`, `1.5s`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix('-').unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut any = false;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let unit = ["ms", "us", "µs", "ns", "h", "m", "s"].iter().find(|unit| after.starts_with(**unit));
        let (Some(unit), Ok(_)) = (unit, number.parse::<f64>()) else { return false };
        rest = after.get(unit.len()..).unwrap_or_default();
        any = true;
    }
    any
}

fn literal_size(literal: &LiteralValue) -> u64 {
    match literal {
        LiteralValue::String(text) => text.inner().len() as u64 / 16,
        LiteralValue::Bytes(bytes) => bytes.inner().len() as u64 / 16,
        _ => 0,
    }
}
