//! What is measured, and how.

use std::{sync::Arc, time::Instant};

use serde_json::json;
use tokio::task::JoinSet;
use towline::client::{Client, ClientError, JobHandle};

use super::{Scenario, report::Report, server::Server};
use crate::failure::{Failure, Outcome};

/// One server under load.
pub(super) struct Load<'a> {
    pub(super) server: &'a Server,
    /// Where it keeps its jobs, as the command line says it.
    pub(super) store: &'a str,
    pub(super) count: Option<u64>,
}

impl Load<'_> {
    pub(super) async fn run(&self, scenario: Scenario, report: &mut Report) -> Outcome<()> {
        match scenario {
            Scenario::Events => self.events(report).await,
            Scenario::Roundtrips => self.roundtrips(report).await,
            Scenario::Latency => self.latency(report).await,
            Scenario::Idle => self.idle(report).await,
            Scenario::Replay => self.replay(report).await,
            Scenario::Fanout => self.fanout(report).await,
            Scenario::Churn => self.churn(report).await,
            Scenario::Sessions => self.beside_sessions(report).await,
            Scenario::History => self.behind_history(report).await,
            Scenario::Watchers => self.before_watchers(report).await,
            Scenario::Disk => self.disk(report).await,
            Scenario::Sizes => self.sizes(report).await,
            Scenario::Bursts => self.bursts(report).await,
            Scenario::Http => self.http(report).await,
        }
    }

    async fn events(&self, report: &mut Report) -> Outcome<()> {
        let client = self.server.client().await?;
        let count = self.count.unwrap_or(EVENTS);
        let mut job = burst(&client, count).await?;
        // The first event is the job's beginning.
        job.next_event().await.map_err(refused)?;
        let started = Instant::now();
        let seen = drain(&mut job).await?;
        report.add(EVENTS_FIGURE, "events/s", rate(seen, started));
        check(seen, count)?;
        // A machine's first touch of a page can cost more than an event does. What the second job is given back of the
        // first one's memory the server has touched before.
        drop(job);
        let mut again = burst(&client, count).await?;
        again.next_event().await.map_err(refused)?;
        let started = Instant::now();
        let seen = drain(&mut again).await?;
        report.add(
            "events: another job of the same server",
            "events/s",
            rate(seen, started),
        );
        check(seen, count)
    }

    async fn roundtrips(&self, report: &mut Report) -> Outcome<()> {
        let client = Arc::new(self.server.client().await?);
        let started = Instant::now();
        let times = echoes(&client, self.count.unwrap_or(32_000)).await?;
        report.add(
            "round trips: submit to result, 32 in flight",
            "jobs/s",
            rate(times.len() as u64, started),
        );
        report.add_tail("round trips: 32 in flight", times);
        Ok(())
    }

    async fn latency(&self, report: &mut Report) -> Outcome<()> {
        let client = self.server.client().await?;
        let mut times = Vec::new();
        for _ in 0..self.count.unwrap_or(2000) {
            let started = Instant::now();
            echo(&client).await.map_err(refused)?;
            times.push(started.elapsed().as_secs_f64() * 1000.0);
        }
        report.add_tail("latency: submit to result", times);
        Ok(())
    }

    async fn idle(&self, report: &mut Report) -> Outcome<()> {
        // The first sessions pay for what all share.
        let warm = self.sessions(16).await?;
        let before = self.server.memory();
        let count = self.count.unwrap_or(2000);
        let sessions = self.sessions(count).await?;
        let grown = self.server.memory().saturating_sub(before);
        report.add(
            "idle: the server's memory for a silent session",
            "KiB",
            grown as f64 / count as f64 / 1024.0,
        );
        drop((warm, sessions));
        Ok(())
    }

    pub(super) async fn sessions(&self, count: u64) -> Outcome<Vec<Client>> {
        let mut sessions = Vec::new();
        for number in 0..count {
            sessions.push(self.server.client_of(number).await?);
        }
        Ok(sessions)
    }

    async fn replay(&self, report: &mut Report) -> Outcome<()> {
        let client = self.server.client().await?;
        let count = self.count.unwrap_or(EVENTS);
        let mut job = burst(&client, count).await?;
        job.discard_events();
        job.outcome().await.map_err(refused)?;
        let reader = self.server.client().await?;
        let started = Instant::now();
        let mut seen = 0;
        let mut replay = reader
            .subscribe(job.id().clone())
            .history(true)
            .send()
            .await
            .map_err(refused)?;
        while replay.next_event().await.map_err(refused)?.is_some() {
            seen += 1;
        }
        report.add(REPLAY_FIGURE, "events/s", rate(seen, started));
        check(seen, count)
    }

    async fn fanout(&self, report: &mut Report) -> Outcome<()> {
        let rate = self.deliveries(8).await?;
        report.add(
            "fan-out: one job to nine clients, deliveries",
            "events/s",
            rate,
        );
        Ok(())
    }

    /// Deliveries a second of one job's events to its owner and so many others.
    pub(super) async fn deliveries(&self, watchers: u64) -> Outcome<f64> {
        let owner = self.server.client().await?;
        let count = self.count.unwrap_or(EVENTS / 5);
        let mut job = burst(&owner, count).await?;
        let started = Instant::now();
        let mut watching = JoinSet::new();
        for _ in 0..watchers {
            let client = self.server.client().await?;
            let mut watch = client
                .subscribe(job.id().clone())
                .history(true)
                .send()
                .await
                .map_err(refused)?;
            watching.spawn(async move {
                let mut seen = 0u64;
                while watch.next_event().await?.is_some() {
                    seen += 1;
                }
                client.close("done").await?;
                Ok::<_, ClientError>(seen)
            });
        }
        let mut seen = drain(&mut job).await?;
        while let Some(watcher) = watching.join_next().await {
            seen += watcher.map_err(lost)?.map_err(refused)?;
        }
        check(seen, count * (watchers + 1))?;
        Ok(rate(seen, started))
    }

    async fn churn(&self, report: &mut Report) -> Outcome<()> {
        let count = self.count.unwrap_or(1000);
        let started = Instant::now();
        for _ in 0..count {
            self.server
                .client()
                .await?
                .close("done")
                .await
                .map_err(refused)?;
        }
        report.add(
            "churn: sessions opened and closed, one at a time",
            "sessions/s",
            rate(count, started),
        );
        Ok(())
    }
}

