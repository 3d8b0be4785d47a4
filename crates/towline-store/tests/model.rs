//! Random batches on every store, against a model that keeps everything in the plainest way there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use towline_store::{
    Batch, Change, EventStore, IDEMPOTENCY_AGE, JobQuery, MemoryStore, Principal, RecordKind,
    RetentionPolicy, SessionRow, Span, SqliteOptions, SqliteStore, StoreError,
    testing::{Subject, fixture::*},
};
use towline_wire::{EventSeq, JobId, JobSeq, JobStatus, RawJson, SessionId, Timestamp};

const JOBS: u64 = 5;
const SESSIONS: u64 = 3;

/// One step of a run. Numbers are small on purpose: things have to meet.
#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Small>),
    Reopen,
    /// Retention that keeps finished jobs for so many seconds and so many of them, job `keep` being spared.
    Retain {
        age: u64,
        jobs: u64,
        keep: u64,
    },
    Pass(u64),
}

/// A change, to be made fit (or, now and then, not) by what the model knows.
#[derive(Debug, Clone)]
enum Small {
    Job(u64),
    Finish(u64),
    Status(u64, JobStatus),
    Block {
        job: u64,
        count: u64,
        off: u64,
    },
    End(u64),
    Session(u64, u64),
    Gone(u64),
    Span {
        session: u64,
        job: u64,
        count: u32,
        off: u64,
    },
    Trim(u64, u64),
    Watch(u64, u64),
    Leave(u64, u64),
    Key(u64),
    Credential {
        id: u64,
        job: u64,
        outstanding: bool,
    },
    Audit(u64),
    Checkpoint(u64, u64),
}

