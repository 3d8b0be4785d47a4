//! Several members of one store: the behaviour suite, connections that are lost at the worst moment, and who may come in.

use std::{sync::Arc, time::Duration};

use towline_postgres::{
    Inspection, NodeState, Nodes, PostgresOptions, PostgresStore,
    testing::{Fault, Proxy, Server},
};
use towline_store::{
    Batch, Change, EventStore as _, ScheduleChange, Shared as _, StoreError, Wanted,
    store_sharing_suite,
    testing::{
        fixture::*,
        sharing::{Member, Members},
    },
};

async fn members() -> Option<Members> {
    let server = Server::get()?;
    let schema = server.schema();
    Some(Members::new(move |name| {
        let schema = schema.clone();
        async move {
            let proxy = Proxy::start(server.socket()).await;
            let options = PostgresOptions::new().node(name).shared(true);
            let store = PostgresStore::open_with(&proxy.url(&schema), options)
                .await
                .unwrap();
            let hang_up: Box<dyn Fn() + Send + Sync> = Box::new(move || {
                proxy.set_open(false);
                proxy.set_open(true);
            });
            Member {
                store: Arc::new(store),
                hang_up,
            }
        }
    }))
}

store_sharing_suite!(members());

type Store = Arc<PostgresStore>;

async fn join(url: &str, name: &str) -> Store {
    let options = PostgresOptions::new().node(name).shared(true);
    Arc::new(PostgresStore::open_with(url, options).await.unwrap())
}

/// A store with a member behind a proxy, and one that is not.
async fn two() -> Option<(&'static Server, String, Proxy, Store, Store)> {
    let server = Server::get()?;
    let schema = server.schema();
    let proxy = Proxy::start(server.socket()).await;
    let a = join(&proxy.url(&schema), "a").await;
    let b = join(&server.url(&schema), "b").await;
    Some((server, schema, proxy, a, b))
}

async fn assert_in_order(server: &Server, schema: &str) {
    let look = Inspection::begin(&server.url(schema), &PostgresOptions::new()).await;
    let report = look.unwrap().verify().await.unwrap();
    assert!(report.is_ok(), "{report:?}");
}

/// Declares a member dead; how often that had to be tried.
async fn fence(by: &Store, other: &Store) -> u32 {
    let heard = by.pulse(&[]).await.unwrap();
    let pulse = heard.others.iter();
    let mut pulse = pulse.filter(|pulse| pulse.incarnation == other.incarnation());
    let seen = pulse.next().unwrap().n;
    let mut tries = 1;
    while !by.fence(other.incarnation(), seen, at(50)).await.unwrap() {
        tries += 1;
        assert!(tries < 9);
    }
    tries
}

fn committing(store: &Store, change: Change) -> tokio::task::JoinHandle<Result<(), StoreError>> {
    let store = Arc::clone(store);
    tokio::spawn(async move { try_commit(&*store, [change]).await })
}

async fn struck(proxy: &Proxy) {
    while proxy.hits() == 0 {
        tokio::task::yield_now().await;
    }
}

/// What a member commits is there once, whatever becomes of its connection, and another one notices nothing of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_its_own_members_matter() {
    let Some((server, schema, proxy, a, b)) = two().await else {
        return;
    };
    commit(&*a, [job(1).into(), session(1).into()]).await;
    commit(&*b, [job(2).into(), session(2).into()]).await;
    let faults = [Fault::Before, Fault::After, Fault::Late, Fault::Stopped];
    for (seq, fault) in (1..).zip(faults) {
        proxy.next_commit(fault);
        let under_way = committing(&a, block(&job_id(1), seq, 1).into());
        commit(
            &*b,
            [
                block(&job_id(2), seq, 1).into(),
                sees(2, span(seq, &job_id(2), seq, 1)),
            ],
        )
        .await;
        if fault == Fault::Stopped {
            proxy.let_go();
        }
        under_way.await.unwrap().unwrap();
        commit(&*a, [sees(1, span(seq, &job_id(1), seq, 1))]).await;
    }
    assert_eq!(proxy.hits(), 4);
    proxy.let_go();
    for (store, number) in [(&a, 2), (&b, 1)] {
        assert_log(&**store, &job_id(number), 1, 4).await;
        let end = store.stream_end(&session_id(number)).await.unwrap();
        assert_eq!(end.map(|end| end.value()), Some(4));
    }
    for store in [a, b] {
        let stats = store.stats().await.unwrap();
        assert_eq!((stats.jobs, stats.live_jobs, stats.events), (2, 2, 8));
        store.close().await.unwrap();
    }
    assert_in_order(server, &schema).await;
}

