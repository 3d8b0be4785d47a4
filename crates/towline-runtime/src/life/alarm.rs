//! Waking jobs that wait for a time: not before a moment, or until their queue's rate lets one more begin [ARCP 22-4].

use std::{sync::Arc, time::Duration};

use super::places;
use crate::hub::Hub;

/// One timer for all of them. The clock is looked at again now and then, for it may be set, and machines sleep.
pub(super) async fn run(hub: Arc<Hub>) {
    loop {
        // Made before the look, so that nobody who comes meanwhile is missed.
        let news = hub.books.alarm.notified();
        let next = hub.books.admission.lock().next_at();
        let left = next.map(|at| at.since(hub.now()).min(LOOK));
        tokio::select! {
            () = hub.scope.stopping.cancelled() => return,
            () = hub.scope.draining.cancelled() => return,
            () = news => continue,
            () = sleep(left) => {}
        }
        places::advance(&hub);
    }
}

async fn sleep(left: Option<Duration>) {
    match left {
        Some(left) => tokio::time::sleep(left).await,
        None => std::future::pending().await,
    }
}

/// How long a clock is trusted.
const LOOK: Duration = Duration::from_secs(30);