fn small() -> impl Strategy<Value = Small> {
    let (job, session) = (0..JOBS, 0..SESSIONS);
    // Off by one now and then: such a batch is refused as a whole.
    let off = || prop_oneof![30 => Just(0u64), 1 => Just(1u64)];
    let status = prop::sample::select(vec![
        JobStatus::Pending,
        JobStatus::Running,
        JobStatus::Error,
    ]);
    prop_oneof![
        2 => job.clone().prop_map(Small::Job),
        2 => job.clone().prop_map(Small::Finish),
        1 => (job.clone(), status).prop_map(|(job, status)| Small::Status(job, status)),
        8 => (job.clone(), 1..6u64, off()).prop_map(|(job, count, off)| Small::Block { job, count, off }),
        1 => job.clone().prop_map(Small::End),
        2 => (session.clone(), 0..9u64).prop_map(|(session, acked)| Small::Session(session, acked)),
        1 => session.clone().prop_map(Small::Gone),
        8 => (session.clone(), job.clone(), 1..5u32, off())
            .prop_map(|(session, job, count, off)| Small::Span { session, job, count, off }),
        3 => (session.clone(), 0..40u64).prop_map(|(session, up_to)| Small::Trim(session, up_to)),
        2 => (session.clone(), job.clone()).prop_map(|(session, job)| Small::Watch(session, job)),
        1 => (session, job.clone()).prop_map(|(session, job)| Small::Leave(session, job)),
        2 => (0..4u64).prop_map(Small::Key),
        2 => (0..4u64, job.clone(), any::<bool>())
            .prop_map(|(id, job, outstanding)| Small::Credential { id, job, outstanding }),
        1 => (0..100u64).prop_map(Small::Audit),
        2 => (job, 0..100u64).prop_map(|(job, value)| Small::Checkpoint(job, value)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec(small(), 1..8).prop_map(Step::Commit),
        1 => Just(Step::Reopen),
        1 => (0..200u64, 0..4u64, 0..JOBS).prop_map(|(age, jobs, keep)| Step::Retain { age, jobs, keep }),
        1 => (0..60_000u64).prop_map(Step::Pass),
    ]
}

#[derive(Debug, Clone, Default)]
struct Model {
    now: u64,
    jobs: BTreeMap<JobId, Job>,
    sessions: BTreeMap<SessionId, Session>,
    keys: BTreeMap<String, (JobId, Timestamp)>,
    /// Identifier, job, outstanding, in the order they were first committed.
    credentials: Vec<(u64, JobId, bool)>,
    audit: Vec<u64>,
}

#[derive(Debug, Clone)]
struct Job {
    created: Timestamp,
    status: JobStatus,
    finished: Option<Timestamp>,
    records: Vec<(RecordKind, String)>,
    checkpoint: Option<u64>,
}

#[derive(Debug, Clone)]
struct Session {
    row: SessionRow,
    last: u64,
    spans: Vec<Span>,
    newest: Option<Span>,
    watches: BTreeSet<JobId>,
}

impl Job {
    fn has_ended(&self) -> bool {
        self.records
            .last()
            .is_some_and(|(kind, _)| kind.is_terminal())
    }
}

impl Model {
    fn time(&self) -> Timestamp {
        at(i64::try_from(self.now).unwrap())
    }

    /// Applies a change, or leaves out one that only chance made wrong: most batches should be accepted.
    fn apply_if_meant(&mut self, small: &Small) -> Option<(Change, Result<(), ()>)> {
        let meant = match small {
            Small::Block { off, .. } | Small::Span { off, .. } => *off > 0,
            Small::Job(number) => *number == 0,
            _ => false,
        };
        let applied = self.apply(small);
        (applied.1.is_ok() || meant).then_some(applied)
    }

    /// Turns a small change into a real one and applies it; the error is that the store has to refuse it.
    fn apply(&mut self, small: &Small) -> (Change, Result<(), ()>) {
        let now = self.time();
        match small {
            Small::Job(number) => {
                let mut row = job(*number);
                row.created_at = now;
                let fresh = Job {
                    created: now,
                    status: JobStatus::Running,
                    finished: None,
                    records: Vec::new(),
                    checkpoint: None,
                };
                let refused = self.jobs.contains_key(&row.id);
                self.jobs.entry(row.id.clone()).or_insert(fresh);
                (row.into(), if refused { Err(()) } else { Ok(()) })
            }
            Small::Finish(number) => self.set(*number, JobStatus::Success, Some(now)),
            Small::Status(number, status) => self.set(*number, *status, None),
            Small::Block {
                job: number,
                count,
                off,
            } => {
                let id = job_id(*number);
                let next = self
                    .jobs
                    .get(&id)
                    .map_or(1, |job| job.records.len() as u64 + 1)
                    + off;
                let change = block(&id, next, *count).into();
                let fits = *off == 0 && self.jobs.get(&id).is_some_and(|job| !job.has_ended());
                if let Some(job) = self.jobs.get_mut(&id).filter(|_| fits) {
                    job.records.extend(
                        (next..next + count).map(|seq| (RecordKind::Event, text(&id, seq))),
                    );
                }
                (change, if fits { Ok(()) } else { Err(()) })
            }
            Small::End(number) => {
                let id = job_id(*number);
                let next = self
                    .jobs
                    .get(&id)
                    .map_or(1, |job| job.records.len() as u64 + 1);
                let fits = self.jobs.get(&id).is_some_and(|job| !job.has_ended());
                if let Some(job) = self.jobs.get_mut(&id).filter(|_| fits) {
                    job.records.push((RecordKind::Result, text(&id, next)));
                }
                (end(&id, next).into(), if fits { Ok(()) } else { Err(()) })
            }
            other => self.apply_to_sessions(other),
        }
    }

    fn apply_to_sessions(&mut self, small: &Small) -> (Change, Result<(), ()>) {
        let mut verdict = Ok(());
        let change = match small {
            Small::Session(number, acked) => {
                let row = SessionRow {
                    acked: EventSeq::new(*acked),
                    ..session(*number)
                };
                let fresh = Session {
                    row: row.clone(),
                    last: 0,
                    spans: Vec::new(),
                    newest: None,
                    watches: BTreeSet::new(),
                };
                self.sessions.entry(row.id.clone()).or_insert(fresh).row = row.clone();
                row.into()
            }
            Small::Gone(number) => {
                self.sessions.remove(&session_id(*number));
                Change::SessionGone(session_id(*number))
            }
            Small::Span {
                session,
                job,
                count,
                off,
            } => {
                let id = job_id(*job);
                let known = self.sessions.get_mut(&session_id(*session));
                let first = known.as_ref().map_or(1, |session| session.last + 1) + off;
                // Which records does not matter to a stream; mostly those that go on, also when a trim came between.
                let ended = known.as_ref().and_then(|session| session.newest.clone()).filter(|span| span.job == id);
                let from = ended.map_or(1, |span| span.from.value() + u64::from(span.count));
                let piece = span(first, &id, from, *count);
                if let Some(session) = known {
                    match off {
                        0 => session.extend(piece.clone()),
                        _ => verdict = Err(()),
                    }
                }
                sees(*session, piece)
            }
            Small::Trim(number, up_to) => {
                if let Some(session) = self.sessions.get_mut(&session_id(*number)) {
                    session.spans.retain(|span| span.last().value() > *up_to);
                }
                Change::Trim {
                    session: session_id(*number),
                    up_to: EventSeq::new(*up_to),
                }
            }
            Small::Watch(number, job) => {
                if let Some(session) = self.sessions.get_mut(&session_id(*number)) {
                    session.watches.insert(job_id(*job));
                }
                Change::Subscribed {
                    session: session_id(*number),
                    job: job_id(*job),
                }
            }
            Small::Leave(number, job) => {
                if let Some(session) = self.sessions.get_mut(&session_id(*number)) {
                    session.watches.remove(&job_id(*job));
                }
                Change::Unsubscribed {
                    session: session_id(*number),
                    job: job_id(*job),
                }
            }
            other => self.apply_to_ledger(other),
        };
        (change, verdict)
    }

    fn apply_to_ledger(&mut self, small: &Small) -> Change {
        match small {
            Small::Key(number) => {
                let row = key(&format!("k{number}"), &job_id(*number), self.time());
                self.keys
                    .insert(row.key.clone(), (row.job.clone(), row.created_at));
                Change::Idempotency(row)
            }
            Small::Credential {
                id,
                job,
                outstanding,
            } => {
                // A credential is for one job for all its life.
                let known = self.credentials.iter_mut().find(|(known, ..)| known == id);
                let job = known
                    .as_ref()
                    .map_or(job_id(*job), |(_, job, _)| job.clone());
                match known {
                    Some(row) => row.2 = *outstanding,
                    None => self.credentials.push((*id, job.clone(), *outstanding)),
                }
                Change::Credential(credential(*id, &job, *outstanding))
            }
            Small::Audit(number) => {
                self.audit.push(*number);
                Change::Audit(audit(*number, at(0)))
            }
            Small::Checkpoint(number, value) => {
                if let Some(job) = self.jobs.get_mut(&job_id(*number)) {
                    job.checkpoint = Some(*value);
                }
                Change::Checkpoint {
                    job: job_id(*number),
                    value: RawJson::parse(value.to_string()).unwrap(),
                }
            }
            _ => unreachable!("the others are handled before"),
        }
    }

    fn set(
        &mut self,
        number: u64,
        status: JobStatus,
        finished: Option<Timestamp>,
    ) -> (Change, Result<(), ()>) {
        let mut state = running();
        (state.status, state.finished_at) = (status, finished);
        if let Some(job) = self.jobs.get_mut(&job_id(number)) {
            (job.status, job.finished) = (status, finished);
        }
        (becomes(&job_id(number), state), Ok(()))
    }

    /// What retention removes, in order. Jobs that ended at the same time may go in any order, so the caller sorts.
    fn retain(&mut self, age: u64, most: u64, keep: &JobId) -> Vec<JobId> {
        let now = self.time();
        self.keys
            .retain(|_, (_, used)| now.since(*used) < IDEMPOTENCY_AGE);
        self.credentials
            .retain(|(_, job, outstanding)| *outstanding || self.jobs.contains_key(job));
        let mut finished: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.status.is_terminal())
            .map(|(id, job)| (job.finished.unwrap_or(job.created), id.clone()))
            .collect();
        finished.sort();
        for (_, id) in &finished {
            self.jobs.get_mut(id).unwrap().checkpoint = None;
        }
        let mut gone = Vec::new();
        let mut left = finished.len() as u64;
        for too_old in [true, false] {
            for (ended, id) in &finished {
                let goes = if too_old {
                    ended.plus(Duration::from_secs(age)) <= now
                } else {
                    left > most
                };
                if goes && id != keep && self.jobs.remove(id).is_some() {
                    self.credentials
                        .retain(|(_, job, outstanding)| job != id || *outstanding);
                    left -= 1;
                    gone.push(id.clone());
                }
            }
        }
        gone
    }
}

