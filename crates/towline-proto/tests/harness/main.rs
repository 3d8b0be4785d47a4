//! Both machines, end to end, without a runtime and without a clock: the server's session, its stream and its jobs on one
//! side, clients on the other, and between them links that delay, drop and cut.
//!
//! A plan of steps decides what happens in which order; proptest makes plans, and makes a plan that fails small.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod end;
mod host;
mod job;
mod link;
mod stage;

use proptest::prelude::*;

use crate::stage::{Stage, Step};

const ENDS: u8 = 3;

fn step() -> impl Strategy<Value = Step> {
    let end = || 0..ENDS;
    prop_oneof![
        3 => (end(), prop::option::of(0u8..3)).prop_map(|(end, key)| Step::Submit { end, key }),
        2 => (end(), any::<u8>()).prop_map(|(end, job)| Step::Subscribe { end, job }),
        2 => (end(), any::<u8>()).prop_map(|(end, job)| Step::Cancel { end, job }),
        16 => (any::<u8>(), 0u8..40).prop_map(|(job, what)| Step::Work { job, what }),
        8 => (end(), 1u8..12).prop_map(|(end, frames)| Step::Write { end, frames }),
        8 => (end(), any::<bool>(), 1u8..12).prop_map(|(end, up, frames)| Step::Deliver { end, up, frames }),
        4 => (end(), prop::bool::weighted(0.2)).prop_map(|(end, up)| Step::Drop { end, up }),
        3 => (end(), any::<bool>()).prop_map(|(end, both)| Step::Cut { end, both }),
        6 => end().prop_map(|end| Step::Connect { end }),
        6 => end().prop_map(|end| Step::Exchange { end }),
        4 => (0u16..3000).prop_map(|millis| Step::Pass { millis }),
    ]
}

fn plan() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 20..250)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// [ARCP 8-3, 6.3-3, 8-4, 7.3-2] under any interleaving of jobs, subscriptions, cuts, drops and resumes: a client's
    /// numbers are strictly +1, a number stands for the same record however often it is sent, a dropped event is noticed
    /// and comes with a resume, every event of a job comes once and in order, and every job a client sees ends once.
    #[test]
    fn both_machines_agree_on_the_stream(seed in any::<u64>(), plan in plan()) {
        let mut stage = Stage::new(seed, ENDS);
        plan.iter().for_each(|step| stage.play(step));
        stage.settle();
        stage.check();
    }

    /// [ARCP 7.3-5] whatever races in the plan, a job's log has one terminal, and it is the last record.
    #[test]
    fn a_log_has_one_terminal(seed in any::<u64>(), plan in plan()) {
        let mut stage = Stage::new(seed, ENDS);
        for step in &plan {
            stage.play(step);
            stage.check_logs();
        }
    }

    /// The same seed and the same plan give the same frames at the same times.
    #[test]
    fn a_run_can_be_run_again(seed in any::<u64>(), plan in plan()) {
        let run = || {
            let mut stage = Stage::new(seed, ENDS);
            plan.iter().for_each(|step| stage.play(step));
            stage.settle();
            stage.into_trace()
        };
        prop_assert_eq!(run(), run());
    }
}
