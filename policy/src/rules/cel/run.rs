//! Runs an expression over facts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::common::types::{CelBool, CelInt, CelString};
use cel::common::value::CowVal;
use cel::functions::FunctionContext;
use cel::{Context, ExecutionError, Value as Cel};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::budget::{Budget, MAX_WORK};
use super::rewrite::{MATCHES, OVER, PAY};
use super::{Expression, STANDARD, values};
use crate::facts::Facts;
use crate::rules::Policy;

/// Most characters of an error that are told: it may quote what it failed on.
const MAX_MESSAGE: usize = 200;

/// Why an expression has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CelError {
    /// It went past its budget.
    #[error("the expression takes too much work on what is there")]
    TooMuchWork,
    /// It is neither true nor false.
    #[error("the expression is {0}, neither true nor false")]
    NotBoolean(String),
    /// It came upon an error, such as a field that is not there.
    #[error("the expression cannot be answered: {0}")]
    Failed(String),
}

/// A function as the interpreter calls it.
type CelFunction = Box<
    dyn for<'c, 'v> Fn(&mut FunctionContext<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> + Send + Sync,
>;

/// What an expression is asked about.
pub(crate) struct Scope<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) policy: &'a Policy,
    pub(crate) now: DateTime<Utc>,
    pub(crate) predicate: Option<&'a Value>,
}

impl Expression {
    /// Whether it is true, with one of so many shares of the work that it may do.
    pub(crate) fn run_share(&self, scope: &Scope<'_>, shares: usize) -> Result<bool, CelError> {
        self.run_within(scope, MAX_WORK / u64::try_from(shares.max(1)).unwrap_or(u64::MAX))
    }

    pub(super) fn run_within(&self, scope: &Scope<'_>, work: u64) -> Result<bool, CelError> {
        let budget = Arc::new(Budget::new(work));
        let answer = catch_unwind(AssertUnwindSafe(|| self.answer(scope, &budget)));
        // Asked first: || and exists() swallow the error that says so.
        if budget.is_spent() {
            return Err(CelError::TooMuchWork);
        }
        answer.unwrap_or_else(|_| Err(CelError::Failed("the interpreter gave up".into())))
    }

    fn answer(&self, scope: &Scope<'_>, budget: &Arc<Budget>) -> Result<bool, CelError> {
        let failed =
            |error: ExecutionError| CelError::Failed(error.to_string().chars().take(MAX_MESSAGE).collect());
        let mut context = Context::with_env(Arc::clone(&STANDARD));
        for name in &self.variables {
            if !budget.pay(values::cost(name, scope)) {
                return Err(CelError::TooMuchWork);
            }
            context.add_variable_from_value(name.as_str(), values::variable(name, scope));
        }
        let declared = self.declare(&mut context, budget);
        declared.map_err(|error| CelError::Failed(error.to_string()))?;
        let value = Cel::resolve_val(&self.tree, &context).map_err(failed)?;
        match value.downcast_ref::<CelBool>() {
            Some(answer) => Ok(*answer.inner()),
            None => Err(CelError::NotBoolean(format!("of type {}", value.get_type().name()))),
        }
    }

    fn declare(
        &self,
        context: &mut Context<'_, '_>,
        budget: &Arc<Budget>,
    ) -> Result<(), cel::DeclarationError> {
        let purse = Arc::clone(budget);
        let over: CelFunction = Box::new(move |call| over(call, &purse));
        context.add_function(OVER, over)?;
        let purse = Arc::clone(budget);
        let pay: CelFunction = Box::new(move |call| pay(call, &purse));
        context.add_function(PAY, pay)?;
        let (purse, patterns) = (Arc::clone(budget), Arc::clone(&self.patterns));
        let matches = move |text: Arc<String>, pattern: Arc<String>| {
            let unknown = || ExecutionError::function_error("matches", "the pattern is not known");
            let regex = patterns.get(pattern.as_str()).ok_or_else(unknown)?;
            // A search costs at most the size of the program for each byte; in practice far less.
            match purse.pay(1 + text.len() as u64 / 4) {
                true => Ok(regex.is_match(&text)),
                false => Err(spent()),
            }
        };
        context.add_function(MATCHES, matches)
    }
}

fn spent() -> ExecutionError {
    ExecutionError::function_error("budget", "the expression takes too much work")
}

fn pay<'c, 'v>(
    call: &mut FunctionContext<'c, 'v>,
    budget: &Budget,
) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let value = call.args.pop().ok_or_else(ExecutionError::missing_argument_or_target)?;
    if budget.pay_for(value.as_ref()) { Ok(value) } else { Err(spent()) }
}

/// Going over a list copies each element once, so it pays for the list, and for the body once an element.
fn over<'c, 'v>(
    call: &mut FunctionContext<'c, 'v>,
    budget: &Budget,
) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let cost = call.args.pop().ok_or_else(ExecutionError::missing_argument_or_target)?;
    let range = call.args.pop().ok_or_else(ExecutionError::missing_argument_or_target)?;
    let cost =
        cost.downcast_ref::<CelInt>().and_then(|cost| u64::try_from(*cost.inner()).ok()).unwrap_or(u64::MAX);
    let length = match range.as_sizer() {
        Some(sizer) => u64::try_from(*sizer.size().inner()).unwrap_or(u64::MAX),
        None => 1,
    };
    if range.downcast_ref::<CelString<'_>>().is_some() {
        return Err(ExecutionError::function_error("all, exists, map", "a text is no list"));
    }
    match budget.pay(length.saturating_mul(cost)) && budget.pay_for(range.as_ref()) {
        true => Ok(range),
        false => Err(spent()),
    }
}
