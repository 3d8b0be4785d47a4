//! How fast stores commit and read, and what an event takes on disk.
//!
//! Every commit is one batch with one block for each job and a span for each block in one session that watches all of
//! them, as a runtime under load writes it; an event is 300 bytes. `cargo bench -p towline-store --features testing`
//! runs all of it, a name after `--` a part.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use towline_store::{
    Batch, Block, Change, Durability, EventStore, MemoryStore, RecordKind, SqliteOptions,
    SqliteStore,
    testing::fixture::{block_of, commit, job, job_id, sees, session, span},
};
use towline_wire::JobSeq;

const EVENT_BYTES: usize = 300;

/// Grows logs by one batch after the other.
struct Load {
    jobs: u64,
    size: u64,
    next_seq: u64,
    next_event: u64,
    records: Vec<(RecordKind, String)>,
}

impl Load {
    async fn new(store: &dyn EventStore, jobs: u64, size: u64) -> Self {
        commit(
            store,
            (0..jobs)
                .map(|number| job(number).into())
                .chain([session(0).into()]),
        )
        .await;
        let start = r#"{"kind":"log","body":{"level":"info","message":""#;
        let text = format!("{start}{}\"}}}}", "x".repeat(EVENT_BYTES - start.len() - 3));
        let records = (0..size)
            .map(|_| (RecordKind::Event, text.clone()))
            .collect();
        Self {
            jobs,
            size,
            next_seq: 1,
            next_event: 1,
            records,
        }
    }

    fn batch(&mut self) -> Batch {
        let mut changes: Vec<Change> = Vec::with_capacity(2 * self.jobs as usize);
        for number in 0..self.jobs {
            let id = job_id(number);
            changes.push(block_of(&id, self.next_seq, &self.records).into());
            changes.push(sees(
                0,
                span(self.next_event, &id, self.next_seq, self.size as u32),
            ));
            self.next_event += self.size;
        }
        self.next_seq += self.size;
        Batch { changes }
    }
}

/// Commits `times` batches one after the other and says how long the store took.
async fn timed(store: &dyn EventStore, load: &mut Load, times: u64) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..times {
        let batch = load.batch();
        let begun = Instant::now();
        store.commit(batch).await.expect("the batch is committed");
        spent += begun.elapsed();
    }
    spent
}

fn commits(
    criterion: &mut Criterion,
    name: &str,
    open: impl Fn() -> (Arc<dyn EventStore>, tempfile::TempDir),
) {
    let runtime = Runtime::new().expect("tokio starts");
    let mut group = criterion.benchmark_group(format!("commit/{name}"));
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    for jobs in [1, 8, 200] {
        for size in [1, 8, 64] {
            group.throughput(Throughput::Elements(jobs * size));
            let id = BenchmarkId::new(format!("{jobs} jobs"), format!("{size} events a block"));
            group.bench_function(id, |bencher| {
                let (store, _directory) = open();
                let mut load = runtime.block_on(Load::new(&*store, jobs, size));
                bencher.iter_custom(|times| runtime.block_on(timed(&*store, &mut load, times)));
                runtime.block_on(store.close()).expect("the store closes");
            });
        }
    }
}

fn sqlite(options: SqliteOptions) -> (Arc<dyn EventStore>, tempfile::TempDir) {
    // Beside the crate and not in the directory for temporary files, which is often memory.
    let directory =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory can be made");
    let path = directory.path().join("store.db");
    let runtime = Runtime::new().expect("tokio starts");
    let store = runtime
        .block_on(SqliteStore::open_with(path, options))
        .expect("the store opens");
    (Arc::new(store), directory)
}

fn all_commits(criterion: &mut Criterion) {
    commits(criterion, "memory", || {
        (
            Arc::new(MemoryStore::new()),
            tempfile::tempdir().expect("a directory can be made"),
        )
    });
    commits(
        criterion,
        "sqlite, process",
        || sqlite(SqliteOptions::new()),
    );
    commits(criterion, "sqlite, power", || {
        sqlite(SqliteOptions::new().durability(Durability::Power))
    });
}

async fn replay(store: &dyn EventStore) -> usize {
    let (id, mut next, mut events) = (job_id(3), JobSeq::FIRST, 0);
    loop {
        let blocks: Vec<Arc<Block>> = store
            .read_job(&id, next, 256 << 10)
            .await
            .expect("the log can be read");
        let Some(last) = blocks.last() else {
            return events;
        };
        next = last.last().next();
        events += blocks
            .iter()
            .map(|block| black_box(block).len())
            .sum::<usize>();
    }
}

fn replays(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("tokio starts");
    let mut group = criterion.benchmark_group("replay of one job of 8");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    for size in [1, 8, 64] {
        let events = 64 * 400;
        group.throughput(Throughput::Elements(events));
        for cached in [false, true] {
            let cache = if cached { 1 << 30 } else { 0 };
            let (store, _directory) = sqlite(SqliteOptions::new().cache_bytes(cache));
            let mut load = runtime.block_on(Load::new(&*store, 8, size));
            runtime.block_on(timed(&*store, &mut load, events / size));
            runtime
                .block_on(store.recover())
                .expect("the store can be flushed");
            runtime.block_on(commit(&*store, [job(900).into()]));
            let from = if cached {
                "from memory"
            } else {
                "from the file"
            };
            let id = BenchmarkId::new(from, format!("{size} events a block"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| assert_eq!(runtime.block_on(replay(&*store)) as u64, events));
            });
            runtime.block_on(store.close()).expect("the store closes");
        }
    }
}

/// Not a time: printed beside the others, because it belongs to them.
#[expect(
    clippy::print_stdout,
    reason = "criterion prints its figures there too"
)]
fn disk_space(_: &mut Criterion) {
    let runtime = Runtime::new().expect("tokio starts");
    for (jobs, size) in [(1, 1), (8, 8), (8, 64), (200, 1), (200, 64)] {
        let (store, directory) = sqlite(SqliteOptions::new());
        let mut load = runtime.block_on(Load::new(&*store, jobs, size));
        let batches = 200_000 / (jobs * size);
        runtime.block_on(timed(&*store, &mut load, batches));
        runtime.block_on(store.close()).expect("the store closes");
        let bytes = std::fs::metadata(directory.path().join("store.db"))
            .expect("the file is there")
            .len();
        let each = bytes as f64 / (batches * jobs * size) as f64;
        println!(
            "disk space: {each:.1} bytes an event of {EVENT_BYTES} ({jobs} jobs, {size} events a block)"
        );
    }
}

criterion_group!(benches, all_commits, replays, disk_space);
criterion_main!(benches);
