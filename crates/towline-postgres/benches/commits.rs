//! Commits of one block and one span a job, on this machine's SQLite with an fsync each and on a PostgreSQL server of its own
//! with and without one: `cargo bench -p towline-postgres --features testing`.
//!
//! Each figure is the median of several short runs, in turns, so that what else the machine does meets all stores alike.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on has failed, and it prints"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use towline_postgres::{PostgresStore, testing::Server};
use towline_store::{
    Change, Durability, EventStore, RecordKind, SqliteOptions, SqliteStore, testing::fixture::*,
};
use towline_wire::JobId;

const RUNS: usize = 5;
const RUN: Duration = Duration::from_millis(400);

/// An event of about 300 bytes, no two alike.
fn text(number: u64) -> String {
    let word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        r#"{{"kind":"log","ts":"2031-01-01T00:{:02}:{:02}Z","body":{{"level":"info","message":"step {number} of {}: read src/part_{:04x}.rs, {} bytes, digest {word:016x}{:016x}, no findings in section {}; goes on with the next file of the list, which has {} lines"}},"trace":"{:016x}"}}"#,
        number / 60 % 60,
        number % 60,
        number + 100,
        word & 0xffff,
        word >> 40,
        word.rotate_left(17),
        word % 97,
        word % 1999,
        word.rotate_left(31),
    )
}

/// One store, with jobs that have come as far as `at`.
struct Bed {
    name: &'static str,
    store: Arc<dyn EventStore>,
    at: u64,
    rates: Vec<f64>,
}

impl Bed {
    /// Commits for a while; commits a second.
    async fn run(&mut self, jobs: &[JobId], events: u64) {
        let (began, mut commits) = (Instant::now(), 0);
        while began.elapsed() < RUN {
            let mut changes: Vec<Change> = Vec::with_capacity(2 * jobs.len());
            for (number, id) in jobs.iter().enumerate() {
                let records: Vec<_> = (0..events)
                    .map(|event| (RecordKind::Event, text(self.at + event + number as u64)))
                    .collect();
                changes.push(block_of(id, self.at, &records).into());
                let count = u32::try_from(events).unwrap();
                changes.push(sees(number as u64, span(self.at, id, self.at, count)));
            }
            self.at += events;
            commit(&*self.store, changes).await;
            commits += 1;
        }
        self.rates
            .push(f64::from(commits) / began.elapsed().as_secs_f64());
    }

    fn median(&mut self) -> f64 {
        self.rates.sort_by(f64::total_cmp);
        self.rates[self.rates.len() / 2]
    }
}

async fn beds(directory: &std::path::Path, servers: &[(&'static str, Server)]) -> Vec<Bed> {
    let options = SqliteOptions::new().durability(Durability::Power);
    let sqlite = SqliteStore::open_with(directory.join("store.db"), options);
    let bed = |name, store: Arc<dyn EventStore>| Bed {
        name,
        store,
        at: 1,
        rates: Vec::new(),
    };
    let mut beds = vec![bed("sqlite-power", Arc::new(sqlite.await.unwrap()))];
    for (name, server) in servers {
        let store = PostgresStore::open(&server.url(&server.schema()))
            .await
            .unwrap();
        beds.push(bed(name, Arc::new(store)));
    }
    beds
}

#[tokio::main]
async fn main() {
    let servers = [
        ("postgres", &[][..]),
        ("postgres, no fsync", &["-c", "fsync=off"][..]),
    ];
    let servers: Vec<_> = servers
        .into_iter()
        .filter_map(|(name, settings)| Some((name, Server::another(settings)?)))
        .collect();
    // Where benches are only tried, one shape is enough.
    let is_trial = std::env::args().any(|argument| argument == "--test");
    let shapes: &[(u64, u64)] = if is_trial {
        &[(8, 8)]
    } else {
        &[
            (1, 1),
            (1, 8),
            (1, 64),
            (8, 1),
            (8, 8),
            (8, 64),
            (200, 1),
            (200, 8),
            (200, 64),
        ]
    };
    println!("jobs  events a block  store                commits/s    events/s  of sqlite-power");
    for (count, events) in shapes.iter().copied() {
        let directory = tempfile::tempdir().unwrap();
        let jobs: Vec<JobId> = (0..count).map(job_id).collect();
        let mut beds = beds(directory.path(), &servers).await;
        for bed in &mut beds {
            let rows = (0..count).map(|number| job(number).into());
            let sessions = (0..count).map(|number| session(number).into());
            commit(&*bed.store, rows.chain(sessions)).await;
        }
        for _ in 0..if is_trial { 1 } else { RUNS } {
            for bed in &mut beds {
                bed.run(&jobs, events).await;
            }
        }
        let base = beds[0].median();
        for bed in &mut beds {
            let rate = bed.median();
            println!(
                "{count:>4}  {events:>14}  {:<18}  {rate:>10.0}  {:>10.0}  {:>5.2}",
                bed.name,
                rate * (count * events) as f64,
                rate / base
            );
            bed.store.close().await.unwrap();
        }
    }
}