/// (a part of 21-7) A member that was stopped within a commit is declared dead all the same, and what it was about to commit
/// never comes, also when it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_under_way_ends_with_the_fence() {
    let Some((server, schema, proxy, a, b)) = two().await else {
        return;
    };
    commit(&*a, [job(1).into(), session(1).into()]).await;
    proxy.next_commit(Fault::Stopped);
    let under_way = committing(&a, block(&job_id(1), 1, 3).into());
    struck(&proxy).await;
    assert!(fence(&b, &a).await > 1, "its row was held");
    let adopted = b.adopt(&Wanted::EVERYTHING).await.unwrap();
    assert_eq!(adopted.jobs[0].state.last_seq.value(), 0);
    commit(&*b, [block(&job_id(1), 1, 1).into()]).await;
    proxy.let_go();
    let refused = under_way.await.unwrap();
    assert!(matches!(refused, Err(StoreError::Fenced(_))), "{refused:?}");
    assert!(matches!(a.fallen().await, StoreError::Fenced(_)));
    assert_log(&*b, &job_id(1), 1, 1).await;
    b.close().await.unwrap();
    assert_in_order(server, &schema).await;
}

/// (a part of 21-7) A commit that was applied before the fence counts for whoever comes next, though its own member only learns
/// that it is dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_before_the_fence_is_the_next_owners() {
    let Some((server, schema, proxy, a, b)) = two().await else {
        return;
    };
    commit(&*a, [job(1).into()]).await;
    proxy.next_commit(Fault::Away);
    let under_way = committing(&a, block(&job_id(1), 1, 3).into());
    struck(&proxy).await;
    let applied = async || {
        let row = b.job(&job_id(1)).await.unwrap().unwrap();
        row.state.last_seq.value() == 3
    };
    while !applied().await {}
    fence(&b, &a).await;
    let adopted = b.adopt(&Wanted::EVERYTHING).await.unwrap();
    assert_eq!(adopted.jobs[0].state.last_seq.value(), 3);
    commit(&*b, [block(&job_id(1), 4, 1).into()]).await;
    proxy.set_open(true);
    let refused = under_way.await.unwrap();
    assert!(matches!(refused, Err(StoreError::Fenced(_))), "{refused:?}");
    assert_log(&*b, &job_id(1), 1, 4).await;
    b.close().await.unwrap();
    assert_in_order(server, &schema).await;
}

/// What is taken over is taken over once, and by somebody who knows, whatever becomes of the connection meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_over_is_known_to_be() {
    let Some((server, schema, proxy, a, b)) = two().await else {
        return;
    };
    for (number, fault) in [(1, Fault::Before), (2, Fault::After), (3, Fault::Late)] {
        let c = join(&server.url(&schema), "c").await;
        commit(&*c, [job(number).into(), session(number).into()]).await;
        fence(&b, &c).await;
        proxy.next_commit(fault);
        let adopted = a.adopt(&Wanted::EVERYTHING).await.unwrap();
        assert_eq!(adopted.jobs.len(), 1, "{fault:?}");
        let again = b.adopt(&Wanted::EVERYTHING).await.unwrap();
        assert!(again.jobs.is_empty());

        proxy.next_commit(fault);
        let token = session(number).token_hash;
        let taken = a.take_session(&token).await.unwrap().unwrap();
        assert_eq!(taken.row.id, session_id(number));
        commit(
            &*a,
            [
                block(&job_id(number), 1, 1).into(),
                sees(number, span(1, &job_id(number), 1, 1)),
            ],
        )
        .await;
        let lost = Batch {
            changes: vec![sees(number, span(2, &job_id(number), 1, 1))],
        };
        let committed = b.commit(lost).await.unwrap();
        assert_eq!(committed.lost, [session_id(number)]);
    }
    assert_eq!(proxy.hits(), 6);
    proxy.let_go();
    assert_in_order(server, &schema).await;
}

/// Where several write, what all of them write is in one order, and a schedule fires once for a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_belongs_to_all_is_written_by_all() {
    let Some((server, schema, _proxy, a, b)) = two().await else {
        return;
    };
    for number in 0..4 {
        let store = if number % 2 == 0 { &a } else { &b };
        commit(&**store, [Change::Audit(audit(number, at(0)))]).await;
    }
    assert_eq!(a.audit(9).await.unwrap().len(), 4);
    let fires = |seconds, number| {
        Change::Schedule(ScheduleChange {
            name: "nightly".to_owned(),
            done: Some(at(seconds)),
            job: Some(job_id(number)),
            ..ScheduleChange::default()
        })
    };
    commit(&*a, [fires(1, 1)]).await;
    let again = try_commit(&*b, [fires(1, 2)]).await;
    assert!(matches!(again, Err(StoreError::Rejected(_))), "{again:?}");
    commit(&*b, [Change::Schedule(ScheduleChange::pause("nightly"))]).await;
    commit(&*a, [fires(2, 3)]).await;
    let rows = b.recover().await.unwrap().schedules;
    assert_eq!((rows[0].done, rows[0].paused), (at(2), true));
    let both = [committing(&a, fires(3, 4)), committing(&b, fires(3, 5))];
    let mut fired = 0;
    for one in both {
        fired += u32::from(one.await.unwrap().is_ok());
    }
    assert_eq!(fired, 1);
    assert_in_order(server, &schema).await;
}

