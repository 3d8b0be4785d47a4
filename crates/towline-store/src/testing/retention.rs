//! Cases: what is not kept.

use std::time::Duration;

use towline_wire::{JobId, RawJson};

use super::{Subject, fixture::*};
use crate::{
    AuditRow, Change, DeliveryQuery, DeliveryState, EventStore, IDEMPOTENCY_AGE, RetentionPolicy,
    RetentionReport, StoreError,
};

/// Runs the cases about retention.
#[macro_export]
macro_rules! store_retention_suite {
    ($subject:expr) => {
        $crate::store_cases!($subject, retention:
            old_jobs_go_when_their_time_has_come, what_is_not_acknowledged_is_spared, surplus_jobs_go_oldest_first,
            surplus_bytes_go_from_finished_jobs_first, running_jobs_lose_their_oldest_records,
            keys_live_for_a_day, the_audit_log_is_bounded, refusals_push_nothing_out, checkpoints_end_with_their_job,
            a_talk_is_recovered_with_its_job,
            credentials_outlive_their_job, messages_outlive_their_job, a_job_of_many_blocks_goes_whole, streams_survive_the_jobs_they_show,
        );
    };
}

fn everything() -> RetentionPolicy {
    RetentionPolicy {
        max_age: Duration::MAX,
        max_jobs: u64::MAX,
        max_bytes: u64::MAX,
        audit_age: Duration::MAX,
        audit_rows: u64::MAX,
        audit_refused: u64::MAX,
    }
}

async fn retain(
    store: &dyn EventStore,
    seconds: i64,
    policy: &RetentionPolicy,
    keep: &[JobId],
) -> RetentionReport {
    store.retain(at(seconds), policy, keep).await.unwrap()
}

/// Finished jobs 1 to `count`, each of one block, which ended in the order of their numbers.
async fn finished_jobs(store: &dyn EventStore, count: u64) {
    for number in 1..=count {
        let id = job_id(number);
        let ended = succeeded(at(100 + number as i64));
        commit(
            store,
            [
                job(number).into(),
                block(&id, 1, 4).into(),
                end(&id, 5).into(),
                becomes(&id, ended),
            ],
        )
        .await;
    }
}

fn bytes_of(number: u64) -> u64 {
    (block(&job_id(number), 1, 4).text().len() + end(&job_id(number), 5).text().len()) as u64
}

/// A job goes exactly when it ended `max_age` ago; live jobs never do.
pub async fn old_jobs_go_when_their_time_has_come(mut subject: Subject) {
    finished_jobs(&*subject.store, 3).await;
    commit(
        &*subject.store,
        [job(9).into(), block(&job_id(9), 1, 1).into()],
    )
    .await;
    let policy = RetentionPolicy {
        max_age: Duration::from_secs(50),
        ..everything()
    };
    assert_eq!(
        retain(&*subject.store, 150, &policy, &[]).await,
        RetentionReport::default()
    );
    let report = retain(&*subject.store, 152, &policy, &[]).await;
    assert_eq!(
        (report.jobs, report.bytes),
        (vec![job_id(1), job_id(2)], bytes_of(1) + bytes_of(2))
    );
    for _ in 0..2 {
        let store = &*subject.store;
        assert_eq!(store.job(&job_id(1)).await.unwrap(), None);
        assert!(
            read_from(store, &job_id(1), 1, 99)
                .await
                .unwrap()
                .is_empty()
        );
        assert_log(store, &job_id(3), 1, 5).await;
        assert_log(store, &job_id(9), 1, 1).await;
        let stats = store.stats().await.unwrap();
        assert_eq!((stats.jobs, stats.live_jobs, stats.events), (2, 1, 6));
        subject.reopen().await;
    }
}

/// Neither age nor number takes what some session still has to get.
pub async fn what_is_not_acknowledged_is_spared(subject: Subject) {
    finished_jobs(&*subject.store, 4).await;
    let keep = [job_id(1), job_id(3)];
    let old = RetentionPolicy {
        max_age: Duration::ZERO,
        ..everything()
    };
    assert_eq!(
        retain(&*subject.store, 102, &old, &keep).await.jobs,
        [job_id(2)]
    );
    let few = RetentionPolicy {
        max_jobs: 0,
        ..everything()
    };
    assert_eq!(
        retain(&*subject.store, 102, &few, &keep).await.jobs,
        [job_id(4)]
    );
    assert_eq!(retain(&*subject.store, 102, &few, &[]).await.jobs, keep);
}

/// Only so many finished jobs stay, the ones that ended last.
pub async fn surplus_jobs_go_oldest_first(subject: Subject) {
    finished_jobs(&*subject.store, 5).await;
    commit(&*subject.store, [job(9).into()]).await;
    let policy = RetentionPolicy {
        max_jobs: 3,
        ..everything()
    };
    assert_eq!(
        retain(&*subject.store, 110, &policy, &[]).await.jobs,
        [job_id(1), job_id(2)]
    );
    assert_eq!(retain(&*subject.store, 110, &policy, &[]).await.jobs, []);
}

