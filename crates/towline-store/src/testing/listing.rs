//! Cases: lists of jobs.

use towline_wire::{AgentRef, JobStatus, Lease, RawJson};

use super::{Subject, fixture::*};
use crate::{EventStore, JobPage, JobQuery, JobRow, JobState, ListCursor, Principal};

/// Runs the cases about lists.
#[macro_export]
macro_rules! store_listing_suite {
    ($subject:expr) => {
        $crate::store_cases!($subject, listing:
            pages_follow_one_another, a_page_that_fits_is_the_last, only_the_principals_asked_for_are_listed,
            the_newest_may_come_first, filters_choose, live_jobs_are_found_among_many, paging_bears_new_jobs, a_page_is_bounded_in_bytes,
        );
    };
}

fn query(limit: usize) -> JobQuery {
    JobQuery {
        limit,
        ..JobQuery::default()
    }
}

async fn numbers(store: &dyn EventStore, mut query: JobQuery) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let limit = query.limit;
        let JobPage { jobs, next } = store.list_jobs(query.clone()).await.unwrap();
        assert!(jobs.len() <= limit);
        assert!(
            next.is_none() || jobs.len() == limit,
            "a page that is not the last is full"
        );
        all.extend(jobs.iter().map(|job| {
            job.id
                .as_str()
                .trim_start_matches("job_")
                .trim_start_matches('0')
                .to_owned()
        }));
        if next.is_none() {
            return all;
        }
        let last = jobs.last().map(|job| ListCursor {
            created_at: job.created_at,
            job: job.id.clone(),
        });
        assert_eq!(next, last, "the next page begins after the last job");
        query.after = next;
    }
}

fn created(number: u64, seconds: i64) -> JobRow {
    JobRow {
        created_at: at(seconds),
        ..job(number)
    }
}

fn of(principal: &str, number: u64) -> JobRow {
    JobRow {
        principal: Principal::new(principal),
        ..job(number)
    }
}

/// The order is by time and, where times are equal, by id; pages of any size put together give all of it once.
pub async fn pages_follow_one_another(mut subject: Subject) {
    let rows = [
        (5, 10),
        (3, 20),
        (9, 10),
        (1, 20),
        (2, 20),
        (7, 5),
        (8, 30),
        (4, 20),
    ];
    commit(
        &*subject.store,
        rows.map(|(number, seconds)| created(number, seconds).into()),
    )
    .await;
    for _ in 0..2 {
        for limit in [1, 2, 3, 7, 8, 100] {
            let order = numbers(&*subject.store, query(limit)).await;
            assert_eq!(
                order,
                ["7", "5", "9", "1", "2", "3", "4", "8"],
                "pages of {limit}"
            );
            let one = JobQuery {
                principals: Some(vec![Principal::new("alice")]),
                ..query(limit)
            };
            assert_eq!(numbers(&*subject.store, one).await, order);
        }
        subject.reopen().await;
    }
}

/// The other way round, pages of any size put together give all of it once too, of one principal, of several, and of those
/// that live, within bounds of time.
pub async fn the_newest_may_come_first(mut subject: Subject) {
    let rows = (1..=20).map(|number| JobRow {
        created_at: at(i64::try_from(number / 3).unwrap_or(0)),
        ..of(["alice", "bob", "carol"][number as usize % 3], number)
    });
    let rows: Vec<JobRow> = rows.collect();
    commit(
        &*subject.store,
        rows.iter().cloned().map(crate::Change::from),
    )
    .await;
    let principals = |names: &[&str]| {
        let names = names.iter().map(|name| Principal::new(*name));
        Some(names.collect::<Vec<_>>())
    };
    for _ in 0..2 {
        for limit in [1, 2, 7, 100] {
            let live = Some(vec![JobStatus::Pending, JobStatus::Running]);
            let queries = [
                query(limit),
                JobQuery {
                    principals: principals(&["alice"]),
                    ..query(limit)
                },
                JobQuery {
                    principals: principals(&["alice", "carol", "nobody"]),
                    ..query(limit)
                },
                JobQuery {
                    status: live,
                    created_after: Some(at(1)),
                    created_before: Some(at(6)),
                    ..query(limit)
                },
            ];
            for oldest in queries {
                let newest = JobQuery {
                    newest_first: true,
                    ..oldest.clone()
                };
                let mut expected = numbers(&*subject.store, oldest.clone()).await;
                expected.reverse();
                let found = numbers(&*subject.store, newest).await;
                assert_eq!(found, expected, "{oldest:?}");
                assert!(found.len() > 3, "{oldest:?}");
            }
        }
        subject.reopen().await;
    }
}

