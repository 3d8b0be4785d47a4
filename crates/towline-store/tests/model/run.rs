//! A run of random steps, on a store and on the model.

use std::time::Duration;

use proptest::prelude::*;
use towline_store::{
    Batch, EventStore, JobQuery, Principal, RetentionPolicy, StoreError,
    testing::{Subject, fixture::*},
};
use towline_wire::{JobSeq, JobStatus};

use super::plain::{Model, Small};

const JOBS: u64 = 5;
const SESSIONS: u64 = 3;

/// One step of a run. Numbers are small on purpose: things have to meet.
#[derive(Debug, Clone)]
pub(crate) enum Step {
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

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec(small(), 1..8).prop_map(Step::Commit),
        1 => Just(Step::Reopen),
        1 => (0..200u64, 0..4u64, 0..JOBS).prop_map(|(age, jobs, keep)| Step::Retain { age, jobs, keep }),
        1 => (0..60_000u64).prop_map(Step::Pass),
    ]
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

/// Takes a store through the steps, and compares.
pub(crate) async fn run(mut subject: Subject, steps: &[Step]) {
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
                    Ok(_) => {
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
