//! Which test proves which rule of the protocol.
//!
//! `docs/requirements.txt` lists the rules. A test claims one by naming it in a comment, in the form `ARCP 6.3-4` between
//! square brackets (several ids are separated by commas, or stand as `6.3-4 to 6.3-6`). Read [`Evidence::gather`] for what counts as a claim, then
//! [`Ledger`] for how claims and rules are held against each other, and `tests/conformance.rs` for the test that does it.
//!
//! ```text
//! *.rs, *.py ── rust_source / python_source ──► Citation ──► Evidence ─┐
//! docs/requirements.txt ────────────────────────────────────────────────┼─► Ledger ──► findings, CONFORMANCE.md
//! docs/not-yet.txt ─────────────────────────────────────────────────────┘
//! ```
//!
//! Only the standard library is used, and files are read as text: a marker inside a string is not a marker, and a marker
//! beside ordinary code is checked for a known id but proves nothing.

mod evidence;
mod ledger;
mod marker;
mod python_source;
mod rust_lexer;
mod rust_source;
mod suite;

pub use evidence::{Evidence, Place};
pub use ledger::{BadLine, Finding, Ledger, NotYet, Requirements};
pub use marker::RuleId;
