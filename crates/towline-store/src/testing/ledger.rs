//! Cases: idempotency keys, credentials, messages to be delivered and the audit log.

use towline_wire::RawJson;

use super::{Subject, fixture::*};
use crate::{
    Batch, Change, CredentialRow, DeliveryQuery, DeliveryRow, DeliveryState, IdempotencyRow,
    Principal, ScheduleChange, ScheduleRow, StoreError,
};

/// Runs the cases about keys, credentials, messages and the audit log.
#[macro_export]
macro_rules! store_ledger_suite {
    ($subject:expr) => {
        $crate::store_cases!($subject, ledger:
            a_key_stands_for_its_job, a_schedule_goes_forward_only, messages_wait_until_they_are_settled, credentials_keep_their_order_and_their_value, the_audit_log_keeps_its_order,
        );
    };
}

/// Keys are each principal's own, are compared byte by byte, and the latest use counts.
pub async fn a_key_stands_for_its_job(mut subject: Subject) {
    let (alice, bob) = (Principal::new("alice"), Principal::new("bob"));
    let row = key("k", &job_id(1), at(1));
    let of_bob = IdempotencyRow {
        principal: bob.clone(),
        job: job_id(2),
        ..row.clone()
    };
    commit(
        &*subject.store,
        [
            Change::Idempotency(row.clone()),
            Change::Idempotency(of_bob.clone()),
        ],
    )
    .await;
    for _ in 0..2 {
        let store = &*subject.store;
        assert_eq!(
            store.idempotency(&alice, "k").await.unwrap(),
            Some(row.clone())
        );
        assert_eq!(
            store.idempotency(&bob, "k").await.unwrap(),
            Some(of_bob.clone())
        );
        assert_eq!(store.idempotency(&alice, "K").await.unwrap(), None);
        assert_eq!(
            store
                .idempotency(&Principal::new("carol"), "k")
                .await
                .unwrap(),
            None
        );
        subject.reopen().await;
    }
    let later = IdempotencyRow {
        fingerprint: [1; 32],
        ..key("k", &job_id(3), at(90_000))
    };
    commit(&*subject.store, [Change::Idempotency(later.clone())]).await;
    assert_eq!(
        subject.store.idempotency(&alice, "k").await.unwrap(),
        Some(later)
    );
}

/// [ARCP 16-6] a message outlives the process until it is settled, comes but once under one name, and is shown to whose job it
/// is of.
pub async fn messages_wait_until_they_are_settled(mut subject: Subject) {
    let bob = Principal::new("bob");
    let first = delivery(1, &job_id(1));
    let second = DeliveryRow {
        principal: bob.clone(),
        ..delivery(2, &job_id(1))
    };
    let again = DeliveryRow {
        body: second.body.clone(),
        ..first.clone()
    };
    let put = |row: &DeliveryRow| Change::Delivery(Box::new(row.clone()));
    let settled = DeliveryState {
        id: first.id.clone(),
        pending: false,
        data: RawJson::EMPTY_OBJECT,
    };
    let nothing = DeliveryState {
        id: "msg_unknown".to_owned(),
        ..settled.clone()
    };
    let changes = [job(1).into(), put(&first), put(&second), put(&again)];
    commit(&*subject.store, changes).await;
    let states = [settled, nothing].map(Change::DeliveryState);
    commit(&*subject.store, states).await;
    let first = DeliveryRow {
        pending: false,
        data: RawJson::EMPTY_OBJECT,
        ..first
    };
    let listed = |row: &DeliveryRow| DeliveryRow {
        body: RawJson::NULL,
        ..row.clone()
    };
    for _ in 0..2 {
        let store = &*subject.store;
        assert_eq!(
            store.delivery(&first.id).await.unwrap(),
            Some(first.clone())
        );
        assert_eq!(store.delivery("msg_unknown").await.unwrap(), None);
        let list = |principal: Option<&Principal>, limit| DeliveryQuery {
            principal: principal.cloned(),
            limit,
        };
        let all = store.deliveries(list(None, 10)).await.unwrap();
        assert_eq!(all, [listed(&second), listed(&first)]);
        let latest = store.deliveries(list(None, 1)).await.unwrap();
        assert_eq!(latest, [listed(&second)]);
        let of_bob = store.deliveries(list(Some(&bob), 10)).await.unwrap();
        assert_eq!(of_bob, [listed(&second)]);
        let recovered = store.recover().await.unwrap();
        assert_eq!(recovered.deliveries, [listed(&second)]);
        subject.reopen().await;
    }
}

