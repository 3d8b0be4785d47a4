//! Who may open a store, what is made of old tables, and what a look from outside finds.

use std::time::Duration;

use towline_postgres::{
    Inspection, PostgresOptions, PostgresStore,
    testing::{Proxy, Server},
};
use towline_store::{EventStore as _, StoreError, testing::fixture::*};

fn options() -> PostgresOptions {
    PostgresOptions::new().lease(Duration::from_secs(3))
}

/// A second process is refused while the first one lives, whatever its name, and the first one is none the worse for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_opener_is_refused() {
    let Some(server) = Server::get() else { return };
    let url = server.url(&server.schema());
    let first = PostgresStore::open_with(&url, options().node("a"))
        .await
        .unwrap();
    for name in ["a", "b"] {
        let error = PostgresStore::open_with(&url, options().node(name))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, StoreError::InUse(text) if text.contains("node `a`")),
            "{error}"
        );
    }
    commit(&first, [job(1).into()]).await;
    first.close().await.unwrap();
    let second = PostgresStore::open_with(&url, options().node("b"))
        .await
        .unwrap();
    assert!(second.job(&job_id(1)).await.unwrap().is_some());
    second.close().await.unwrap();
}

/// A standby waits, takes over when the first one leaves, and when the first one is silent for its lease; which then finds that
/// it has the store no more, also when it has nothing to commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over() {
    let Some(server) = Server::get() else { return };
    let schema = server.schema();
    let proxy = Proxy::start(server.socket()).await;
    let first = PostgresStore::open_with(&proxy.url(&schema), options().node("a"))
        .await
        .unwrap();
    commit(&first, [job(1).into(), block(&job_id(1), 1, 3).into()]).await;
    let url = server.url(&schema);
    let standby = |name: &str| {
        let (url, options) = (url.clone(), options().node(name).standby(true));
        tokio::spawn(async move { PostgresStore::open_with(&url, options).await })
    };
    // Cut off: nobody hears of it any more.
    proxy.set_open(false);
    let second = standby("b").await.unwrap().unwrap();
    commit(&second, [block(&job_id(1), 4, 1).into()]).await;
    proxy.set_open(true);
    let fallen = first.fallen().await;
    assert!(matches!(fallen, StoreError::Fenced(_)), "{fallen}");
    let refused = try_commit(&first, [block(&job_id(1), 4, 1).into()]).await;
    assert!(matches!(refused, Err(StoreError::Fenced(_))), "{refused:?}");

    let third = standby("c");
    second.close().await.unwrap();
    let third = third.await.unwrap().unwrap();
    assert_log(&third, &job_id(1), 1, 4).await;
    third.close().await.unwrap();
}

/// Tables of something else, of a later version, and none at all are told apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_our_tables_are_used() {
    let Some(server) = Server::get() else { return };
    let (foreign, later, none) = (server.schema(), server.schema(), server.schema());
    server
        .run(&format!(
            "CREATE SCHEMA {foreign}; CREATE TABLE {foreign}.job (id int)"
        ))
        .await;
    let incompatible = |error: StoreError, word: &str| {
        assert!(matches!(error, StoreError::Incompatible(_)), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    let open = async |schema: &str| PostgresStore::open(&server.url(schema)).await;
    incompatible(open(&foreign).await.unwrap_err(), "something else");
    open(&later).await.unwrap().close().await.unwrap();
    server
        .run(&format!(
            "UPDATE {later}.towline_meta SET schema = 99, compatible_from = 98"
        ))
        .await;
    incompatible(open(&later).await.unwrap_err(), "later version");
    let look = Inspection::begin(&server.url(&none), &PostgresOptions::new()).await;
    incompatible(look.unwrap_err(), "no store");
    // A later schema that this version may use is used, and stays what it is.
    server
        .run(&format!(
            "UPDATE {later}.towline_meta SET compatible_from = 1"
        ))
        .await;
    let store = open(&later).await.unwrap();
    commit(&store, [job(1).into()]).await;
    store.close().await.unwrap();
}

/// What a look from outside finds while a node has the store: nothing in a sound one, and each kind of damage by
/// its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_found() {
    let Some(server) = Server::get() else { return };
    let schema = server.schema();
    let url = server.url(&schema);
    let store = PostgresStore::open(&url).await.unwrap();
    let id = job_id(1);
    commit(
        &store,
        [job(1).into(), block(&id, 1, 3).into(), session(1).into()],
    )
    .await;
    commit(
        &store,
        [block(&id, 4, 200).into(), sees(1, span(1, &id, 1, 7))],
    )
    .await;
    commit(&store, [block(&id, 204, 1).into()]).await;
    let look = async || {
        let look = Inspection::begin(&url, &PostgresOptions::new())
            .await
            .unwrap();
        let report = look.verify().await.unwrap();
        assert_eq!(report.stats.sessions, 1);
        report.problems.join("\n")
    };
    assert_eq!(look().await, "");
    for (damage, repair, named) in [
        (
            "UPDATE block SET first = 5 WHERE first = 4",
            "UPDATE block SET first = 4 WHERE first = 5",
            "followed by",
        ),
        (
            "UPDATE block SET inc = 0 WHERE first = 4",
            "UPDATE block SET inc = (SELECT max(inc) FROM node)",
            "came back",
        ),
        (
            "UPDATE block SET packed = NOT packed WHERE first = 4",
            "UPDATE block SET packed = NOT packed WHERE first = 4",
            "not as long",
        ),
        (
            "UPDATE token SET events = 7",
            "UPDATE token SET events = 204",
            "counted were",
        ),
        (
            "UPDATE token SET live = 0",
            "UPDATE token SET live = 1",
            "of them live",
        ),
        (
            "INSERT INTO span VALUES (99, 1, 1, 'x', 1, 0)",
            "DELETE FROM span WHERE session = 99",
            "not there have spans",
        ),
        (
            "UPDATE session SET last = 3",
            "UPDATE session SET last = 0",
            "gap or an overlap",
        ),
    ] {
        server
            .run(&format!("SET search_path = {schema}; {damage}"))
            .await;
        let found = look().await;
        assert!(found.contains(named), "{damage}: {found}");
        server
            .run(&format!("SET search_path = {schema}; {repair}"))
            .await;
    }
    assert_eq!(look().await, "");
    store.close().await.unwrap();
}
