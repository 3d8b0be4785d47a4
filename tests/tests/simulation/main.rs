//! The real client and the real runtime, in a world where everything goes wrong that can, in virtual time.
//!
//! - [`storms`]: several clients, and misfortunes as a seed decides
//! - [`everywhere`]: one small play, and one misfortune at every place where it can happen
//! - [`silence`]: connections that are dead and do not look it
//! - [`cluster`]: several runtimes on one store
//!
//! What was seen is measured by what is on the disk in the end: [`judge`].

#![expect(
    clippy::expect_used,
    reason = "a simulation that cannot go on has failed"
)]

mod actor;
mod agents;
mod book;
mod cluster;
mod everywhere;
mod judge;
mod life;
mod nodes;
mod observer;
mod person;
mod silence;
mod storms;
mod tap;
mod walkers;
mod world;

use std::{future::Future, time::Duration};

use tokio::time::timeout;

/// Runs something on one thread, in time that jumps when nobody has anything to do.
///
/// # Panics
/// When it takes an hour of that time: then it is stuck.
fn virtual_time<T>(what: &str, run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime.expect("a runtime can be built").block_on(async {
        let ran = timeout(Duration::from_secs(3600), run).await;
        ran.unwrap_or_else(|_| panic!("{what}: stuck"))
    })
}