/// [ARCP 22-2] how far a schedule is outlives the process, pausing leaves it, and no time is done with twice; only resuming sets it
/// back, to the moment of that.
pub async fn a_schedule_goes_forward_only(mut subject: Subject) {
    let change = |name: &str, done: Option<i64>| ScheduleChange {
        name: name.to_owned(),
        done: done.map(at),
        ..ScheduleChange::default()
    };
    let fired = ScheduleChange {
        job: Some(job_id(1)),
        ..change("nightly", Some(20))
    };
    commit(
        &*subject.store,
        [
            Change::Schedule(change("nightly", Some(10))),
            Change::Schedule(change("hourly", Some(5))),
            job(1).into(),
            Change::Schedule(fired),
        ],
    )
    .await;
    let paused = ScheduleChange {
        paused: Some(true),
        ..change("nightly", None)
    };
    commit(&*subject.store, [Change::Schedule(paused)]).await;
    let expected = [
        ScheduleRow {
            name: "hourly".to_owned(),
            done: at(5),
            paused: false,
            job: None,
        },
        ScheduleRow {
            name: "nightly".to_owned(),
            done: at(20),
            paused: true,
            job: Some(job_id(1)),
        },
    ];
    for _ in 0..2 {
        for done in [20, 19] {
            let changes = vec![
                job(2).into(),
                Change::Schedule(change("nightly", Some(done))),
            ];
            let refused = subject.store.commit(Batch { changes }).await;
            assert!(
                matches!(refused, Err(StoreError::Rejected(_))),
                "{refused:?}"
            );
        }
        let twice = vec![
            Change::Schedule(change("hourly", Some(6))),
            Change::Schedule(change("hourly", Some(6))),
        ];
        let refused = subject.store.commit(Batch { changes: twice }).await;
        assert!(
            matches!(refused, Err(StoreError::Rejected(_))),
            "{refused:?}"
        );
        let recovered = subject.store.recover().await.unwrap();
        assert_eq!(recovered.schedules, expected);
        assert_eq!(subject.store.job(&job_id(2)).await.unwrap(), None);
        subject.reopen().await;
    }
    // Its clock was ahead, and somebody resumes it.
    let resumed = ScheduleChange::resume("nightly", at(7));
    commit(&*subject.store, [Change::Schedule(resumed)]).await;
    for _ in 0..2 {
        let recovered = subject.store.recover().await.unwrap().schedules;
        let nightly = recovered.iter().find(|row| row.name == "nightly").unwrap();
        assert_eq!((nightly.done, nightly.paused), (at(7), false));
        subject.reopen().await;
    }
}

/// Entries written anew keep their place; values come back, for they are needed to revoke.
pub async fn credentials_keep_their_order_and_their_value(mut subject: Subject) {
    let (one, other) = (job_id(1), job_id(2));
    // The intent to issue is committed before the job that it is for.
    commit(
        &*subject.store,
        [Change::Credential(credential(9, &one, true))],
    )
    .await;
    let rows = [
        credential(5, &one, true),
        credential(3, &other, true),
        credential(1, &one, true),
    ];
    commit(
        &*subject.store,
        [job(1).into()]
            .into_iter()
            .chain(rows.map(Change::Credential)),
    )
    .await;
    let rotated = CredentialRow {
        data: "rotated".into(),
        ..credential(5, &one, false)
    };
    commit(&*subject.store, [Change::Credential(rotated)]).await;
    for _ in 0..2 {
        let found = subject.store.credentials_of(&one).await.unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|row| (row.id.as_str(), row.outstanding, row.data.expose()))
            .collect();
        let expected = [
            ("cred_9", true, "secret 9"),
            ("cred_5", false, "rotated"),
            ("cred_1", true, "secret 1"),
        ];
        assert_eq!(found, expected);
        assert!(
            subject
                .store
                .credentials_of(&job_id(7))
                .await
                .unwrap()
                .is_empty()
        );
        subject.reopen().await;
    }
}

/// The latest entries, oldest first.
pub async fn the_audit_log_keeps_its_order(mut subject: Subject) {
    commit(
        &*subject.store,
        (1..=5).map(|number| Change::Audit(audit(number, at(9)))),
    )
    .await;
    commit(&*subject.store, [Change::Audit(audit(6, at(1)))]).await;
    for _ in 0..2 {
        let all: Vec<_> = (1..=6)
            .map(|number| audit(number, at(if number == 6 { 1 } else { 9 })))
            .collect();
        assert_eq!(subject.store.audit(100).await.unwrap(), all);
        assert_eq!(subject.store.audit(2).await.unwrap(), all[4..]);
        assert_eq!(subject.store.audit(0).await.unwrap(), []);
        subject.reopen().await;
    }
}
