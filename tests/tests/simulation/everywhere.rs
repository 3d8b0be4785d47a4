//! One small play, and one thing that goes wrong in it: at every place where it can.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::{sleep, timeout};
use towline_store::{StoreError, testing::Fault};

use crate::{
    judge::Truth,
    life::Death,
    person::{Fates, From, Person},
    virtual_time,
    world::{Fate, World},
};

/// Two clients; a job both of them have by its key, one that is cancelled, one that streams its result and may be run
/// again. Whatever goes wrong is healed in the end; then everything has to be there, once.
async fn play(world: &World, fates: [Fates; 2], again: &str) {
    let [fates_a, fates_b] = fates;
    let shared = json!({ "n": 5, "pause_ms": 30, "key": "shared" });
    let long = json!({ "n": 200, "pause_ms": 50, "key": "long" });
    let stream = json!({ "n": 3, "pause_ms": 10, "end": "stream", "key": "stream" });
    let anne = Person::enter(world, "anne".to_owned(), 1, fates_a).await;
    let first = anne.submit("talk", &shared).await;
    let bert = Person::enter(world, "bert".to_owned(), 2, fates_b).await;
    bert.subscribe(&first, From::Start).await;
    let second = bert.submit("talk", &long).await;
    bert.submit("talk", &shared).await;
    anne.submit("phoenix", &stream).await;
    anne.subscribe(&second, From::Now).await;
    sleep(Duration::from_millis(100)).await;
    while let Err(error) = bert.client().cancel(second.clone(), "enough").await {
        // It ended when the runtime died, or the session that may cancel it is lost.
        if !error.is_retryable() {
            break;
        }
    }
    let (mut observed, mut books) = (Vec::new(), Vec::new());
    for person in [anne, bert] {
        observed.extend(person.observed().await);
        books.push(person.book.clone());
        person.leave().await;
    }
    let mut truth = Truth::read(world.disk()).await;
    truth.check_ends();
    truth.check_runs(world);
    observed
        .iter()
        .for_each(|observed| truth.check_observed(observed));
    books
        .iter()
        .for_each(|book| truth.check_delivered(&book.records()));
    truth.settle(books.iter().flat_map(|book| book.faults()), again);
}

fn good() -> Fates {
    Arc::new(|_| Fate::Good)
}

/// The first connections are cut after so many frames, the others are good.
fn cut_after(frames: Vec<u64>) -> Fates {
    Arc::new(move |number| match frames.get(number as usize) {
        Some(frames) => Fate::CutAfter(*frames),
        None => Fate::Good,
    })
}

/// [ARCP 6.3-3, 6.3-4, 7.2-1] the connection of either client is cut at every frame, and so is, at the frames a resume
/// consists of, the one after it.
#[test]
fn a_cut_at_any_frame_loses_nothing() {
    for first in 1..=MOST_FRAMES {
        for second in [None, Some(2), Some(3), Some(4), Some(6), Some(11)] {
            let cuts: Vec<u64> = [Some(first), second].into_iter().flatten().collect();
            for who in 0..2 {
                let again = format!("client {who} cut after {cuts:?}");
                let mut fates = [good(), good()];
                fates[who] = cut_after(cuts.clone());
                virtual_time(&again, async {
                    let world = World::new(first);
                    world.start(None).await;
                    play(&world, fates, &again).await;
                });
            }
        }
    }
}

/// [ARCP 6.3-9, 7.3-4, 7.2-1] the runtime dies at every commit, right before or right after it is on the disk, and another
/// one goes on with what is there.
#[test]
fn a_crash_at_any_commit_loses_nothing() {
    for commit in 1..=MOST_COMMITS {
        for is_written in [false, true] {
            let death = Death { commit, is_written };
            let again = format!("{death:?}");
            virtual_time(&again, async {
                let world = World::new(commit);
                world.start(Some(death)).await;
                let next = tokio::spawn({
                    let world = world.clone();
                    async move {
                        world.death().await;
                        world.kill();
                        sleep(Duration::from_millis(70)).await;
                        world.start(None).await;
                    }
                });
                play(&world, [good(), good()], &again).await;
                next.abort();
            });
        }
    }
}

/// [ARCP 12-2] a commit that fails, or takes its time, or is said to have failed and did not, harms nothing but what was
/// asked for with it.
#[test]
fn a_commit_that_fails_loses_nothing() {
    let faults = [
        Fault::Fail(StoreError::Full("a test".into())),
        Fault::Applied(StoreError::Failed("a test".into())),
        Fault::Delay(Duration::from_secs(3)),
    ];
    for commit in 1..=MOST_COMMITS {
        for fault in &faults {
            let again = format!("commit {commit}: {fault:?}");
            virtual_time(&again, async {
                let world = World::new(commit);
                world.disk().commit_number(commit, fault.clone());
                world.start(None).await;
                play(&world, [good(), good()], &again).await;
            });
        }
    }
}

/// The numbers above are large enough: the play has no more frames and commits.
#[test]
fn everywhere_is_everywhere() {
    virtual_time("a play", async {
        let world = World::new(0);
        world.start(None).await;
        let playing = play(&world, [good(), good()], "a play");
        assert!(timeout(Duration::from_secs(60), playing).await.is_ok());
        assert!(
            world.disk().commits() <= MOST_COMMITS,
            "{} commits",
            world.disk().commits()
        );
    });
}

const MOST_FRAMES: u64 = 60;
const MOST_COMMITS: u64 = 80;
