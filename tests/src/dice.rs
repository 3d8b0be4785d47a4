//! Chance that can be replayed: a seed makes the same throws again.

use std::{
    env,
    time::{SystemTime, UNIX_EPOCH},
};

/// A seeded source of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The same seed gives the same throws.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Seeded from the environment variable `variable`, or else freshly; says on standard error which seed it is and how
    /// to throw the same again.
    pub fn from_env(variable: &str) -> Self {
        let given = env::var(variable).ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(fresh);
        eprintln!("seed {seed}; {variable}={seed} throws the same again");
        Self(seed)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias is far below what a test could notice.
        self.throw() % bound
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A source of its own, so that tasks do not depend on each other's order.
    pub fn split(&mut self) -> Self {
        Self(self.throw())
    }

    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn fresh() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ now.as_secs()
}
