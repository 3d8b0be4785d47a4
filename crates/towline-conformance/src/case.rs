//! A check, and how it is carried out.

use futures_util::future::BoxFuture;

use crate::{
    context::Context,
    report::{Finding, Origin, Verdict},
};

/// Something that is done with the runtime, and has to come out as the rules say.
pub(crate) struct Case {
    pub(crate) check: &'static str,
    pub(crate) rules: &'static [&'static str],
    pub(crate) title: &'static str,
    pub(crate) origin: Origin,
    pub(crate) run: for<'c> fn(&'c mut Context) -> BoxFuture<'c, Check>,
}

/// What a check comes to.
pub(crate) type Check<T = ()> = Result<T, Stop>;

/// Why a check ends early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The rule does not hold.
    Fail(String),
    /// It cannot be looked at here.
    Skip(String),
    /// It is not about this runtime.
    NotApplicable(String),
}

/// The rule does not hold.
pub(crate) fn fail<T>(reason: impl Into<String>) -> Check<T> {
    Err(Stop::Fail(reason.into()))
}

/// Holds the check to a condition.
pub(crate) fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { fail(reason()) }
}

/// A case of the table in `rules`: `case!(name, [rules], Origin, "what has to hold", function)`.
macro_rules! case {
    ($check:literal, [$($rule:literal),+ $(,)?], $origin:ident, $title:literal, $run:path) => {
        $crate::case::Case {
            check: $check,
            rules: &[$($rule),+],
            title: $title,
            origin: $crate::report::Origin::$origin,
            run: |context| Box::pin($run(context)),
        }
    };
}
pub(crate) use case;

/// Carries a case out.
pub(crate) async fn attempt(context: &mut Context, case: &Case) -> Finding {
    context.begin(case.check);
    let (verdict, reason) = match (case.run)(context).await {
        Ok(()) => (Verdict::Pass, None),
        Err(Stop::Fail(reason)) => (Verdict::Fail, Some(reason)),
        Err(Stop::Skip(reason)) => (Verdict::Skipped, Some(reason)),
        Err(Stop::NotApplicable(reason)) => (Verdict::NotApplicable, Some(reason)),
    };
    let frames = context.end(verdict == Verdict::Fail);
    Finding {
        check: case.check,
        rules: case.rules,
        title: case.title,
        origin: case.origin,
        verdict,
        reason,
        frames,
    }
}
