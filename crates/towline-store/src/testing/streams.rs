//! Cases: sessions, their streams and what they watch.

use towline_wire::{EventSeq, FeatureSet};

use super::{Subject, fixture::*};
use crate::{Change, EventStore, RecoveredSession, SessionRow, Span, SpanView, StoreError};

/// Runs the cases about sessions.
#[macro_export]
macro_rules! store_stream_suite {
    ($subject:expr) => {
        $crate::store_cases!($subject, streams:
            sessions_come_back_whole, spans_of_one_piece_are_joined, what_is_trimmed_may_go_and_the_rest_stays,
            a_stream_has_no_gap, a_session_that_is_gone_is_gone, what_is_watched_is_remembered,
            busy_streams_come_back, recovery_leaves_out_what_is_finished,
            a_session_is_found_by_its_name_and_by_its_token,
        );
    };
}

async fn only_session(store: &dyn EventStore) -> RecoveredSession {
    let mut sessions = store.recover().await.unwrap().sessions;
    assert_eq!(sessions.len(), 1);
    sessions.remove(0)
}

fn trim(session: u64, up_to: u64) -> Change {
    Change::Trim {
        session: session_id(session),
        up_to: EventSeq::new(up_to),
    }
}

/// Every field of a session survives, and a row written anew leaves stream and subscriptions alone.
pub async fn sessions_come_back_whole(mut subject: Subject) {
    let id = job_id(1);
    let watch = Change::Subscribed {
        session: session_id(1),
        job: id.clone(),
    };
    commit(
        &*subject.store,
        [session(1).into(), sees(1, span(1, &id, 1, 4)), watch],
    )
    .await;
    let anew = SessionRow {
        token_hash: [255; 32],
        previous_token_hash: Some([254; 32]),
        skipped_token_hash: Some([253; 32]),
        features: FeatureSet::NONE.with(towline_wire::Feature::Ack),
        dialect: "other".to_owned(),
        detached_at: Some(at(3)),
        acked: EventSeq::new(2),
        evicted: EventSeq::new(1),
        ..session(1)
    };
    for row in [session(1), anew] {
        commit(&*subject.store, [row.clone().into()]).await;
        for _ in 0..2 {
            let found = only_session(&*subject.store).await;
            assert_eq!((found.row, found.last.value()), (row.clone(), 4));
            assert_eq!(
                (found.spans, found.subscriptions),
                (vec![span(1, &id, 1, 4)], vec![id.clone()])
            );
            subject.reopen().await;
        }
    }
}

/// What goes on where the last span ends becomes part of it; what does not, does not.
pub async fn spans_of_one_piece_are_joined(mut subject: Subject) {
    let (one, other) = (job_id(1), job_id(2));
    let replayed = SpanView {
        replayed: true,
        assembled: false,
    };
    let assembled = SpanView {
        replayed: true,
        assembled: true,
    };
    let pieces = [
        span(1, &one, 1, 2),
        span(3, &one, 3, 1),
        span(4, &other, 4, 1),
        span(5, &one, 4, 1),
        span(6, &one, 6, 1),
        span(7, &one, 7, 3),
        Span {
            view: replayed,
            ..span(10, &one, 10, 1)
        },
        Span {
            view: replayed,
            ..span(11, &one, 11, 1)
        },
        Span {
            view: assembled,
            ..span(12, &one, 12, 1)
        },
    ];
    let joined = [
        span(1, &one, 1, 3),
        span(4, &other, 4, 1),
        span(5, &one, 4, 1),
        span(6, &one, 6, 4),
        Span {
            view: replayed,
            ..span(10, &one, 10, 2)
        },
        Span {
            view: assembled,
            ..span(12, &one, 12, 1)
        },
    ];
    commit(&*subject.store, [session(1).into()]).await;
    for piece in pieces {
        commit(&*subject.store, [sees(1, piece)]).await;
    }
    for _ in 0..2 {
        let found = only_session(&*subject.store).await;
        assert_eq!(
            (found.spans.as_slice(), found.last.value()),
            (&joined[..], 12)
        );
        subject.reopen().await;
    }
    // Also what was there before the store was opened grows.
    commit(
        &*subject.store,
        [sees(
            1,
            Span {
                view: assembled,
                ..span(13, &one, 13, 5)
            },
        )],
    )
    .await;
    for _ in 0..2 {
        let found = only_session(&*subject.store).await;
        assert_eq!(
            found.spans.last(),
            Some(&Span {
                view: assembled,
                ..span(12, &one, 12, 6)
            })
        );
        assert_eq!((found.spans.len(), found.last.value()), (6, 17));
        subject.reopen().await;
    }
}

