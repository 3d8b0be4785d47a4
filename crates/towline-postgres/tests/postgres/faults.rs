//! Connections that are lost at the worst moment, what cannot be kept, and who has the store.

use towline_postgres::{
    Inspection, PostgresOptions, PostgresStore,
    testing::{Fault, Proxy, Server},
};
use towline_store::{
    Change, EventStore, IdempotencyRow, Principal, Remedy, StoreError, testing::fixture::*,
};
use towline_wire::MessageId;

type Store = PostgresStore;

async fn behind_a_proxy() -> Option<(&'static Server, String, Proxy, Store)> {
    let server = Server::get()?;
    let schema = server.schema();
    let proxy = Proxy::start(server.socket()).await;
    let store = Store::open(&proxy.url(&schema)).await.unwrap();
    Some((server, schema, proxy, store))
}

async fn assert_in_order(server: &Server, schema: &str) {
    let look = Inspection::begin(&server.url(schema), &PostgresOptions::new())
        .await
        .unwrap();
    let report = look.verify().await.unwrap();
    assert!(report.is_ok(), "{report:?}");
}

/// A connection that is lost around a commit: before the server hears of it, after, and long before: nobody who commits sees
/// anything of it, and nothing is done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outcome_of_a_commit_is_always_known() {
    let Some((server, schema, proxy, store)) = behind_a_proxy().await else {
        return;
    };
    commit(&store, [job(1).into(), session(1).into()]).await;
    let mut seq = 1;
    for round in 0..6 {
        for fault in [Fault::Before, Fault::After, Fault::Late] {
            proxy.next_commit(fault);
            let changes = [
                block(&job_id(1), seq, 2).into(),
                sees(1, span(seq, &job_id(1), seq, 2)),
                Change::Audit(audit(seq, at(0))),
            ];
            commit(&store, changes).await;
            seq += 2;
            if fault == Fault::Late && round % 2 == 0 {
                // What was held back comes when its place is taken.
                proxy.let_go();
            }
            commit(
                &store,
                [
                    block(&job_id(1), seq, 1).into(),
                    sees(1, span(seq, &job_id(1), seq, 1)),
                ],
            )
            .await;
            seq += 1;
        }
    }
    assert_eq!(proxy.hits(), 18);
    proxy.let_go();
    assert_log(&store, &job_id(1), 1, seq - 1).await;
    assert_eq!(store.audit(100).await.unwrap().len(), 18);
    assert_eq!(
        store
            .stream_end(&session_id(1))
            .await
            .unwrap()
            .unwrap()
            .value(),
        seq - 1
    );
    store.close().await.unwrap();
    assert_in_order(server, &schema).await;
}