/// For the bytes, jobs nobody waits for go first, then the others.
pub async fn surplus_bytes_go_from_finished_jobs_first(subject: Subject) {
    finished_jobs(&*subject.store, 4).await;
    commit(
        &*subject.store,
        [
            job(9).into(),
            block(&job_id(9), 1, 1).into(),
            block(&job_id(9), 2, 1).into(),
        ],
    )
    .await;
    let all = subject.store.stats().await.unwrap().event_bytes;
    let policy = |less: u64| RetentionPolicy {
        max_bytes: all - less,
        ..everything()
    };
    let keep = [job_id(1)];
    assert_eq!(
        retain(&*subject.store, 110, &policy(1), &keep).await.jobs,
        [job_id(2)]
    );
    let two_more = bytes_of(2) + bytes_of(3) + bytes_of(4) + 1;
    let report = retain(&*subject.store, 110, &policy(two_more), &keep).await;
    assert_eq!(report.jobs, [job_id(3), job_id(4), job_id(1)]);
    assert!(report.truncated.is_empty());
    assert_log(&*subject.store, &job_id(9), 1, 2).await;
}

/// When finished jobs do not free enough, running ones lose the beginning of their log, and reading it says so.
pub async fn running_jobs_lose_their_oldest_records(mut subject: Subject) {
    let (one, other) = (job_id(1), job_id(2));
    commit(&*subject.store, [job(1).into(), job(2).into()]).await;
    for round in 0..600 {
        let changes = [
            block(&one, round * 3 + 1, 3).into(),
            block(&other, round * 2 + 1, 2).into(),
        ];
        commit(&*subject.store, changes).await;
    }
    let half = subject.store.stats().await.unwrap().event_bytes / 2;
    let policy = RetentionPolicy {
        max_bytes: half,
        ..everything()
    };
    let report = retain(&*subject.store, 1, &policy, &[]).await;
    assert_eq!((report.jobs.len(), report.truncated.len()), (0, 2));
    for _ in 0..2 {
        let store = &*subject.store;
        assert!(store.stats().await.unwrap().event_bytes <= half);
        for (job, oldest) in &report.truncated {
            let last = if *job == one { 1800 } else { 1200 };
            assert!(
                oldest.value() > last / 4 && oldest.value() < last * 3 / 4,
                "the oldest go, whichever job's"
            );
            let error = read_from(store, job, oldest.value() - 1, 99)
                .await
                .unwrap_err();
            assert!(
                matches!(&error, StoreError::Evicted { oldest: said, .. } if said == oldest),
                "{error}"
            );
            assert_log(store, job, oldest.value(), last).await;
            assert_eq!(
                store
                    .job(job)
                    .await
                    .unwrap()
                    .unwrap()
                    .state
                    .last_seq
                    .value(),
                last
            );
        }
        subject.reopen().await;
    }
    let nothing = RetentionPolicy {
        max_bytes: 0,
        ..everything()
    };
    retain(&*subject.store, 1, &nothing, &[]).await;
    assert_log(&*subject.store, &one, 1798, 1800).await;
    assert_log(&*subject.store, &other, 1199, 1200).await;
    commit(&*subject.store, [block(&one, 1801, 1).into()]).await;
    assert_log(&*subject.store, &one, 1798, 1801).await;
}

/// An idempotency key is forgotten when 24 hours have passed since its use, not before.
pub async fn keys_live_for_a_day(subject: Subject) {
    let principal = job(1).principal;
    let day = i64::try_from(IDEMPOTENCY_AGE.as_secs()).expect("small");
    let used = (0..600)
        .map(|number| Change::Idempotency(key(&format!("old {number}"), &job_id(1), at(0))));
    commit(&*subject.store, used).await;
    commit(
        &*subject.store,
        [Change::Idempotency(key("new", &job_id(1), at(10)))],
    )
    .await;
    let find = async |name: &str| {
        subject
            .store
            .idempotency(&principal, name)
            .await
            .unwrap()
            .is_some()
    };
    retain(&*subject.store, day - 1, &everything(), &[]).await;
    assert!(find("old 0").await && find("old 599").await);
    retain(&*subject.store, day, &everything(), &[]).await;
    assert!(
        !find("old 0").await
            && !find("old 300").await
            && !find("old 599").await
            && find("new").await
    );
    commit(
        &*subject.store,
        [Change::Idempotency(key("new", &job_id(2), at(day + 10)))],
    )
    .await;
    retain(&*subject.store, day + 10, &everything(), &[]).await;
    assert!(find("new").await, "it was used again");
}