/// One that wants the store for itself is refused while others share it, and the other way round; what one left alone, with
/// what of its streams was not in its place, is found by those who share it next, and counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_alone_and_several_take_turns() {
    let Some(server) = Server::get() else { return };
    let schema = server.schema();
    let url = server.url(&schema);
    let proxy = Proxy::start(server.socket()).await;
    let alone = PostgresOptions::new().node("a");
    let alone = PostgresStore::open_with(&proxy.url(&schema), alone).await;
    let alone = alone.unwrap();
    commit(&alone, [job(1).into(), session(1).into()]).await;
    commit(
        &alone,
        [
            block(&job_id(1), 1, 3).into(),
            sees(1, span(1, &job_id(1), 1, 3)),
        ],
    )
    .await;
    let options = |name: &str| PostgresOptions::new().node(name).shared(true);
    let refused = PostgresStore::open_with(&url, options("b")).await;
    assert!(matches!(refused, Err(StoreError::InUse(_))), "{refused:?}");
    // It dies.
    proxy.set_open(false);
    let a = join(&url, "a").await;
    let found = a.recover().await.unwrap();
    assert_eq!((found.jobs.len(), found.sessions.len()), (1, 1));
    assert_eq!(found.sessions[0].last.value(), 3);
    let b = join(&url, "b").await;
    commit(
        &*a,
        [
            block(&job_id(1), 4, 1).into(),
            sees(1, span(4, &job_id(1), 4, 1)),
        ],
    )
    .await;
    commit(&*b, [job(2).into(), block(&job_id(2), 1, 1).into()]).await;
    let stats = b.stats().await.unwrap();
    assert_eq!((stats.jobs, stats.events, stats.sessions), (2, 5, 1));
    a.pulse(&[]).await.unwrap();
    let refused = tokio::spawn(async move { PostgresStore::open(&url).await });
    while !refused.is_finished() {
        a.pulse(&[]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let refused = refused.await.unwrap();
    assert!(
        matches!(&refused, Err(StoreError::InUse(text)) if text.contains("--node")),
        "{refused:?}"
    );
    assert_in_order(server, &schema).await;
    a.close().await.unwrap();
    b.close().await.unwrap();
    let alone = PostgresStore::open(&server.url(&schema)).await.unwrap();
    let found = alone.recover().await.unwrap();
    assert_eq!((found.jobs.len(), found.sessions.len()), (2, 1));
    assert_eq!(found.sessions[0].last.value(), 4);
    assert_eq!(alone.stats().await.unwrap().events, 5);
    commit(&alone, [block(&job_id(2), 2, 1).into()]).await;
    alone.close().await.unwrap();
    assert_in_order(server, &schema).await;
}

/// Who shares the store is listed with what is its own, and hears that it is to leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_listed_and_asked_to_leave() {
    let Some((server, schema, _proxy, a, b)) = two().await else {
        return;
    };
    commit(&*a, [job(1).into(), session(1).into()]).await;
    a.announce(&["echo".to_owned()]).await.unwrap();
    let nodes = Nodes::begin(&server.url(&schema), &PostgresOptions::new()).await;
    let nodes = nodes.unwrap();
    let listed = nodes.list().await.unwrap();
    let facts = |node: &towline_postgres::Node| (node.name.clone(), node.jobs, node.sessions);
    assert_eq!(facts(&listed[0]), ("a".to_owned(), 1, 1));
    assert_eq!(facts(&listed[1]), ("b".to_owned(), 0, 0));
    assert_eq!(listed[0].agents, ["echo"]);
    assert!(listed[0].pulse_age.is_some());
    assert_eq!(nodes.drain("a").await.unwrap(), 1);
    assert_eq!(nodes.drain("nobody").await.unwrap(), 0);
    assert_eq!(nodes.list().await.unwrap()[0].state, NodeState::Draining);
    a.pulse(&[]).await.unwrap();
    a.asked_to_leave().await;
    a.close().await.unwrap();
    assert_eq!(nodes.list().await.unwrap()[0].state, NodeState::Fenced);
    b.adopt(&Wanted::EVERYTHING).await.unwrap();
    b.take_session(&session(1).token_hash).await.unwrap();
    assert_eq!(nodes.list().await.unwrap().len(), 1);
}