/// There is a next page exactly when there is a next job.
pub async fn a_page_that_fits_is_the_last(subject: Subject) {
    commit(&*subject.store, [job(1).into(), job(2).into()]).await;
    assert!(
        subject
            .store
            .list_jobs(query(1))
            .await
            .unwrap()
            .next
            .is_some()
    );
    assert!(
        subject
            .store
            .list_jobs(query(2))
            .await
            .unwrap()
            .next
            .is_none()
    );
    let nothing = subject.store.list_jobs(query(0)).await.unwrap();
    assert!(nothing.jobs.is_empty() && nothing.next.is_none());
    let beyond = JobQuery {
        after: Some(ListCursor {
            created_at: at(2),
            job: job_id(2),
        }),
        ..query(5)
    };
    assert!(
        subject
            .store
            .list_jobs(beyond)
            .await
            .unwrap()
            .jobs
            .is_empty()
    );
}

/// Other principals' jobs do not show, not even as a page that is said to follow.
pub async fn only_the_principals_asked_for_are_listed(mut subject: Subject) {
    let rows =
        (1..=9).map(|number| of(["alice", "bob", "carol"][number as usize % 3], number).into());
    commit(&*subject.store, rows).await;
    let wanted = |names: &[&str], limit| JobQuery {
        principals: Some(names.iter().map(|name| Principal::new(*name)).collect()),
        ..query(limit)
    };
    for _ in 0..2 {
        let store = &*subject.store;
        for limit in [1, 2, 3, 50] {
            assert_eq!(
                numbers(store, wanted(&["bob"], limit)).await,
                ["1", "4", "7"]
            );
            assert_eq!(
                numbers(store, wanted(&["carol", "bob"], limit)).await,
                ["1", "2", "4", "5", "7", "8"]
            );
            assert_eq!(
                numbers(store, wanted(&["bob", "bob"], limit)).await,
                ["1", "4", "7"]
            );
            assert!(numbers(store, wanted(&["nobody"], limit)).await.is_empty());
            assert!(numbers(store, wanted(&[], limit)).await.is_empty());
        }
        assert!(
            store
                .list_jobs(wanted(&["bob"], 3))
                .await
                .unwrap()
                .next
                .is_none()
        );
        subject.reopen().await;
    }
}

/// Agents by name or by version, states, and times whose bounds are excluded.
pub async fn filters_choose(mut subject: Subject) {
    let agent = |text: &str| AgentRef::parse(text).expect("a good name");
    let agents = ["echo", "echo@1.0", "echo@2.0", "echo-2@1.0", "other"];
    let rows = agents.iter().zip(1..).map(|(name, number)| {
        JobRow {
            agent: agent(name),
            ..job(number)
        }
        .into()
    });
    commit(&*subject.store, rows).await;
    let failed = JobState {
        status: JobStatus::Error,
        ..succeeded(at(50))
    };
    commit(
        &*subject.store,
        [
            becomes(&job_id(2), failed),
            becomes(&job_id(4), succeeded(at(50))),
        ],
    )
    .await;
    let with_agent = |name: &str| JobQuery {
        agent: Some(agent(name)),
        ..query(2)
    };
    let with_status = |status: &[JobStatus]| JobQuery {
        status: Some(status.to_vec()),
        ..query(2)
    };
    let between = |after: Option<i64>, before: Option<i64>| JobQuery {
        created_after: after.map(at),
        created_before: before.map(at),
        ..query(2)
    };
    let cases = [
        (with_agent("echo"), &["1", "2", "3"][..]),
        (with_agent("echo@1.0"), &["2"]),
        (with_agent("echo@9"), &[]),
        (with_agent("other"), &["5"]),
        (with_status(&[JobStatus::Running]), &["1", "3", "5"]),
        (
            with_status(&[JobStatus::Error, JobStatus::Success]),
            &["2", "4"],
        ),
        (with_status(&[JobStatus::Pending]), &[]),
        (with_status(&[]), &[]),
        (between(Some(2), None), &["3", "4", "5"]),
        (between(None, Some(2)), &["1"]),
        (between(Some(1), Some(5)), &["2", "3", "4"]),
        (between(Some(3), Some(3)), &[]),
        (
            JobQuery {
                status: Some(vec![JobStatus::Success]),
                created_after: Some(at(1)),
                ..with_agent("echo-2")
            },
            &["4"],
        ),
    ];
    for _ in 0..2 {
        for (query, expected) in &cases {
            assert_eq!(
                numbers(&*subject.store, query.clone()).await,
                *expected,
                "{query:?}"
            );
        }
        subject.reopen().await;
    }
}