/// While the database is out of reach a commit that was not sent is refused for now, one in doubt waits; reads are refused for
/// now; and all goes on when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_out_of_reach_is_waited_for() {
    let Some((server, schema, proxy, store)) = behind_a_proxy().await else {
        return;
    };
    let store = std::sync::Arc::new(store);
    commit(&*store, [job(1).into()]).await;
    proxy.set_open(false);
    let committing = tokio::spawn({
        let store = std::sync::Arc::clone(&store);
        async move { try_commit(&*store, [block(&job_id(1), 1, 1).into()]).await }
    });
    let error = store.job(&job_id(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    proxy.set_open(true);
    // Whether it was sent before the connection was known to be gone is the scheduler's business; nothing is lost or doubled.
    if let Err(error) = committing.await.unwrap() {
        assert_eq!(error.remedy(), Remedy::Retry, "{error}");
        commit(&*store, [block(&job_id(1), 1, 1).into()]).await;
    }

    proxy.next_commit(Fault::After);
    let in_doubt = tokio::spawn({
        let store = std::sync::Arc::clone(&store);
        async move { try_commit(&*store, [block(&job_id(1), 2, 1).into()]).await }
    });
    while proxy.hits() == 0 {
        tokio::task::yield_now().await;
    }
    proxy.set_open(false);
    proxy.set_open(true);
    in_doubt.await.unwrap().unwrap();
    assert_log(&*store, &job_id(1), 1, 2).await;
    store.close().await.unwrap();
    assert_in_order(server, &schema).await;
}

/// Whatever bytes a peer names things by are kept, or are refused for what they are without harm to what comes next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_peers_write_harms_nobody() {
    let Some(server) = Server::get() else { return };
    let store = Store::open(&server.url(&server.schema())).await.unwrap();
    let texts = ["\u{0}", "a\u{0}b", "größer ✓ 𝄞", "'; DROP TABLE job; --"];
    let long = "x".repeat(1 << 20);
    for (number, text) in texts.into_iter().chain([long.as_str()]).enumerate() {
        let number = number as u64 + 1;
        let principal = Principal::new(text);
        let row = towline_store::JobRow {
            principal: principal.clone(),
            request_id: (text.len() < 200).then(|| MessageId::parse(text).unwrap()),
            ..job(number)
        };
        let key = IdempotencyRow {
            principal: principal.clone(),
            key: text.to_owned(),
            ..key("", &job_id(number), at(0))
        };
        let session = towline_store::SessionRow {
            principal: principal.clone(),
            dialect: text.to_owned(),
            proof: Some(text.to_owned()),
            ..session(number)
        };
        commit(
            &store,
            [
                row.clone().into(),
                Change::Idempotency(key.clone()),
                session.clone().into(),
            ],
        )
        .await;
        assert_eq!(store.job(&job_id(number)).await.unwrap(), Some(row));
        assert_eq!(
            store.idempotency(&principal, text).await.unwrap(),
            Some(key)
        );
        assert_eq!(
            store.session(&session_id(number)).await.unwrap(),
            Some(session)
        );
        let listed = towline_store::JobQuery {
            principals: Some(vec![principal]),
            limit: 10,
            ..Default::default()
        };
        assert_eq!(store.list_jobs(listed).await.unwrap().jobs.len(), 1);
    }
    let odd = towline_wire::JobId::parse("\u{0}").unwrap();
    assert_eq!(store.job(&odd).await.unwrap(), None);
    store.close().await.unwrap();
}

/// A batch that the server will not have is refused for what it is, and the next one is none the worse for it: a job that is
/// there already though it is not in memory, and an index entry that is too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_the_server_is_the_batchs_own() {
    let Some(server) = Server::get() else { return };
    let schema = server.schema();
    let store = Store::open(&server.url(&schema)).await.unwrap();
    let over = becomes(&job_id(1), succeeded(at(9)));
    commit(&store, [job(1).into(), end(&job_id(1), 1).into(), over]).await;
    commit(&store, [job(2).into()]).await;
    for _ in 0..3 {
        let again = try_commit(&store, [job(1).into(), block(&job_id(2), 1, 1).into()]).await;
        assert!(matches!(again, Err(StoreError::Rejected(_))), "{again:?}");
    }
    server
        .run(&format!(
            "ALTER TABLE {schema}.audit ADD CONSTRAINT few CHECK (n < 3)"
        ))
        .await;
    let entry = |number| Change::Audit(audit(number, at(0)));
    commit(&store, [entry(1), entry(2)]).await;
    let refused = try_commit(&store, [entry(3), block(&job_id(2), 1, 1).into()]).await;
    assert_eq!(refused.unwrap_err().remedy(), Remedy::Isolate);
    commit(&store, [block(&job_id(2), 1, 1).into()]).await;
    assert_log(&store, &job_id(2), 1, 1).await;
    assert_eq!(store.stats().await.unwrap().jobs, 2);
    store.close().await.unwrap();
    assert_in_order(server, &schema).await;
}

