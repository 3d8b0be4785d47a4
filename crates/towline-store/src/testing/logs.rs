//! Cases: jobs and their logs.

use std::sync::Arc;

use towline_wire::{EventSeq, JobSeq, JobStatus, RawJson};

use super::{Subject, fixture::*};
use crate::{
    Change, EventStore, JobQuery, JobState, RecordKind, RetentionPolicy, StoreError, StoreStats,
};

/// Runs the cases about jobs and their logs.
#[macro_export]
macro_rules! store_log_suite {
    ($subject:expr) => {
        $crate::store_cases!($subject, logs:
            job_rows_come_back_whole, records_come_back_as_they_were, a_read_begins_where_it_is_asked_to,
            changes_apply_in_their_order, the_log_says_which_record_is_the_last, a_refused_batch_leaves_no_trace,
            a_log_has_no_gap_and_one_end, what_is_not_there_is_passed_over, large_blocks_are_kept,
            many_logs_do_not_mix, readers_see_what_was_committed, reading_goes_on_where_memory_ends,
            a_checkpoint_replaces_the_one_before, everything_is_counted, a_closed_store_does_nothing,
        );
    };
}

/// Every field of a job survives.
pub async fn job_rows_come_back_whole(mut subject: Subject) {
    commit(&*subject.store, [job(1).into(), full_job(2).into()]).await;
    for _ in 0..2 {
        let store = &*subject.store;
        assert_eq!(store.job(&job_id(1)).await.unwrap(), Some(job(1)));
        assert_eq!(store.job(&job_id(2)).await.unwrap(), Some(full_job(2)));
        assert_eq!(store.job(&job_id(3)).await.unwrap(), None);
        subject.reopen().await;
    }
    let ended = JobState {
        status: JobStatus::TimedOut,
        budget: Some(RawJson::EMPTY_OBJECT),
        ending: None,
        ..succeeded(at(9))
    };
    commit(&*subject.store, [becomes(&job_id(2), ended.clone())]).await;
    for _ in 0..2 {
        assert_eq!(
            subject.store.job(&job_id(2)).await.unwrap().unwrap().state,
            ended
        );
        subject.reopen().await;
    }
}

