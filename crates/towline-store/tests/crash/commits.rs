//! Commits that show when one of them is torn, and what a store has to be after a crash.

use towline_store::{Change, EventStore, testing::fixture::*};
use towline_wire::{EventSeq, RawJson};

/// How many jobs there are.
pub(crate) const JOBS: u64 = 7;

/// Commit `number`: two records of one job, its span in one session, and a key, an audit row and a checkpoint that name
/// it; so that a torn commit shows as a number that one of them has and another has not.
pub(crate) fn changes(number: u64) -> Vec<Change> {
    let (id, round) = (job_id(number % JOBS), number / JOBS);
    let mut changes = vec![
        block(&id, round * 2 + 1, 2).into(),
        sees(0, span(number * 2 + 1, &id, round * 2 + 1, 2)),
        Change::Idempotency(key(&format!("k{number}"), &id, at(0))),
        Change::Audit(audit(number, at(0))),
        Change::Checkpoint {
            job: job_id(0),
            value: RawJson::parse(number.to_string()).unwrap(),
        },
    ];
    if number % 50 == 49 {
        let up_to = EventSeq::new((number - 20) * 2);
        changes.push(Change::Trim {
            session: session_id(0),
            up_to,
        });
    }
    changes
}

/// What has to be there before the first commit.
pub(crate) fn before() -> impl Iterator<Item = Change> {
    let jobs = (0..JOBS).map(|number| job(number).into());
    jobs.chain([session(0).into()])
}

/// How many commits the store has, by its audit log.
pub(crate) async fn committed(store: &dyn EventStore) -> u64 {
    store.audit(1).await.unwrap().first().map_or(0, |row| {
        let data: serde_json::Value = row.data.read().unwrap();
        data["n"].as_u64().unwrap() + 1
    })
}

/// Asserts that everything up to the acknowledged commit is there and whole, and nothing beyond the one under way.
pub(crate) async fn assert_whole(store: &dyn EventStore, acked: u64) {
    let commits = committed(store).await;
    assert!(
        commits > acked,
        "{acked} was acknowledged, only {commits} are there"
    );
    assert!(
        commits <= acked + 2,
        "no more than the one that was under way"
    );
    for number in 0..JOBS {
        let rounds = (commits + JOBS - 1 - number) / JOBS;
        assert_log(store, &job_id(number), 1, rounds * 2).await;
    }
    let recovered = store.recover().await.unwrap();
    assert_eq!(recovered.jobs.len() as u64, JOBS);
    let session = &recovered.sessions[0];
    assert_eq!(session.last.value(), commits * 2);
    let spans = &session.spans;
    assert!(
        spans
            .windows(2)
            .all(|pair| pair[1].first == pair[0].last().next())
    );
    assert_eq!(spans.last().unwrap().last(), session.last);
    let trims = commits / 50;
    assert_eq!(
        spans[0].first.value(),
        if trims == 0 {
            1
        } else {
            (trims * 50 - 21) * 2 + 1
        }
    );
    let principal = job(0).principal;
    for (number, expected) in [(commits - 1, true), (commits, false)] {
        let found = store
            .idempotency(&principal, &format!("k{number}"))
            .await
            .unwrap();
        assert_eq!(found.is_some(), expected, "key {number} of {commits}");
    }
    let checkpoint = store.checkpoint(&job_id(0)).await.unwrap().unwrap();
    assert_eq!(checkpoint.as_str(), (commits - 1).to_string());
}