impl Session {
    fn extend(&mut self, span: Span) {
        self.last = span.last().value();
        self.newest = Some(span.clone());
        match self.spans.last().and_then(|last| last.joined(&span)) {
            Some(joined) => *self.spans.last_mut().unwrap() = joined,
            None => self.spans.push(span),
        }
    }
}

async fn assert_same(store: &dyn EventStore, model: &Model) {
    for number in 0..JOBS {
        let id = job_id(number);
        let row = store.job(&id).await.unwrap();
        let known = model.jobs.get(&id);
        let expected = known.map(|job| {
            (
                job.created,
                job.status,
                job.finished,
                job.records.len() as u64,
            )
        });
        let found = row.map(|row| {
            (
                row.created_at,
                row.state.status,
                row.state.finished_at,
                row.state.last_seq.value(),
            )
        });
        assert_eq!(found, expected, "{id}");
        let records: Vec<_> = known.map(|job| job.records.clone()).unwrap_or_default();
        for from in [1, records.len() / 2 + 1, records.len() + 1] {
            let read = read_from(store, &id, from as u64, 200).await.unwrap();
            let read: Vec<_> = read
                .into_iter()
                .map(|(_, kind, text)| (kind, text))
                .collect();
            assert_eq!(
                read,
                records[(from - 1).min(records.len())..],
                "{id} from {from}"
            );
        }
        let checkpoint = store
            .checkpoint(&id)
            .await
            .unwrap()
            .map(|value| value.as_str().parse().unwrap());
        assert_eq!(checkpoint, known.and_then(|job| job.checkpoint), "{id}");
        let credentials = store.credentials_of(&id).await.unwrap();
        let credentials: Vec<_> = credentials
            .iter()
            .map(|row| (row.id.to_string(), row.outstanding))
            .collect();
        let expected = model.credentials.iter().filter(|(_, job, _)| *job == id);
        assert_eq!(
            credentials,
            expected
                .map(|(id, _, out)| (format!("cred_{id}"), *out))
                .collect::<Vec<_>>()
        );
    }
    assert_same_lists(store, model).await;
    for number in 0..4 {
        let name = format!("k{number}");
        let row = store
            .idempotency(&Principal::new("alice"), &name)
            .await
            .unwrap();
        assert_eq!(
            row.map(|row| (row.job, row.created_at)),
            model.keys.get(&name).cloned()
        );
    }
    let audit = store.audit(10).await.unwrap();
    let expected = model
        .audit
        .iter()
        .skip(model.audit.len().saturating_sub(10));
    assert!(
        audit
            .iter()
            .map(|row| row.data.to_string())
            .eq(expected.map(|n| format!(r#"{{"n":{n}}}"#)))
    );
}

async fn assert_same_lists(store: &dyn EventStore, model: &Model) {
    let mut order: Vec<_> = model
        .jobs
        .iter()
        .map(|(id, job)| (job.created, id.clone()))
        .collect();
    order.sort();
    let listed = store
        .list_jobs(JobQuery {
            limit: 100,
            ..JobQuery::default()
        })
        .await
        .unwrap()
        .jobs;
    assert!(
        listed
            .iter()
            .map(|job| &job.id)
            .eq(order.iter().map(|(_, id)| id))
    );

    let live: Vec<_> = order
        .iter()
        .filter(|(_, id)| !model.jobs[id].status.is_terminal())
        .collect();
    let recovered = store.recover().await.unwrap();
    assert!(
        recovered
            .jobs
            .iter()
            .map(|job| &job.id)
            .eq(live.iter().map(|(_, id)| id))
    );
    let outstanding = recovered.credentials.iter().map(|row| row.id.to_string());
    assert!(
        outstanding.eq(model
            .credentials
            .iter()
            .filter(|row| row.2)
            .map(|row| format!("cred_{}", row.0)))
    );
    assert_eq!(recovered.sessions.len(), model.sessions.len());
    for found in &recovered.sessions {
        let known = &model.sessions[&found.row.id];
        assert_eq!((&found.row, found.last.value()), (&known.row, known.last));
        assert_eq!(found.spans, known.spans);
        assert!(found.subscriptions.iter().eq(known.watches.iter()));
    }
    let stats = store.stats().await.unwrap();
    let events: usize = model.jobs.values().map(|job| job.records.len()).sum();
    let bytes: usize = model
        .jobs
        .values()
        .flat_map(|job| &job.records)
        .map(|(_, text)| text.len())
        .sum();
    let counted = (
        stats.jobs,
        stats.live_jobs,
        stats.events,
        stats.event_bytes,
        stats.sessions,
    );
    let jobs = (model.jobs.len() as u64, live.len() as u64);
    assert_eq!(
        counted,
        (
            jobs.0,
            jobs.1,
            events as u64,
            bytes as u64,
            model.sessions.len() as u64
        )
    );
    let beyond = store
        .read_job(&job_id(JOBS), JobSeq::FIRST, 1)
        .await
        .unwrap();
    assert!(beyond.is_empty());
}

async fn run(mut subject: Subject, steps: &[Step]) {
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Commit(small) => {
                let mut after = model.clone();
                let applied: Vec<_> = small
                    .iter()
                    .filter_map(|small| after.apply_if_meant(small))
                    .collect();
                let refused = applied.iter().any(|(_, verdict)| verdict.is_err());
                let changes = applied.into_iter().map(|(change, _)| change).collect();
                match subject.store.commit(Batch { changes }).await {
                    Ok(()) => {
                        assert!(!refused, "the batch had to be refused");
                        model = after;
                    }
                    Err(error) => assert!(
                        refused && matches!(error, StoreError::Rejected(_)),
                        "{error}"
                    ),
                }
                // Reading everything after each commit would test the flushed state alone.
                if small.len() % 3 == 0 {
                    assert_same(&*subject.store, &model).await;
                }
            }
            Step::Reopen => {
                subject.reopen().await;
                assert_same(&*subject.store, &model).await;
            }
            Step::Retain { age, jobs, keep } => {
                let policy = RetentionPolicy {
                    max_age: Duration::from_secs(*age),
                    max_jobs: *jobs,
                    ..RetentionPolicy::default()
                };
                let keep = job_id(*keep);
                let report = subject
                    .store
                    .retain(model.time(), &policy, std::slice::from_ref(&keep))
                    .await
                    .unwrap();
                assert_eq!(report.jobs, model.retain(*age, *jobs, &keep));
            }
            Step::Pass(seconds) => model.now += seconds,
        }
        model.now += 1;
    }
    assert_same(&*subject.store, &model).await;
    subject.reopen().await;
    assert_same(&*subject.store, &model).await;
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_memory_store_is_the_model(steps in prop::collection::vec(step(), 1..60)) {
        block_on(run(Subject::of(MemoryStore::new()), &steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_sqlite_store_is_the_model(steps in prop::collection::vec(step(), 1..60), cache in 0usize..2) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let options = SqliteOptions::new().cache_bytes(cache << 20).readers(1);
        block_on(async {
            let subject = Subject::durable(move || SqliteStore::open_with(path.clone(), options.clone()), directory).await;
            run(subject, &steps).await;
        });
    }
}
