//! A check, and how it is carried out.

use futures_util::future::BoxFuture;

use crate::{
    check::{Check, Stop},
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
