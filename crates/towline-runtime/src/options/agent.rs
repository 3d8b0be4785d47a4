//! What holds for the jobs of one agent.

use super::RuntimeOptions;

/// What holds for the jobs of an agent. Every setter states its default and its effect.
///
/// ```
/// use towline_runtime::{AgentOptions, OnBudgetExhausted};
///
/// let options = AgentOptions::new()
///     .restartable(true)
///     .listens(true)
///     .on_budget_exhausted(OnBudgetExhausted::Ask);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Default)]
pub struct AgentOptions {
    restartable: bool,
    listens: bool,
    on_budget_exhausted: Option<OnBudgetExhausted>,
}

/// What becomes of an operation when the job's budget is used up [ARCP 15-8].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBudgetExhausted {
    /// It is refused with BUDGET_EXHAUSTED.
    #[default]
    End,
    /// A person is asked for as much again as the job was given, at most what the submitter's role lets one job spend. Without
    /// a yes it is refused. A job that was delegated does not ask: its money is its parent's.
    Ask,
}

/// What a job's agent and its deployment want of what people and the job say to each other.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manners {
    /// Whether the agent hears messages.
    pub(crate) listens: bool,
    /// Whether people are asked for more when the budget is used up.
    pub(crate) asks_for_money: bool,
}

impl AgentOptions {
    /// An agent whose jobs are not run again and that hears nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a job again, from its beginning, when the runtime restarts while it runs [ARCP 7.3-4]; see
    /// [`crate::JobContext::checkpoint`]. Default: off, and the job ends with `runtime_restarted`.
    #[must_use]
    pub const fn restartable(mut self, restartable: bool) -> Self {
        self.restartable = restartable;
        self
    }

    /// Lets people speak to the agent's running jobs, which hear them by [`crate::JobContext::messages`] [ARCP 15-7].
    /// Default: off, and what is said is refused.
    #[must_use]
    pub const fn listens(mut self, listens: bool) -> Self {
        self.listens = listens;
        self
    }

    /// What becomes of an operation when the budget is used up. Default: what the runtime's options say.
    #[must_use]
    pub const fn on_budget_exhausted(mut self, then: OnBudgetExhausted) -> Self {
        self.on_budget_exhausted = Some(then);
        self
    }

    pub(crate) const fn is_restartable(&self) -> bool {
        self.restartable
    }

    pub(crate) fn manners(&self, options: &RuntimeOptions) -> Manners {
        let then = self.on_budget_exhausted;
        Manners {
            listens: self.listens,
            asks_for_money: then.unwrap_or(options.on_budget_exhausted) == OnBudgetExhausted::Ask,
        }
    }
}