/// A few jobs that run, among many that do not.
pub async fn live_jobs_are_found_among_many(mut subject: Subject) {
    commit(&*subject.store, (1..=1200).map(|number| job(number).into())).await;
    let ended = (1..=1200)
        .filter(|number| number % 400 != 0)
        .map(|number| becomes(&job_id(number), succeeded(at(2000))));
    commit(&*subject.store, ended).await;
    let live = JobQuery {
        status: Some(vec![JobStatus::Running, JobStatus::Pending]),
        ..query(2)
    };
    let of_alice = JobQuery {
        principals: Some(vec![Principal::new("alice")]),
        ..live.clone()
    };
    let of_bob = JobQuery {
        principals: Some(vec![Principal::new("bob")]),
        ..live.clone()
    };
    for _ in 0..2 {
        assert_eq!(
            numbers(&*subject.store, live.clone()).await,
            ["400", "800", "1200"]
        );
        assert_eq!(
            numbers(&*subject.store, of_alice.clone()).await,
            ["400", "800", "1200"]
        );
        assert!(numbers(&*subject.store, of_bob.clone()).await.is_empty());
        let ended = JobQuery {
            status: Some(vec![JobStatus::Success]),
            ..query(700)
        };
        assert_eq!(numbers(&*subject.store, ended).await.len(), 1197);
        subject.reopen().await;
    }
}

/// Jobs that come while somebody pages neither repeat nor hide others.
pub async fn paging_bears_new_jobs(subject: Subject) {
    commit(
        &*subject.store,
        [job(10).into(), job(20).into(), job(30).into()],
    )
    .await;
    let first = subject.store.list_jobs(query(2)).await.unwrap();
    commit(
        &*subject.store,
        [job(5).into(), job(25).into(), job(40).into()],
    )
    .await;
    let rest = JobQuery {
        after: first.next,
        ..query(10)
    };
    assert_eq!(numbers(&*subject.store, rest).await, ["25", "30", "40"]);
}

/// A page holds no more bytes than a page may, whatever was granted; what jobs were given does not count, for it is not
/// read. Pages put together still give everything once and in order.
pub async fn a_page_is_bounded_in_bytes(mut subject: Subject) {
    let megabyte = "x".repeat(1 << 20);
    let large = |number: u64| JobRow {
        principal: Principal::new(["alice", "bob", "carol"][number as usize % 3]),
        lease: Lease::new().with("fs.read", megabyte.as_str()),
        ..job(number)
    };
    for number in 1..=14 {
        commit(&*subject.store, [large(number).into()]).await;
    }
    let given = RawJson::parse(format!("\"{megabyte}\"")).unwrap();
    for number in 15..=30 {
        let row = JobRow {
            input: given.clone(),
            ..job(number)
        };
        commit(&*subject.store, [row.into()]).await;
    }
    let who = |names: &[&str]| Some(names.iter().map(|name| Principal::new(*name)).collect());
    let all: Vec<u64> = (1..=30).collect();
    let of_two = all.iter().copied().filter(|n| *n > 14 || n % 3 < 2);
    let cases = [
        (None, all.clone()),
        (who(&["bob", "alice", "carol"]), all.clone()),
        (who(&["alice", "bob"]), of_two.collect()),
    ];
    for _ in 0..2 {
        for (principals, expected) in &cases {
            let mut query = JobQuery {
                principals: principals.clone(),
                ..query(1000)
            };
            let (mut found, mut pages) = (Vec::new(), 0);
            loop {
                let page = subject.store.list_jobs(query.clone()).await.unwrap();
                let bytes: usize = page.jobs.iter().map(|job| job.bytes()).sum();
                assert!(bytes < JobPage::MAX_BYTES + (2 << 20), "{bytes} bytes");
                assert!(!page.jobs.is_empty() || page.next.is_none());
                found.extend(page.jobs.into_iter().map(|job| job.id));
                pages += 1;
                query.after = page.next;
                if query.after.is_none() {
                    break;
                }
            }
            let expected: Vec<_> = expected.iter().map(|number| job_id(*number)).collect();
            assert_eq!(found, expected, "{principals:?}");
            assert!(pages > 2, "{pages} pages");
        }
        subject.reopen().await;
    }
}
