//! Several clients, everything that can go wrong, as a seed decides.

use std::{
    env,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use tokio::time::{sleep, timeout};
use towline_store::{StoreError, testing::Fault};
use towline_tests::dice::Dice;

use crate::{
    actor::{Actor, Board},
    judge::Truth,
    life::Death,
    person::Person,
    virtual_time,
    world::World,
};

/// Runs one world to its end. Gives a hash of everything the clients sent and were sent.
///
/// # Panics
/// When something was seen that did not happen, or did not happen as often as it was to.
fn storm(seed: u64) -> u64 {
    virtual_time(&again(seed), weather(seed))
}

async fn weather(seed: u64) -> u64 {
    let mut dice = Dice::new(seed);
    let world = World::new(seed);
    let lives = tokio::spawn(live(world.clone(), dice.split()));
    let board = Board::default();
    let mut acting = Vec::new();
    for number in 1..=2 + dice.below(3) {
        let (world, board, dice) = (world.clone(), board.clone(), dice.split());
        acting.push(tokio::spawn(async move {
            Actor::enter(world, number, dice, board)
                .await
                .act(THINGS)
                .await
        }));
    }
    let mut finished: Vec<Person> = Vec::new();
    for actor in acting {
        finished.push(actor.await.expect("an actor ends by itself"));
    }
    lives.await.expect("the last life begins");
    world.calm_down();
    let (mut observed, mut books) = (Vec::new(), Vec::new());
    for actor in finished {
        observed.extend(actor.observed().await);
        books.push(actor.book.clone());
        actor.leave().await;
    }
    while world
        .runtime()
        .is_some_and(|runtime| runtime.live_jobs() > 0)
    {
        sleep(Duration::from_millis(100)).await;
    }
    if lone_seed().is_some() {
        // Shown when the test fails.
        books.iter().for_each(|book| println!("{}", book.trace()));
    }
    let mut truth = Truth::read(world.disk()).await;
    truth.check_ends();
    truth.check_runs(&world);
    observed
        .iter()
        .for_each(|observed| truth.check_observed(observed));
    books
        .iter()
        .for_each(|book| truth.check_delivered(&book.records()));
    truth.settle(books.iter().flat_map(|book| book.faults()), &again(seed));
    let mut hasher = DefaultHasher::new();
    books.iter().for_each(|book| book.trace().hash(&mut hasher));
    hasher.finish()
}

/// The lives of the runtime. All but the last end, by chance or at a commit; the disk has its moods meanwhile.
async fn live(world: World, mut dice: Dice) {
    if dice.once_in(2) {
        world
            .disk()
            .randomly(dice.below(u64::MAX), 3 + dice.below(20));
    }
    for _ in 0..dice.below(4) {
        let commit = 1 + dice.below(60);
        let death = dice.once_in(2).then_some(Death {
            commit,
            is_written: dice.once_in(2),
        });
        world.start(death).await;
        trouble_disk(&world, &mut dice);
        let span = Duration::from_millis(500 + dice.below(12_000));
        // Whichever comes first.
        let _ = timeout(span, world.death()).await;
        world.kill();
        sleep(Duration::from_millis(dice.below(3000))).await;
    }
    world.start(None).await;
    trouble_disk(&world, &mut dice);
}

fn trouble_disk(world: &World, dice: &mut Dice) {
    for _ in 0..dice.below(8) {
        let fault = match dice.below(4) {
            0 => Fault::Fail(StoreError::Full("a test".into())),
            1 => Fault::Applied(StoreError::Failed("a test".into())),
            _ => Fault::Delay(Duration::from_millis(dice.below(2500))),
        };
        let commit = world.disk().commits() + 1 + dice.below(80);
        world.disk().commit_number(commit, fault);
    }
}

fn again(seed: u64) -> String {
    format!("seed {seed} (TOWLINE_SIM_SEED={seed} runs it alone)")
}

/// Seeds to run: one that is asked for, or as many as are asked for.
pub(crate) fn seeds(unasked: u64) -> Vec<u64> {
    match lone_seed() {
        Some(seed) => vec![seed],
        None => (0..number("TOWLINE_SIM_SEEDS").unwrap_or(unasked)).collect(),
    }
}

fn lone_seed() -> Option<u64> {
    number("TOWLINE_SIM_SEED")
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// [ARCP 8-3, 6.3-3, 6.3-4, 6.3-8, 6.3-9, 7.2-1, 7.3-2, 7.6-1] whatever becomes of connections, of the runtime and of its
/// store: the numbers of a session are +1 and stand for the same record for ever, every observer sees every event of its
/// job once and in order, a job has one terminal, a key one job.
#[test]
fn nothing_is_lost_or_doubled_in_any_weather() {
    for seed in seeds(SEEDS) {
        storm(seed);
    }
}

/// The same seed makes the same world: everything each client sends and is sent, and when, is the same.
#[test]
fn a_seed_can_be_run_again() {
    for seed in 0..8 {
        assert_eq!(storm(seed), storm(seed), "{}", again(seed));
    }
}

const THINGS: u64 = 14;
const SEEDS: u64 = 250;
