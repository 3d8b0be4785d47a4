//! Events of several sizes, and bursts of several jobs at once.

use std::time::Instant;

use serde_json::json;
use tokio::task::JoinSet;
use towline::client::ClientError;

use super::{
    report::Report,
    scenarios::{EVENTS, Load, MESSAGE_BYTES, check, drain, lost, rate, refused},
};
use crate::failure::Outcome;

impl Load<'_> {
    /// Events of one job to one client, small and large.
    pub(super) async fn sizes(&self, report: &mut Report) -> Outcome<()> {
        for (name, bytes, count) in SIZES {
            let count = self.count.unwrap_or(count).min(count);
            let client = self.server.client().await?;
            let mut job = client
                .submit("burst")
                .input(json!({"n": count, "bytes": bytes}))
                .send()
                .await
                .map_err(refused)?;
            job.next_event().await.map_err(refused)?;
            let started = Instant::now();
            let seen = drain(&mut job).await?;
            let rate = rate(seen, started);
            report.add(format!("sizes: events of {name}"), "events/s", rate);
            report.add(
                format!("sizes: events of {name}, their messages"),
                "MB/s",
                rate * bytes as f64 / 1e6,
            );
            check(seen, count)?;
        }
        Ok(())
    }

    /// Events of ever more jobs at once, each in a session of its own.
    pub(super) async fn bursts(&self, report: &mut Report) -> Outcome<()> {
        let all = self.count.unwrap_or(EVENTS / 2);
        for jobs in [1, 8, 64, 200] {
            let count = (all / jobs).max(1);
            let mut clients = self.sessions(jobs).await?;
            let started = Instant::now();
            let mut bursts = JoinSet::new();
            for client in clients.drain(..) {
                bursts.spawn(async move {
                    let mut job = client
                        .submit("burst")
                        .input(json!({"n": count, "bytes": MESSAGE_BYTES}))
                        .send()
                        .await?;
                    let mut seen = 0;
                    while job.next_event().await?.is_some() {
                        seen += 1;
                    }
                    Ok::<u64, ClientError>(seen)
                });
            }
            let mut seen = 0;
            while let Some(burst) = bursts.join_next().await {
                seen += burst.map_err(lost)?.map_err(refused)?;
            }
            report.add(
                format!("bursts: events of {jobs} jobs at once"),
                "events/s",
                rate(seen, started),
            );
            check(seen, count * jobs)?;
        }
        Ok(())
    }
}

/// A name, the bytes of a message, and how many of them.
const SIZES: [(&str, usize, u64); 4] = [
    ("100 B", 100, EVENTS),
    ("1 KiB", 1 << 10, EVENTS / 5),
    ("16 KiB", 16 << 10, EVENTS / 50),
    ("256 KiB", 256 << 10, EVENTS / 1000),
];
