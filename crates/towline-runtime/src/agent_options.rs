//! How the jobs of one agent are run.

use std::{sync::Arc, time::Duration};

use towline_proto::job::Retries;
use towline_wire::{Amount, RawJson, payload::Notify};

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
    pub(crate) listens: bool,
    pub(crate) queue: Option<String>,
    pub(crate) notify: Option<Notify>,
    pub(crate) on_budget_exhausted: Option<OnBudgetExhausted>,
    pub(crate) budget_default: Vec<(String, Amount)>,
    pub(crate) description: Option<Arc<str>>,
    pub(crate) input_schema: Option<RawJson>,
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

    /// Lets people speak to the agent's running jobs, which hear them by [`crate::JobContext::messages`] [ARCP 15-7].
    /// Default: off, and what is said is refused.
    #[must_use]
    pub fn listens(mut self, listens: bool) -> Self {
        self.listens = listens;
        self
    }

    /// The queue that its jobs stand in when their submit names none [ARCP 22-4]; see
    /// [`RuntimeBuilder::queue`](crate::RuntimeBuilder::queue). Default: none.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Who is told of its jobs over HTTP when their submit names nobody, those of its jobs that other agents delegated included:
    /// of `events` (`started`, `input_request`, `ended`; without any, of the end) [ARCP 16-6]; see
    /// [`RuntimeBuilder::webhooks`](crate::RuntimeBuilder::webhooks). Default: nobody.
    #[must_use]
    pub fn notify(
        mut self,
        url: impl Into<String>,
        events: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.notify = Some(Notify {
            url: url.into(),
            events: events.into_iter().map(Into::into).collect(),
        });
        self
    }

    /// What becomes of an operation when the budget is used up. Default: what the runtime's options say.
    #[must_use]
    pub fn on_budget_exhausted(mut self, then: OnBudgetExhausted) -> Self {
        self.on_budget_exhausted = Some(then);
        self
    }

    /// What its jobs may spend whose submit says nothing of `cost.budget`: for each currency this much, and no more than the
    /// submitter's role lets one job spend. What an agent delegates has its parent's budget instead. Default: nothing.
    #[must_use]
    pub fn budget_default(mut self, currency: impl Into<String>, amount: Amount) -> Self {
        self.budget_default.push((currency.into(), amount));
        self
    }

    /// What the agent is for, in a sentence or two. People and models choose by it: `towline agents`, the welcome, HTTP and MCP
    /// show it [ARCP 19-1]. Default: nothing.
    #[must_use]
    pub fn description(mut self, description: impl Into<Arc<str>>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// What the agent's input has to look like, as a JSON Schema (draft 2020-12), at most 64 KiB of it: shown beside the
    /// description. It tells and does not check; what does not fit is the agent's to refuse. Default: nothing.
    #[must_use]
    pub fn input_schema(mut self, schema: impl Into<RawJson>) -> Self {
        self.input_schema = Some(schema.into());
        self
    }

    /// [`AgentOptions::input_schema`] by the type that the agent reads its input as.
    #[cfg(feature = "schemars")]
    #[must_use]
    pub fn input<I: schemars::JsonSchema>(self) -> Self {
        self.input_schema(schemars::schema_for!(I).to_value())
    }

    /// How long the first retry waits; each further one waits twice as long as the one before, an hour at most. Default: 5 s.
    #[must_use]
    pub fn backoff(mut self, backoff: Duration) -> Self {
        self.retries.backoff = backoff;
        self
    }
}
