//! What the kit is told.

use std::{collections::BTreeMap, time::Duration};

use towline_wire::Secret;

use crate::report::Origin;

/// What a run of the kit needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) token: Option<Secret>,
    pub(crate) second: Option<Secret>,
    pub(crate) patience: Duration,
    pub(crate) agents: BTreeMap<String, String>,
    draft_only: bool,
}

/// The agents the kit asks for, with what each does. Each has the name of its role unless [`Options::agent`] says another.
pub const ROLES: [(&str, &str); 9] = [
    ("echo", "any input → returns it"),
    (
        "chatty",
        "{n, delay_ms?} → n times an event `log` and an event `progress`",
    ),
    ("sleep", "{ms} → sleeps, ends early when it is cancelled"),
    ("fail", "{code, message} → ends with that error"),
    ("kinds", "{} → one event of each kind"),
    (
        "stream",
        "{chunks, bytes, binary?} → a streamed result of chunks × bytes",
    ),
    (
        "spend",
        "{costs: [[currency, amount], …]} → a metric `cost.…` for each",
    ),
    (
        "delegate",
        "{agent, input, lease?} → delegates to that agent and waits for it",
    ),
    ("versioned", "any input; has two versions at least"),
];

impl Options {
    /// A run that shows no token.
    pub fn new() -> Self {
        Self {
            token: None,
            second: None,
            patience: Duration::from_secs(5),
            agents: BTreeMap::new(),
            draft_only: false,
        }
    }

    /// A run that shows this token.
    pub fn bearer(token: impl Into<Secret>) -> Self {
        Self {
            token: Some(token.into()),
            ..Self::new()
        }
    }

    /// The token of a second principal, who must not have a way to the first one's jobs. Default: none, and that is not looked
    /// at.
    #[must_use]
    pub fn second_token(mut self, token: impl Into<Secret>) -> Self {
        self.second = Some(token.into());
        self
    }

    /// How long each answer is waited for. Default 5 s.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The agent that plays a role of [`ROLES`]. Default: the one of that name.
    #[must_use]
    pub fn agent(mut self, role: impl Into<String>, name: impl Into<String>) -> Self {
        self.agents.insert(role.into(), name.into());
        self
    }

    /// Leaves out the rules that the draft does not have. Default: they are checked, and marked.
    #[must_use]
    pub const fn draft_only(mut self, draft_only: bool) -> Self {
        self.draft_only = draft_only;
        self
    }

    /// Whether rules of this origin are looked at.
    pub(crate) fn wants(&self, origin: Origin) -> bool {
        origin == Origin::Draft || !self.draft_only
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}