/// One that was declared dead commits nothing more, and says so for ever; whoever took its place goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_incarnation_commits_nothing() {
    let Some(server) = Server::get() else { return };
    let schema = server.schema();
    let first = Store::open(&server.url(&schema)).await.unwrap();
    commit(&first, [job(1).into(), block(&job_id(1), 1, 1).into()]).await;
    server
        .run(&format!("UPDATE {schema}.node SET state = 2"))
        .await;
    let second = Store::open(&server.url(&schema)).await.unwrap();
    for _ in 0..2 {
        let error = try_commit(&first, [block(&job_id(1), 2, 1).into()])
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Fenced(_)), "{error}");
        assert_eq!(error.remedy(), Remedy::Fall);
    }
    commit(&second, [block(&job_id(1), 2, 3).into()]).await;
    first.close().await.unwrap();
    commit(&second, [block(&job_id(1), 5, 1).into()]).await;
    assert_log(&second, &job_id(1), 1, 5).await;
    second.close().await.unwrap();
    assert_in_order(server, &schema).await;
}

/// A database that lost what it had acknowledged is told from one that did not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_forgot_is_reported() {
    let Some((server, schema, proxy, store)) = behind_a_proxy().await else {
        return;
    };
    commit(&store, [job(1).into()]).await;
    commit(&store, [block(&job_id(1), 1, 1).into()]).await;
    // As after a promotion of a standby that was behind.
    server
        .run(&format!(
            "DELETE FROM {schema}.block; DELETE FROM {schema}.token WHERE seq = 2"
        ))
        .await;
    proxy.set_open(false);
    proxy.set_open(true);
    let error = try_commit(&store, [block(&job_id(1), 2, 1).into()])
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Rewound {
                acknowledged: 2,
                found: 1
            }
        ),
        "{error}"
    );
    let again = try_commit(&store, [job(2).into()]).await.unwrap_err();
    assert_eq!(again.remedy(), Remedy::Fall);
}

/// A commit whose wait for a standby is cut short, which the server reports as success with a warning, is not acknowledged
/// before a standby has it or none is waited for any more; and is done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_a_standby_may_lack_is_not_acknowledged() {
    let Some(server) = Server::another(&["-c", "fsync=off"]) else {
        return;
    };
    let store = Store::open(&server.url("towline")).await.unwrap();
    commit(&store, [job(1).into()]).await;
    server
        .run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        .await;
    let server = std::sync::Arc::new(server);
    let probe = wait_for_standbys(&server).await;
    let store = std::sync::Arc::new(store);
    let waiting = tokio::spawn({
        let store = std::sync::Arc::clone(&store);
        async move { try_commit(&*store, [block(&job_id(1), 1, 2).into()]).await }
    });
    let mut cancelled = std::collections::BTreeSet::new();
    while cancelled.len() < 3 {
        let sql =
            "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = 'COMMIT'";
        for message in server.run(sql).await {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                let pid = row.get(0).unwrap().to_owned();
                server
                    .run(&format!("SELECT pg_cancel_backend({pid})"))
                    .await;
                cancelled.insert(pid);
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(
        !waiting.is_finished(),
        "each wait was cut short, and none was believed"
    );
    server
        .run("ALTER SYSTEM RESET synchronous_standby_names")
        .await;
    server.run("SELECT pg_reload_conf()").await;
    probe.await.unwrap();
    waiting.await.unwrap().unwrap();
    commit(&*store, [block(&job_id(1), 3, 1).into()]).await;
    assert_log(&*store, &job_id(1), 1, 3).await;
    store.close().await.unwrap();
}

/// Has the server read its settings, which it does when it comes to it, and returns when a commit waits for a standby: a
/// transaction of its own, which ends when no standby is waited for any more.
async fn wait_for_standbys(server: &std::sync::Arc<Server>) -> tokio::task::JoinHandle<()> {
    server.run("SELECT pg_reload_conf()").await;
    let mut number = 0;
    loop {
        number += 1;
        let probe = tokio::spawn({
            let server = std::sync::Arc::clone(server);
            async move { drop(server.run(&format!("CREATE TABLE probe{number} ()")).await) }
        });
        let sql = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE 'CREATE TABLE probe%'";
        while !probe.is_finished() {
            let found = server.run(sql).await;
            if found
                .iter()
                .any(|message| matches!(message, tokio_postgres::SimpleQueryMessage::Row(_)))
            {
                return probe;
            }
        }
        probe.await.unwrap();
    }
}