/// A trim takes spans that end before it, leaves one that goes beyond it whole, and the numbers go on.
pub async fn what_is_trimmed_may_go_and_the_rest_stays(mut subject: Subject) {
    let (one, other) = (job_id(1), job_id(2));
    let pieces = [
        span(1, &one, 1, 4),
        span(5, &other, 1, 4),
        span(9, &one, 5, 4),
    ];
    commit(&*subject.store, [session(1).into()]).await;
    commit(&*subject.store, pieces.clone().map(|piece| sees(1, piece))).await;
    for (up_to, left) in [(3, 3), (4, 2), (7, 2), (2, 2), (8, 1), (11, 1)] {
        commit(&*subject.store, [trim(1, up_to)]).await;
        for _ in 0..2 {
            let found = only_session(&*subject.store).await;
            assert_eq!(
                (found.spans.as_slice(), found.last.value()),
                (&pieces[3 - left..], 12),
                "up to {up_to}"
            );
            subject.reopen().await;
        }
    }
    commit(
        &*subject.store,
        [
            trim(1, 12),
            sees(1, span(13, &one, 9, 1)),
            sees(1, span(14, &one, 10, 1)),
        ],
    )
    .await;
    for _ in 0..2 {
        assert_eq!(
            only_session(&*subject.store).await.spans,
            [span(13, &one, 9, 2)]
        );
        subject.reopen().await;
    }
    commit(&*subject.store, [trim(1, 14)]).await;
    for _ in 0..2 {
        let found = only_session(&*subject.store).await;
        assert_eq!((found.spans, found.last.value()), (vec![], 14));
        subject.reopen().await;
    }
    commit(&*subject.store, [sees(1, span(15, &one, 11, 1))]).await;
    assert_eq!(
        only_session(&*subject.store).await.spans,
        [span(15, &one, 11, 1)]
    );
}

/// A span that does not go on where the stream ends is refused.
pub async fn a_stream_has_no_gap(mut subject: Subject) {
    let id = job_id(1);
    commit(
        &*subject.store,
        [session(1).into(), sees(1, span(1, &id, 1, 3))],
    )
    .await;
    for _ in 0..2 {
        for wrong in [
            span(5, &id, 4, 1),
            span(3, &id, 3, 1),
            span(1, &id, 1, 1),
            span(4, &id, 4, 0),
        ] {
            let result = try_commit(&*subject.store, [sees(1, wrong.clone())]).await;
            assert!(
                matches!(result, Err(StoreError::Rejected(_))),
                "{result:?} for {wrong:?}"
            );
        }
        let found = only_session(&*subject.store).await;
        assert_eq!(
            (found.spans, found.last.value()),
            (vec![span(1, &id, 1, 3)], 3)
        );
        subject.reopen().await;
    }
}

/// Nothing of a session stays, and one of the same name begins anew.
pub async fn a_session_that_is_gone_is_gone(mut subject: Subject) {
    let id = job_id(1);
    let watch = Change::Subscribed {
        session: session_id(1),
        job: id.clone(),
    };
    let changes = [
        session(1).into(),
        session(2).into(),
        sees(1, span(1, &id, 1, 9)),
        sees(2, span(1, &id, 1, 2)),
        watch,
    ];
    commit(&*subject.store, changes).await;
    commit(
        &*subject.store,
        [
            Change::SessionGone(session_id(1)),
            sees(1, span(10, &id, 10, 1)),
            trim(1, 4),
        ],
    )
    .await;
    for _ in 0..2 {
        let found = only_session(&*subject.store).await;
        assert_eq!(
            (found.row.id, found.spans),
            (session_id(2), vec![span(1, &id, 1, 2)])
        );
        subject.reopen().await;
    }
    commit(
        &*subject.store,
        [session(1).into(), sees(1, span(1, &id, 5, 1))],
    )
    .await;
    for _ in 0..2 {
        let sessions = subject.store.recover().await.unwrap().sessions;
        let first = sessions
            .iter()
            .find(|found| found.row.id == session_id(1))
            .expect("it is there");
        assert_eq!(
            (first.spans.as_slice(), first.subscriptions.len()),
            (&[span(1, &id, 5, 1)][..], 0)
        );
        subject.reopen().await;
    }
}

/// Subscriptions are a set.
pub async fn what_is_watched_is_remembered(mut subject: Subject) {
    let watch = |number| Change::Subscribed {
        session: session_id(1),
        job: job_id(number),
    };
    let leave = |number| Change::Unsubscribed {
        session: session_id(1),
        job: job_id(number),
    };
    commit(
        &*subject.store,
        [session(1).into(), watch(3), watch(1), watch(3), watch(2)],
    )
    .await;
    commit(&*subject.store, [leave(1), leave(9), leave(2), watch(2)]).await;
    for _ in 0..2 {
        let mut watched = only_session(&*subject.store).await.subscriptions;
        watched.sort();
        assert_eq!(watched, [job_id(2), job_id(3)]);
        subject.reopen().await;
    }
}