/// Audit rows go by age and by number, oldest first.
pub async fn the_audit_log_is_bounded(subject: Subject) {
    commit(
        &*subject.store,
        (0..1000).map(|number| Change::Audit(audit(number, at(number as i64)))),
    )
    .await;
    let first = async || subject.store.audit(2000).await.unwrap().first().cloned();
    let old = RetentionPolicy {
        audit_age: Duration::from_secs(100),
        ..everything()
    };
    retain(&*subject.store, 700, &old, &[]).await;
    assert_eq!(first().await, Some(audit(601, at(601))));
    let many = RetentionPolicy {
        audit_rows: 10,
        ..everything()
    };
    retain(&*subject.store, 700, &many, &[]).await;
    assert_eq!(first().await, Some(audit(990, at(990))));
    let none = RetentionPolicy {
        audit_rows: 0,
        ..everything()
    };
    retain(&*subject.store, 700, &none, &[]).await;
    assert_eq!(first().await, None);
    commit(&*subject.store, [Change::Audit(audit(5, at(5)))]).await;
    assert_eq!(first().await, Some(audit(5, at(5))));
}

/// [ARCP 14-6] Of refusals so many are kept, the latest ones; what was done stays.
pub async fn refusals_push_nothing_out(subject: Subject) {
    let row = |number: u64, verdict: &str| AuditRow {
        data: RawJson::parse(format!(
            r#"{{"principal":"\"verdict\":\"refused\"","verdict":"{verdict}","n":{number}}}"#
        ))
        .expect("good JSON"),
        ..audit(number, at(number as i64))
    };
    let verdict = |number| {
        if number % 500 == 0 {
            "allowed"
        } else {
            "refused"
        }
    };
    let rows = (0..2000).map(|number| Change::Audit(row(number, verdict(number))));
    commit(&*subject.store, rows).await;
    let few = RetentionPolicy {
        audit_refused: 3,
        ..everything()
    };
    retain(&*subject.store, 3000, &few, &[]).await;
    let left = subject.store.audit(5000).await.unwrap();
    let kept = [0, 500, 1000, 1500, 1997, 1998, 1999];
    assert_eq!(left, kept.map(|number| row(number, verdict(number))));
}

/// A finished job's checkpoint is of no use.
pub async fn checkpoints_end_with_their_job(subject: Subject) {
    let value = || RawJson::parse("[1]").expect("good JSON");
    let changes = (1..=2).flat_map(|number| {
        [
            job(number).into(),
            Change::Checkpoint {
                job: job_id(number),
                value: value(),
            },
        ]
    });
    commit(&*subject.store, changes).await;
    commit(&*subject.store, [becomes(&job_id(1), succeeded(at(1)))]).await;
    retain(&*subject.store, 2, &everything(), &[]).await;
    assert_eq!(subject.store.checkpoint(&job_id(1)).await.unwrap(), None);
    assert_eq!(
        subject.store.checkpoint(&job_id(2)).await.unwrap(),
        Some(value())
    );
}

/// What a live job and people have to say to each other is recovered with it, the latest of it, in the same commit as the
/// events that tell of it or not at all; a job that has ended needs none.
pub async fn a_talk_is_recovered_with_its_job(mut subject: Subject) {
    let value = |text: &str| RawJson::parse(text.to_owned()).expect("good JSON");
    let talk = |number: u64, text: &str| Change::Talk {
        job: job_id(number),
        value: value(text),
    };
    let talks = async |subject: &Subject| subject.store.recover().await.unwrap().talks;
    let jobs = [job(1).into(), job(2).into(), talk(1, "[1]"), talk(2, "[2]")];
    commit(&*subject.store, jobs).await;
    commit(&*subject.store, [talk(1, "[1,1]"), talk(3, "[3]")]).await;
    for _ in 0..2 {
        let expected = vec![(job_id(1), value("[1,1]")), (job_id(2), value("[2]"))];
        assert_eq!(talks(&subject).await, expected);
        subject.reopen().await;
    }
    commit(&*subject.store, [becomes(&job_id(1), succeeded(at(1)))]).await;
    let refused = try_commit(&*subject.store, [talk(2, "[0]"), job(2).into()]).await;
    assert!(refused.is_err());
    assert_eq!(talks(&subject).await, [(job_id(2), value("[2]"))]);
}

