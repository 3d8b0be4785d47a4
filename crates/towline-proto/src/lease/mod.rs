//! What a job may do: patterns, inclusion, budgets, expiry (§9).
//!
//! Everything here is a pure function or a plain value; the time comes in. The way of a lease:
//!
//! 1. [`validate_request`] compiles what a submit asks for into a [`LeaseSet`], or says why it is malformed.
//! 2. [`Authority`] joins the set with the expiry and the [`Budget`] of one job and answers, per [`Operation`], with a
//!    [`Grant`] or a [`Denial`]. It checks expiry, then budgets, then patterns [ARCP 9.3-1].
//! 3. [`Authority::derive_child`] bounds a child job by its parent [ARCP 9.4-1]. What it reserves from the parent comes
//!    back with [`Budget::settle`].
//!
//! Patterns compile to small automata over normalised values. Matching is linear in the value; whether one lease
//! contains another is decided exactly, on the languages; sizes are bounded, and over the bounds nothing is granted.

mod address;
mod alphabet;
mod ask;
mod authority;
mod automaton;
mod budget;
mod child;
mod component;
mod day;
mod domain;
mod effort;
mod error;
mod exact;
mod explain;
mod host;
mod inclusion;
mod kind;
mod limits;
mod normal;
mod pattern;
mod request;
mod set;
mod symbol;
mod syntax;
#[cfg(test)]
mod tests;
mod url_pattern;

pub use authority::{Ask, Authority, Denial, Grant, Operation, Reach, UnnamedModels};
pub use budget::{Amounts, Budget, BudgetError, Charge, MetricRefused, Remaining, ReserveError};
pub use child::{BoundedLease, ChildGrant, Refusal};
pub use day::{DayRest, DaySpent};
pub use effort::Care;
pub use error::{LeaseError, PatternError, PatternFault, ValueError};
pub use explain::{Explanation, PatternVerdict};
pub use kind::Kind;
pub use limits::{MAX_PATTERN_BYTES, MAX_VALUE_BYTES};
pub use pattern::Pattern;
pub use request::{ValidRequest, validate_request, validate_request_with};
pub use set::{AskedFor, Decision, DenyReason, LeaseSet, Violation, ViolationReason};