/// Thousands of spans over many sessions, trimmed as they come, are what they have to be at any moment.
pub async fn busy_streams_come_back(mut subject: Subject) {
    const SESSIONS: u64 = 8;
    let jobs = [job_id(1), job_id(2), job_id(3)];
    commit(
        &*subject.store,
        (0..SESSIONS).map(|number| session(number).into()),
    )
    .await;
    for round in 1..=700u64 {
        // No two spans in a row are of one job, so that each stays by itself.
        let piece = |number: u64| sees(number, span(round, &jobs[(round % 3) as usize], round, 1));
        let mut changes: Vec<_> = (0..SESSIONS).map(piece).collect();
        // Session 0 never acknowledges, the others with different zeal.
        changes.extend(
            (1..SESSIONS)
                .filter(|number| round % (number * 10) == 0)
                .map(|number| trim(number, round - 5)),
        );
        commit(&*subject.store, changes).await;
        if round % 350 == 0 {
            for found in subject.store.recover().await.unwrap().sessions {
                assert_eq!(found.last.value(), round);
                let first = found
                    .spans
                    .first()
                    .expect("the latest are kept")
                    .first
                    .value();
                let number: u64 = (0..SESSIONS)
                    .find(|number| session_id(*number) == found.row.id)
                    .expect("one of ours");
                let trimmed = if number == 0 {
                    0
                } else {
                    (round / (number * 10) * (number * 10)).saturating_sub(5)
                };
                assert_eq!(first, trimmed + 1, "session {number}");
                assert!(
                    found
                        .spans
                        .iter()
                        .map(|span| span.first.value())
                        .eq(first..=round)
                );
            }
            subject.reopen().await;
        }
    }
}

/// Finished jobs and settled credentials are not part of it.
pub async fn recovery_leaves_out_what_is_finished(mut subject: Subject) {
    commit(
        &*subject.store,
        (1..=20).rev().map(|number| job(number).into()),
    )
    .await;
    let ended = (1..=20)
        .filter(|number| number % 7 != 0)
        .map(|number| becomes(&job_id(number), succeeded(at(100))));
    commit(&*subject.store, ended).await;
    let credentials =
        (1..=6).map(|number| Change::Credential(credential(number, &job_id(number), true)));
    commit(&*subject.store, credentials).await;
    let settled =
        (2..=4).map(|number| Change::Credential(credential(number, &job_id(number), false)));
    commit(&*subject.store, settled).await;
    for _ in 0..2 {
        let recovered = subject.store.recover().await.unwrap();
        let jobs: Vec<_> = recovered.jobs.iter().map(|job| job.id.clone()).collect();
        assert_eq!(jobs, [job_id(7), job_id(14)]);
        let out: Vec<_> = recovered
            .credentials
            .iter()
            .map(|row| row.data.expose())
            .collect();
        assert_eq!(out, ["secret 1", "secret 5", "secret 6"]);
        subject.reopen().await;
    }
}

/// [ARCP 6.3-7] a token is good for one session, until the session has another or has gone.
pub async fn a_session_is_found_by_its_name_and_by_its_token(mut subject: Subject) {
    let (old, new, skipped) = ([1; 32], [200; 32], [201; 32]);
    commit(&*subject.store, [session(1).into(), session(2).into()]).await;
    let anew = SessionRow {
        token_hash: new,
        detached_at: Some(at(9)),
        ..session(1)
    };
    let stream = sees(1, span(1, &job_id(1), 1, 7));
    commit(&*subject.store, [stream]).await;
    let taken_up = SessionRow {
        token_hash: new,
        previous_token_hash: Some(old),
        skipped_token_hash: Some(skipped),
        ..session(1)
    };
    let none = [77; 32];
    for (row, good, bad) in [
        (session(1), old, new),
        (taken_up.clone(), old, none),
        (taken_up.clone(), new, none),
        (taken_up, skipped, none),
        (anew, new, old),
    ] {
        commit(&*subject.store, [row.clone().into()]).await;
        for _ in 0..2 {
            let store = &*subject.store;
            assert_eq!(
                store.session(&session_id(1)).await.unwrap(),
                Some(row.clone())
            );
            assert_eq!(
                store.session_by_token(&good).await.unwrap(),
                Some(row.clone())
            );
            assert_eq!(store.session_by_token(&bad).await.unwrap(), None);
            let other = store.session_by_token(&[2; 32]).await.unwrap();
            assert_eq!(other, Some(session(2)));
            let ends = [1, 2, 9].map(session_id);
            let ends = [&ends[0], &ends[1], &ends[2]].map(|id| store.stream_end(id));
            let ends = futures_util::future::join_all(ends).await;
            let ends: Vec<_> = ends
                .into_iter()
                .map(|end| end.unwrap().map(EventSeq::value))
                .collect();
            assert_eq!(ends, [Some(7), Some(0), None]);
            subject.reopen().await;
        }
    }
    commit(&*subject.store, [Change::SessionGone(session_id(1))]).await;
    for _ in 0..2 {
        let store = &*subject.store;
        assert_eq!(store.session(&session_id(1)).await.unwrap(), None);
        assert_eq!(store.session_by_token(&new).await.unwrap(), None);
        assert_eq!(store.session(&session_id(9)).await.unwrap(), None);
        subject.reopen().await;
    }
}