/// Payloads and kinds survive, byte by byte, empty blocks of text excepted.
pub async fn records_come_back_as_they_were(mut subject: Subject) {
    let id = job_id(1);
    let records = [
        (RecordKind::Event, r#"{"a":"\u0000 \"ä€𝄞"}"#.to_owned()),
        (RecordKind::Progress, "{}".to_owned()),
        (
            RecordKind::ResultChunk,
            format!(r#"{{"data":"{}"}}"#, "x".repeat(100_000)),
        ),
        (RecordKind::Rotation, r#"{"n":1.00}"#.to_owned()),
        (RecordKind::Error, r#"{"code":"X"}"#.to_owned()),
    ];
    commit(
        &*subject.store,
        [job(1).into(), block_of(&id, 1, &records[..2]).into()],
    )
    .await;
    commit(&*subject.store, [block_of(&id, 3, &records[2..]).into()]).await;
    for _ in 0..2 {
        let read = read_from(&*subject.store, &id, 1, usize::MAX)
            .await
            .unwrap();
        let read: Vec<_> = read
            .into_iter()
            .map(|(_, kind, text)| (kind, text))
            .collect();
        assert_eq!(read, records);
        subject.reopen().await;
    }
}

/// A read gives the block that holds the place, then more until the bound is passed.
pub async fn a_read_begins_where_it_is_asked_to(mut subject: Subject) {
    let id = job_id(1);
    commit(&*subject.store, [job(1).into()]).await;
    let mut next = 1;
    for count in [1, 7, 2, 30, 1, 1, 12] {
        commit(&*subject.store, [block(&id, next, count).into()]).await;
        next += count;
    }
    for _ in 0..2 {
        let store = &*subject.store;
        for from in 0..next + 2 {
            for max_bytes in [0, 1, 500, 4000, usize::MAX] {
                let read = read_from(store, &id, from, max_bytes).await.unwrap();
                let seqs: Vec<_> = read.iter().map(|record| record.0).collect();
                assert_eq!(seqs, (from.max(1)..next).collect::<Vec<_>>());
                let blocks = store
                    .read_job(&id, JobSeq::new(from), max_bytes)
                    .await
                    .unwrap();
                let before_last = blocks
                    .iter()
                    .rev()
                    .skip(1)
                    .map(|block| block.text().len())
                    .sum::<usize>();
                assert!(
                    blocks.len() <= 1 || before_last < max_bytes,
                    "no block after the bound was passed"
                );
            }
        }
        subject.reopen().await;
    }
}

/// Within a batch, what comes later finds what came before and wins over it.
pub async fn changes_apply_in_their_order(mut subject: Subject) {
    let id = job_id(1);
    let changes = [
        job(1).into(),
        block(&id, 1, 3).into(),
        becomes(&id, succeeded(at(5))),
        becomes(
            &id,
            JobState {
                status: JobStatus::Error,
                ..succeeded(at(6))
            },
        ),
        end(&id, 4).into(),
        session(1).into(),
        sees(1, span(1, &id, 1, 3)),
        sees(1, span(4, &id, 4, 1)),
        Change::SessionGone(session_id(1)),
        session(2).into(),
        sees(2, span(1, &id, 4, 1)),
    ];
    commit(&*subject.store, changes).await;
    for _ in 0..2 {
        assert_log(&*subject.store, &id, 1, 4).await;
        let state = subject.store.job(&id).await.unwrap().unwrap().state;
        assert_eq!(
            (state.status, state.finished_at, state.last_seq.value()),
            (JobStatus::Error, Some(at(6)), 4)
        );
        let recovered = subject.store.recover().await.unwrap();
        assert_eq!(recovered.jobs, []);
        assert_eq!(recovered.sessions.len(), 1);
        assert_eq!(recovered.sessions[0].spans, [span(1, &id, 4, 1)]);
        subject.reopen().await;
    }
}

/// The last record is known without a state that names it, wherever a row is given out.
pub async fn the_log_says_which_record_is_the_last(mut subject: Subject) {
    let id = job_id(1);
    let wrong = JobState {
        last_seq: JobSeq::new(77),
        ..running()
    };
    commit(
        &*subject.store,
        [job(1).into(), block(&id, 1, 2).into(), becomes(&id, wrong)],
    )
    .await;
    commit(&*subject.store, [block(&id, 3, 3).into()]).await;
    for _ in 0..2 {
        let store = &*subject.store;
        let all = JobQuery {
            limit: 5,
            ..JobQuery::default()
        };
        let listed = store.list_jobs(all).await.unwrap().jobs;
        let recovered = store.recover().await.unwrap().jobs;
        let found = store.job(&id).await.unwrap().unwrap();
        for state in [&listed[0].state, &recovered[0].state, &found.state] {
            assert_eq!(state.last_seq.value(), 5);
        }
        subject.reopen().await;
    }
    commit(&*subject.store, [block(&id, 6, 1).into()]).await;
    assert_eq!(
        subject
            .store
            .job(&id)
            .await
            .unwrap()
            .unwrap()
            .state
            .last_seq
            .value(),
        6
    );
}

/// A batch that cannot be applied in whole is not applied in part.
pub async fn a_refused_batch_leaves_no_trace(mut subject: Subject) {
    let (id, other) = (job_id(1), job_id(2));
    commit(
        &*subject.store,
        [job(1).into(), block(&id, 1, 2).into(), session(1).into()],
    )
    .await;
    let before = subject.store.stats().await.unwrap();
    let changes = || {
        vec![
            job(2).into(),
            block(&other, 1, 1).into(),
            block(&id, 3, 1).into(),
            becomes(&id, succeeded(at(1))),
            session(2).into(),
            sees(1, span(1, &id, 1, 2)),
            Change::Idempotency(key("k", &other, at(0))),
            Change::Credential(credential(1, &id, true)),
            Change::Audit(audit(1, at(0))),
            Change::Checkpoint {
                job: id.clone(),
                value: RawJson::NULL,
            },
        ]
    };
    let mut refused = changes();
    refused.push(block(&id, 5, 1).into());
    let error = try_commit(&*subject.store, refused).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Rejected(text) if text.contains("job_000001")),
        "{error}"
    );
    for _ in 0..2 {
        let store = &*subject.store;
        assert_eq!(store.job(&other).await.unwrap(), None);
        assert_eq!(
            store.job(&id).await.unwrap().unwrap().state.status,
            JobStatus::Running
        );
        assert_log(store, &id, 1, 2).await;
        assert_eq!(
            store.idempotency(&job(1).principal, "k").await.unwrap(),
            None
        );
        assert!(store.credentials_of(&id).await.unwrap().is_empty());
        assert_eq!(store.audit(10).await.unwrap(), []);
        assert_eq!(store.checkpoint(&id).await.unwrap(), None);
        let recovered = store.recover().await.unwrap();
        assert_eq!(
            (recovered.sessions.len(), recovered.sessions[0].spans.len()),
            (1, 0)
        );
        let now = StoreStats {
            disk_bytes: before.disk_bytes,
            ..store.stats().await.unwrap()
        };
        assert_eq!(now, before);
        subject.reopen().await;
    }
    commit(&*subject.store, changes()).await;
    assert_log(&*subject.store, &id, 1, 3).await;
    assert_log(&*subject.store, &other, 1, 1).await;
}

/// What contradicts a log is refused.
pub async fn a_log_has_no_gap_and_one_end(mut subject: Subject) {
    let (open, ended) = (job_id(1), job_id(2));
    commit(&*subject.store, [job(1).into(), block(&open, 1, 3).into()]).await;
    commit(
        &*subject.store,
        [
            job(2).into(),
            block(&ended, 1, 1).into(),
            end(&ended, 2).into(),
        ],
    )
    .await;
    let two_ends = [
        (RecordKind::Result, "{}".to_owned()),
        (RecordKind::Event, "{}".to_owned()),
    ];
    for _ in 0..2 {
        let store = &*subject.store;
        let refused: [Vec<Change>; 7] = [
            vec![block(&open, 5, 1).into()],
            vec![block(&open, 3, 2).into()],
            vec![block(&open, 4, 2).into(), block(&open, 5, 1).into()],
            vec![block(&ended, 3, 1).into()],
            vec![block_of(&open, 4, &two_ends).into()],
            vec![block(&job_id(3), 1, 1).into()],
            vec![job(1).into()],
        ];
        for changes in refused {
            let named = format!("{changes:?}");
            let result = try_commit(store, changes).await;
            assert!(
                matches!(result, Err(StoreError::Rejected(_))),
                "{result:?} for {named}"
            );
        }
        assert_log(store, &open, 1, 3).await;
        assert_log(store, &ended, 1, 2).await;
        subject.reopen().await;
    }
}

/// Changes of jobs and sessions that are gone do not fail the others.
pub async fn what_is_not_there_is_passed_over(mut subject: Subject) {
    let gone = job_id(9);
    let changes = [
        becomes(&gone, succeeded(at(1))),
        Change::Checkpoint {
            job: gone.clone(),
            value: RawJson::NULL,
        },
        sees(9, span(5, &gone, 1, 1)),
        Change::Trim {
            session: session_id(9),
            up_to: EventSeq::new(3),
        },
        Change::Subscribed {
            session: session_id(9),
            job: gone.clone(),
        },
        Change::Unsubscribed {
            session: session_id(9),
            job: gone.clone(),
        },
        Change::SessionGone(session_id(9)),
        job(1).into(),
    ];
    commit(&*subject.store, changes).await;
    for _ in 0..2 {
        assert!(subject.store.job(&job_id(1)).await.unwrap().is_some());
        assert_eq!(subject.store.job(&gone).await.unwrap(), None);
        assert!(subject.store.recover().await.unwrap().sessions.is_empty());
        assert!(
            subject
                .store
                .read_job(&gone, JobSeq::FIRST, 1)
                .await
                .unwrap()
                .is_empty()
        );
        subject.reopen().await;
    }
}

/// Megabytes in one record, and tens of thousands of records in one block.
pub async fn large_blocks_are_kept(mut subject: Subject) {
    let (large, many) = (job_id(1), job_id(2));
    let record = (
        RecordKind::Event,
        format!(r#"{{"data":"{}"}}"#, "ß".repeat(4 << 20)),
    );
    commit(
        &*subject.store,
        [
            job(1).into(),
            block_of(&large, 1, std::slice::from_ref(&record)).into(),
        ],
    )
    .await;
    commit(
        &*subject.store,
        [job(2).into(), block(&many, 1, 30_000).into()],
    )
    .await;
    for _ in 0..2 {
        let read = read_from(&*subject.store, &large, 1, 1).await.unwrap();
        assert!(
            read == [(1, record.0, record.1.clone())],
            "the large record is as it was"
        );
        assert_log(&*subject.store, &many, 1, 30_000).await;
        assert_log(&*subject.store, &many, 29_999, 30_000).await;
        subject.reopen().await;
    }
}

/// Logs that grow together stay apart.
pub async fn many_logs_do_not_mix(mut subject: Subject) {
    const JOBS: u64 = 60;
    const ROUNDS: u64 = 40;
    commit(&*subject.store, (0..JOBS).map(|number| job(number).into())).await;
    for round in 0..ROUNDS {
        let records = |number: u64| block(&job_id(number), round * 2 + 1, 2).into();
        commit(
            &*subject.store,
            (0..JOBS)
                .filter(|number| *number != 7 || round < 3)
                .map(records),
        )
        .await;
        if round == ROUNDS / 2 {
            subject.reopen().await;
        }
    }
    for _ in 0..2 {
        for number in 0..JOBS {
            let rounds = if number == 7 { 3 } else { ROUNDS };
            assert_log(&*subject.store, &job_id(number), 1, rounds * 2).await;
            assert_log(&*subject.store, &job_id(number), rounds * 2, rounds * 2).await;
        }
        subject.reopen().await;
    }
}

/// While a log grows, every read of it is without a gap and has at least what was committed before it began.
pub async fn readers_see_what_was_committed(subject: Subject) {
    const LAST: u64 = 1500;
    let id = job_id(1);
    commit(&*subject.store, [job(1).into()]).await;
    let (told, _) = tokio::sync::watch::channel(0u64);
    let readers: Vec<_> = (0..3)
        .map(|reader| {
            let (store, told, id) = (Arc::clone(&subject.store), told.subscribe(), id.clone());
            tokio::spawn(async move {
                loop {
                    let committed = *told.borrow();
                    let from = if reader == 0 {
                        1
                    } else {
                        committed.saturating_sub(20 * reader).max(1)
                    };
                    let read = read_from(&*store, &id, from, 2000).await.unwrap();
                    let last = read.last().map_or(0, |record| record.0);
                    assert!(
                        last >= committed,
                        "read up to {last}, committed was {committed}"
                    );
                    assert!(
                        read.iter()
                            .map(|record| record.0)
                            .eq(from..=last.max(from - 1))
                    );
                    let row = store.job(&id).await.unwrap().unwrap();
                    assert!(row.state.last_seq.value() >= last);
                    if last == LAST {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut next = 1;
    while next <= LAST {
        let count = (next % 5 + 1).min(LAST + 1 - next);
        commit(&*subject.store, [block(&id, next, count).into()]).await;
        next += count;
        told.send_replace(next - 1);
        tokio::task::yield_now().await;
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

/// A log of which only the end is still in memory reads as one.
pub async fn reading_goes_on_where_memory_ends(mut subject: Subject) {
    let id = job_id(1);
    commit(&*subject.store, [job(1).into(), block(&id, 1, 10).into()]).await;
    subject.reopen().await;
    commit(&*subject.store, [block(&id, 11, 5).into()]).await;
    commit(&*subject.store, [block(&id, 16, 5).into()]).await;
    for from in [1, 5, 10, 11, 13, 15, 16, 20, 21] {
        for max_bytes in [1, 300, usize::MAX] {
            let read = read_from(&*subject.store, &id, from, max_bytes)
                .await
                .unwrap();
            assert!(
                read.iter().map(|record| record.0).eq(from..=20),
                "from {from}: {read:?}"
            );
        }
    }
}

/// Only the latest checkpoint is kept.
pub async fn a_checkpoint_replaces_the_one_before(mut subject: Subject) {
    let id = job_id(1);
    let value = |text: &str| RawJson::parse(text.to_owned()).expect("good JSON");
    commit(&*subject.store, [job(1).into()]).await;
    assert_eq!(subject.store.checkpoint(&id).await.unwrap(), None);
    commit(
        &*subject.store,
        [Change::Checkpoint {
            job: id.clone(),
            value: value("[1]"),
        }],
    )
    .await;
    commit(
        &*subject.store,
        [Change::Checkpoint {
            job: id.clone(),
            value: value("[1,2]"),
        }],
    )
    .await;
    for _ in 0..2 {
        assert_eq!(
            subject.store.checkpoint(&id).await.unwrap(),
            Some(value("[1,2]"))
        );
        subject.reopen().await;
    }
}

/// The figures are right.
pub async fn everything_is_counted(mut subject: Subject) {
    let id = job_id(1);
    let records = block(&id, 1, 5);
    let bytes = records.text().len() as u64;
    commit(
        &*subject.store,
        [
            job(1).into(),
            job(2).into(),
            session(1).into(),
            records.into(),
        ],
    )
    .await;
    commit(&*subject.store, [becomes(&job_id(2), succeeded(at(1)))]).await;
    for _ in 0..2 {
        let stats = subject.store.stats().await.unwrap();
        assert_eq!(
            (
                stats.jobs,
                stats.live_jobs,
                stats.events,
                stats.event_bytes,
                stats.sessions
            ),
            (2, 1, 5, bytes, 1)
        );
        assert_eq!(stats.disk_bytes > 0, subject.is_on_disk());
        subject.reopen().await;
    }
}

/// After a close everything is refused.
pub async fn a_closed_store_does_nothing(subject: Subject) {
    let store: &dyn EventStore = &*subject.store;
    commit(store, [job(1).into()]).await;
    store.close().await.unwrap();
    let id = job_id(1);
    let closed = |error: StoreError| matches!(error, StoreError::Closed);
    assert!(closed(
        try_commit(store, [job(2).into()]).await.unwrap_err()
    ));
    assert!(closed(
        store.read_job(&id, JobSeq::FIRST, 1).await.unwrap_err()
    ));
    assert!(closed(store.job(&id).await.unwrap_err()));
    assert!(closed(
        store.list_jobs(JobQuery::default()).await.unwrap_err()
    ));
    assert!(closed(
        store.idempotency(&job(1).principal, "k").await.unwrap_err()
    ));
    assert!(closed(store.checkpoint(&id).await.unwrap_err()));
    assert!(closed(store.credentials_of(&id).await.unwrap_err()));
    assert!(closed(store.audit(1).await.unwrap_err()));
    assert!(closed(store.recover().await.unwrap_err()));
    assert!(closed(
        store
            .retain(at(0), &RetentionPolicy::default(), &[])
            .await
            .unwrap_err()
    ));
    assert!(closed(store.stats().await.unwrap_err()));
    store.close().await.unwrap();
}