/// What is still to be revoked stays when its job goes, and goes once it is settled.
pub async fn credentials_outlive_their_job(mut subject: Subject) {
    let id = job_id(1);
    finished_jobs(&*subject.store, 1).await;
    let rows = [credential(1, &id, true), credential(2, &id, false)];
    commit(&*subject.store, rows.map(Change::Credential)).await;
    let none = RetentionPolicy {
        max_jobs: 0,
        ..everything()
    };
    let report = retain(&*subject.store, 200, &none, &[]).await;
    assert_eq!(report.jobs, std::slice::from_ref(&id));
    for _ in 0..2 {
        let left = subject.store.credentials_of(&id).await.unwrap();
        assert_eq!(
            left.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(),
            ["cred_1"]
        );
        assert_eq!(subject.store.recover().await.unwrap().credentials.len(), 1);
        subject.reopen().await;
    }
    commit(
        &*subject.store,
        [Change::Credential(credential(1, &id, false))],
    )
    .await;
    retain(&*subject.store, 200, &none, &[]).await;
    assert!(subject.store.credentials_of(&id).await.unwrap().is_empty());
}

/// [ARCP 16-6] what is still to be delivered stays when its job goes, and goes once it is settled.
pub async fn messages_outlive_their_job(mut subject: Subject) {
    let id = job_id(1);
    finished_jobs(&*subject.store, 1).await;
    let settled = |number: u64| {
        let row = delivery(number, &id);
        Change::DeliveryState(DeliveryState {
            id: row.id,
            pending: false,
            data: row.data,
        })
    };
    let rows = [1, 2].map(|number| Change::Delivery(Box::new(delivery(number, &id))));
    commit(&*subject.store, rows).await;
    commit(&*subject.store, [settled(2)]).await;
    let none = RetentionPolicy {
        max_jobs: 0,
        ..everything()
    };
    let ids = async |store: &dyn EventStore| {
        let query = DeliveryQuery {
            limit: 10,
            ..DeliveryQuery::default()
        };
        let rows = store.deliveries(query).await.unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    retain(&*subject.store, 150, &everything(), &[]).await;
    assert_eq!(ids(&*subject.store).await, ["msg_2", "msg_1"]);
    let report = retain(&*subject.store, 200, &none, &[]).await;
    assert_eq!(report.jobs, std::slice::from_ref(&id));
    for _ in 0..2 {
        assert_eq!(ids(&*subject.store).await, ["msg_1"]);
        assert_eq!(subject.store.recover().await.unwrap().deliveries.len(), 1);
        subject.reopen().await;
    }
    commit(&*subject.store, [settled(1)]).await;
    retain(&*subject.store, 200, &none, &[]).await;
    assert!(ids(&*subject.store).await.is_empty());
}

/// However large a job is, it goes with all it has.
pub async fn a_job_of_many_blocks_goes_whole(mut subject: Subject) {
    let id = job_id(1);
    commit(&*subject.store, [job(1).into()]).await;
    for round in 0..8 {
        commit(
            &*subject.store,
            (0..100).map(|step| block(&id, round * 100 + step + 1, 1).into()),
        )
        .await;
    }
    commit(
        &*subject.store,
        [end(&id, 801).into(), becomes(&id, succeeded(at(1)))],
    )
    .await;
    finished_jobs(&*subject.store, 0).await;
    commit(
        &*subject.store,
        [job(2).into(), block(&job_id(2), 1, 2).into()],
    )
    .await;
    let report = retain(
        &*subject.store,
        200,
        &RetentionPolicy {
            max_jobs: 0,
            ..everything()
        },
        &[],
    )
    .await;
    assert_eq!(report.jobs, std::slice::from_ref(&id));
    for _ in 0..2 {
        let stats = subject.store.stats().await.unwrap();
        assert_eq!((stats.jobs, stats.events), (1, 2));
        assert!(
            read_from(&*subject.store, &id, 1, 99)
                .await
                .unwrap()
                .is_empty()
        );
        subject.reopen().await;
    }
    // The name is free again.
    commit(&*subject.store, [job(1).into(), block(&id, 1, 1).into()]).await;
    assert_log(&*subject.store, &id, 1, 1).await;
    assert_log(&*subject.store, &job_id(2), 1, 2).await;
}

/// A session whose stream shows a job that went keeps its numbers, and says which job it was.
pub async fn streams_survive_the_jobs_they_show(mut subject: Subject) {
    let id = job_id(1);
    finished_jobs(&*subject.store, 1).await;
    commit(
        &*subject.store,
        [session(1).into(), sees(1, span(1, &id, 1, 5))],
    )
    .await;
    retain(
        &*subject.store,
        200,
        &RetentionPolicy {
            max_bytes: 0,
            ..everything()
        },
        std::slice::from_ref(&id),
    )
    .await;
    for _ in 0..2 {
        assert_eq!(subject.store.job(&id).await.unwrap(), None);
        let sessions = subject.store.recover().await.unwrap().sessions;
        assert_eq!(
            (sessions[0].spans.as_slice(), sessions[0].last.value()),
            (&[span(1, &id, 1, 5)][..], 5)
        );
        subject.reopen().await;
    }
}
