//! How much a question about patterns may cost: what is asked is sized by a stranger [ARCP 14-6].

use super::limits::{MAX_COMPILE_STEPS, MAX_INCLUSION_STEPS, MAX_MATCH_STEPS, QUICK_STEPS};

/// The steps that are left for one question, however many patterns it is about. When there are none, the answer is no.
#[derive(Debug)]
pub(super) struct Effort(usize);

/// No step is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted;

/// How long a question may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// Well under a millisecond: enough for almost all leases, and no harm to a thread that serves others.
    Quick,
    /// Some ten milliseconds: for a thread that nobody waits for.
    Full,
}

impl Effort {
    /// For matching one value with the patterns of a lease.
    pub(super) const fn matching() -> Self {
        Self(MAX_MATCH_STEPS)
    }

    /// For compiling a lease.
    pub(super) const fn compiling(care: Care) -> Self {
        match care {
            Care::Quick => Self(QUICK_STEPS),
            Care::Full => Self(MAX_COMPILE_STEPS),
        }
    }

    /// For comparing a lease with another.
    pub(super) const fn comparing(care: Care) -> Self {
        match care {
            Care::Quick => Self(QUICK_STEPS),
            Care::Full => Self(MAX_INCLUSION_STEPS),
        }
    }

    /// Takes so many steps.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), Exhausted> {
        let left = self.0.checked_sub(steps);
        self.0 = left.unwrap_or(0);
        left.map(drop).ok_or(Exhausted)
    }

    /// Whether nothing is left.
    pub(super) const fn is_exhausted(&self) -> bool {
        self.0 == 0
    }
}
