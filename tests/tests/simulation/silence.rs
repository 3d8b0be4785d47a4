//! Connections that are dead and do not look it.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use towline::client::{Client, Connection, JobHandle, Loss};

use crate::{
    book::Book,
    judge::Truth,
    person::Person,
    tap::Wire,
    virtual_time,
    world::{Fate, HEARTBEAT, Misfortune, World},
};

/// A world in which the runtime lives.
async fn world() -> World {
    let world = World::new(1);
    world.start(None).await;
    world
}

/// Waits until the runtime has no session attached; says how long that took.
async fn until_detached(world: &World) -> Duration {
    let from = Instant::now();
    while world
        .runtime()
        .is_some_and(|runtime| runtime.attached_sessions() > 0)
    {
        sleep(Duration::from_millis(10)).await;
    }
    from.elapsed()
}

/// A client with a job that says something every so often, and the wire between it and the runtime.
async fn listening(world: &World, pause_ms: u64) -> (Client, JobHandle, Arc<Wire>) {
    let (tap, wire) = world
        .connect(&Book::new(), Fate::Good, 1)
        .expect("the runtime is up");
    let client = Client::connect(tap, world.lone_client_options(1))
        .await
        .expect("a session");
    let talk = json!({ "n": 40, "pause_ms": pause_ms });
    let job = client
        .submit("talk")
        .input(&talk)
        .send()
        .await
        .expect("a job");
    (client, job, wire)
}

/// Two intervals and the moment it takes to look.
const NOTICED: Duration = Duration::from_millis(2 * HEARTBEAT.as_millis() as u64 + 20);

/// [ARCP 6.4-3] a runtime that hears nothing gives the connection up after two intervals; its job goes on.
#[test]
fn the_runtime_notices_a_silent_client() {
    virtual_time("silent client", async {
        let world = world().await;
        let (_client, _job, wire) = listening(&world, 1000).await;
        wire.silence_up();
        let took = until_detached(&world).await;
        assert!(took > HEARTBEAT && took <= NOTICED, "{took:?}");
        assert_eq!(world.runtime().map(|runtime| runtime.live_jobs()), Some(1));
    });
}

/// [ARCP 6.4-4] a client that hears nothing, not even of a job that talks all the time, gives the connection up after two
/// intervals.
#[test]
fn the_client_notices_a_silent_runtime() {
    virtual_time("silent runtime", async {
        let world = world().await;
        let (client, _job, wire) = listening(&world, 100).await;
        let changed = client.connection_changed();
        wire.silence_down();
        let from = Instant::now();
        let connection = timeout(Duration::from_secs(60), changed)
            .await
            .expect("it notices");
        assert!(
            matches!(
                connection,
                Connection::Lost {
                    cause: Loss::HeartbeatLost
                }
            ),
            "{connection:?}"
        );
        assert!(
            from.elapsed() > HEARTBEAT && from.elapsed() <= NOTICED,
            "{:?}",
            from.elapsed()
        );
    });
}

/// [ARCP 6.3-8, 6.3-3] whichever direction goes silent, and also when only the client notices and comes back while the old
/// connection still looks alive: there is one stream, nothing of it is missing, nothing comes twice.
#[test]
fn half_open_connections_are_taken_over() {
    for misfortune in [
        Misfortune::SilenceUp,
        Misfortune::SilenceDown,
        Misfortune::SilenceBoth,
        Misfortune::Strand,
    ] {
        let again = format!("{misfortune:?}");
        virtual_time(&again, async {
            let world = world().await;
            let fates = move |number| match number {
                0 => Fate::Later(Duration::from_secs(2), misfortune),
                _ => Fate::Good,
            };
            let anne = Person::enter(&world, "anne".to_owned(), 1, Arc::new(fates)).await;
            let first = anne.client().session().expect("a session").id().clone();
            anne.submit("talk", &json!({ "n": 60, "pause_ms": 500 }))
                .await;
            if matches!(misfortune, Misfortune::Strand) {
                sleep(Duration::from_secs(4)).await;
                assert_eq!(
                    world.runtime().map(|runtime| runtime.attached_sessions()),
                    Some(1),
                    "taken over"
                );
            }
            let observed = anne.observed().await;
            assert_eq!(
                *anne.client().session().expect("a session").id(),
                first,
                "resumed"
            );
            assert_eq!(anne.book.connections(), 2);
            let mut truth = Truth::read(world.disk()).await;
            truth.check_ends();
            observed
                .iter()
                .for_each(|observed| truth.check_observed(observed));
            truth.check_delivered(&anne.book.records());
            truth.settle(anne.book.faults(), &again);
        });
    }
}
