//! How the jobs of one agent are run.

use std::time::Duration;

use towline_proto::job::Retries;

/// What a deployment decides about an agent's jobs when it registers the agent.
///
/// ```
/// use std::time::Duration;
/// use towline_runtime::AgentOptions;
///
/// let options = AgentOptions::default().restartable(true).retries(2).backoff(Duration::from_secs(5));
/// ```
#[derive(Debug, Clone, Default)]
pub struct AgentOptions {
    pub(crate) restartable: bool,
    pub(crate) retries: Retries,
}

impl AgentOptions {
    /// Jobs outlive the runtime: after a crash, and after a shutdown that did not wait for them, they are run again from
    /// their beginning, with the same input and their latest checkpoint [ARCP 7.3-4]. What a job did since that checkpoint
    /// may be done twice. Default: off.
    #[must_use]
    pub fn restartable(mut self, restartable: bool) -> Self {
        self.restartable = restartable;
        self
    }

    /// How often a job whose agent failed with a retryable code is run again, inside the same job: its budget, its expiry
    /// and its longest runtime go on, and it has one end. A part of a result that is out rules another run out. Default: 0.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries.most = retries;
        self
    }

    /// How long the first retry waits; each further one waits twice as long as the one before, an hour at most. Default: 5 s.
    #[must_use]
    pub fn backoff(mut self, backoff: Duration) -> Self {
        self.retries.backoff = backoff;
        self
    }
}
