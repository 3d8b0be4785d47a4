//! What a job costs the disk: commits, as the server counts them, and fsyncs, as `strace` counts them where it is installed.

use super::{
    report::Report,
    scenarios::{Load, echo, echoes, refused},
    server::Server,
};
use crate::failure::Outcome;

impl Load<'_> {
    /// Commits and fsyncs a job, one at a time and with 32 in flight.
    pub(super) async fn disk(&self, report: &mut Report) -> Outcome<()> {
        let count = self.count.unwrap_or(500);
        let client = std::sync::Arc::new(self.server.client().await?);
        // The session is written with the first one.
        echo(&client).await.map_err(refused)?;
        let before = self.server.commits().await?;
        for _ in 0..count {
            echo(&client).await.map_err(refused)?;
        }
        let alone = self.server.commits().await?;
        let together = echoes(&client, count).await?.len() as u64;
        let after = self.server.commits().await?;
        let each = |commits: u64, jobs: u64| commits as f64 / jobs.max(1) as f64;
        report.add(
            "disk: commits a job, one at a time",
            "commits",
            each(alone - before, count),
        );
        report.add(
            "disk: commits a job, 32 in flight",
            "commits",
            each(after - alone, together),
        );
        let (Some(none), Some(some)) = (self.fsyncs(0).await?, self.fsyncs(count).await?) else {
            return Ok(());
        };
        report.add(
            "disk: fsyncs a job, one at a time",
            "fsyncs",
            each(some.saturating_sub(none), count),
        );
        Ok(())
    }

    /// How often a server of its own syncs, from its start on, for so many jobs; `None` where that cannot be counted.
    async fn fsyncs(&self, jobs: u64) -> Outcome<Option<u64>> {
        let Some(server) = Server::traced(self.store).await? else {
            return Ok(None);
        };
        let client = server.client().await?;
        for _ in 0..=jobs {
            echo(&client).await.map_err(refused)?;
        }
        drop(client);
        server.syncs().await.map(Some)
    }
}