/// Round trips a second, 32 in flight.
pub(super) async fn echo_rate(client: &Arc<Client>, count: u64) -> Outcome<f64> {
    let started = Instant::now();
    let times = echoes(client, count).await?;
    Ok(rate(times.len() as u64, started))
}

/// Round trips with 32 in flight; how many milliseconds each took.
pub(super) async fn echoes(client: &Arc<Client>, count: u64) -> Outcome<Vec<f64>> {
    let each = (count / IN_FLIGHT).max(1);
    let mut lanes = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let client = Arc::clone(client);
        lanes.spawn(async move {
            let mut times = Vec::new();
            for _ in 0..each {
                let started = Instant::now();
                echo(&client).await?;
                times.push(started.elapsed().as_secs_f64() * 1000.0);
            }
            Ok::<_, ClientError>(times)
        });
    }
    let mut times = Vec::new();
    while let Some(lane) = lanes.join_next().await {
        times.extend(lane.map_err(lost)?.map_err(refused)?);
    }
    Ok(times)
}

async fn burst(client: &Client, count: u64) -> Outcome<JobHandle> {
    client
        .submit("burst")
        .input(json!({"n": count, "bytes": MESSAGE_BYTES}))
        .send()
        .await
        .map_err(refused)
}

pub(super) async fn echo(client: &Client) -> Result<(), ClientError> {
    let mut job = client.submit("echo").input(json!({"hi": 1})).send().await?;
    job.outcome().await.map(drop)
}

pub(super) async fn drain(job: &mut JobHandle) -> Outcome<u64> {
    let mut seen = 0;
    while job.next_event().await.map_err(refused)?.is_some() {
        seen += 1;
    }
    Ok(seen)
}

pub(super) fn check(seen: u64, expected: u64) -> Outcome<()> {
    if seen >= expected {
        Ok(())
    } else {
        Err(Failure::local(format!(
            "{seen} events arrived, {expected} were expected"
        )))
    }
}

pub(super) fn rate(count: u64, started: Instant) -> f64 {
    count as f64 / started.elapsed().as_secs_f64()
}

pub(super) fn lost(error: tokio::task::JoinError) -> Failure {
    Failure::local(error.to_string())
}

pub(super) fn refused(error: ClientError) -> Failure {
    Failure::local(error.to_string())
}

pub(super) const EVENTS_FIGURE: &str = "events: one job to one client";
pub(super) const REPLAY_FIGURE: &str = "replay: a finished job's events";
/// The text of a measured event, which makes events of 300 bytes.
pub(super) const MESSAGE_BYTES: usize = 217;
/// How many events a measured job emits.
pub(super) const EVENTS: u64 = 1_000_000;
pub(super) const IN_FLIGHT: u64 = 32;
