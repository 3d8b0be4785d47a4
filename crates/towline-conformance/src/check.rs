//! What a check comes to, and what ends it early.

use serde_json::Value;

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

/// A frame that refuses with one of these codes.
pub(crate) fn expect_refusal(frame: &Value, codes: &[&str]) -> Check {
    if frame["type"] != "session.error" {
        return fail(format!(
            "the answer is `{}`, the draft has `session.error`",
            frame["type"]
        ));
    }
    let code = frame["payload"]["code"].as_str().unwrap_or_default();
    if codes.contains(&code) {
        return Ok(());
    }
    fail(format!(
        "the code is `{code}`, it has to be {}",
        codes.join(" or ")
    ))
}

/// The texts of a list.
pub(crate) fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}
