//! What becomes of a figure as sessions, history and watchers grow. A flat row has no slope.

use std::{sync::Arc, time::Instant};

use super::{
    report::Report,
    scenarios::{Load, echo_rate, refused},
};
use crate::failure::Outcome;

impl Load<'_> {
    /// Round trips of one session, and the memory of a silent one, beside ever more of them.
    pub(super) async fn beside_sessions(&self, report: &mut Report) -> Outcome<()> {
        let client = Arc::new(self.server.client().await?);
        // The first jobs pay for what all share.
        echo_rate(&client, ROUND_TRIPS.min(self.count.unwrap_or(ROUND_TRIPS))).await?;
        let mut silent = Vec::new();
        let most = self.count.unwrap_or(10_000);
        for count in [most / 100, most / 10, most] {
            let (before, new) = (
                self.server.memory(),
                count.saturating_sub(silent.len() as u64),
            );
            if new == 0 {
                continue;
            }
            silent.extend(self.sessions(new).await?);
            let grown = self.server.memory().saturating_sub(before);
            let each = grown as f64 / new as f64 / 1024.0;
            report.add(
                format!("sessions: memory of one more up to {count}"),
                "KiB",
                each,
            );
            let rate = echo_rate(&client, most.min(ROUND_TRIPS)).await?;
            report.add(
                format!("sessions: round trips beside {count}"),
                "jobs/s",
                rate,
            );
        }
        Ok(())
    }

    /// Round trips, a page of the list, and memory, behind ever more finished jobs.
    pub(super) async fn behind_history(&self, report: &mut Report) -> Outcome<()> {
        let client = Arc::new(self.server.client().await?);
        let (empty, mut finished) = (self.server.memory(), 0);
        let most = self.count.unwrap_or(100_000);
        for count in [most / 10, most / 2, most] {
            let measured = ROUND_TRIPS.min(most / 10).max(1);
            let before = count.saturating_sub(finished + measured);
            echo_rate(&client, before).await?;
            let rate = echo_rate(&client, measured).await?;
            finished += before + measured;
            report.add(
                format!("history: round trips up to {count} jobs"),
                "jobs/s",
                rate,
            );
            let started = Instant::now();
            for _ in 0..PAGES {
                client.list_jobs().page().await.map_err(refused)?;
            }
            let page = started.elapsed().as_secs_f64() * 1000.0 / f64::from(PAGES);
            report.add(
                format!("history: a page of the list of {count}"),
                "ms",
                page,
            );
            let grown = self.server.memory().saturating_sub(empty);
            let each = grown as f64 / finished as f64 / 1024.0;
            report.add(format!("history: memory of one of {count}"), "KiB", each);
        }
        Ok(())
    }

    /// Deliveries to ever more clients.
    pub(super) async fn before_watchers(&self, report: &mut Report) -> Outcome<()> {
        for watchers in [0, 1, 8, 64] {
            let rate = self.deliveries(watchers).await?;
            report.add(
                format!("watchers: deliveries to {}", watchers + 1),
                "events/s",
                rate,
            );
        }
        Ok(())
    }
}

const ROUND_TRIPS: u64 = 8_000;
const PAGES: u32 = 200;
