//! What the whole-system tests share. The tests themselves stand in `tests/tests`.
//!
//! They look at towline as an outsider does: the program runs in a process of its own ([`program`]), and what talks to it
//! over a real socket knows nothing but the protocol ([`peer`], [`ledger`]).

pub mod dice;
pub mod ledger;
pub mod peer;
pub mod pipe;
pub mod program;
pub mod rooms;
pub mod server;
pub mod sizes;
pub mod traceability;

use std::{future::Future, time::Duration};

/// How long anything may take before a test calls it lost. It bounds failures and says nothing about speed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for `future`, at most for [`PATIENCE`].
///
/// # Panics
/// When it does not come in time.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing came within {PATIENCE:?}"),
    }
}
