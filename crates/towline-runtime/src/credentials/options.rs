//! How the runtime deals with upstreams.

use std::time::Duration;

/// How credentials are issued and revoked.
#[derive(Debug, Clone)]
pub struct CredentialOptions {
    pub(super) timeout: Duration,
    pub(super) first_pause: Duration,
    pub(super) longest_pause: Duration,
    pub(super) alarm_after: u32,
    pub(super) unknown_for: Duration,
}

impl Default for CredentialOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(300),
            alarm_after: 8,
            unknown_for: Duration::from_secs(60),
        }
    }
}

impl CredentialOptions {
    /// The defaults, as the setters name them.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long one call to the upstream may take. Default: 15 s. A submit waits for it.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long after a failed try to revoke the next one comes; each further pause is twice as long, up to `longest`, and
    /// shortened by up to a half at random. Tries never end. Defaults: 500 ms, 5 min.
    #[must_use]
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }

    /// After how many failed tries the operator is told, at `ERROR` and in the audit log. Default: 8.
    #[must_use]
    pub fn alarm_after(mut self, failures: u32) -> Self {
        self.alarm_after = failures;
        self
    }

    /// How long after a call whose answer was lost "not found" is not believed. Default: 60 s.
    #[must_use]
    pub fn unknown_for(mut self, time: Duration) -> Self {
        self.unknown_for = time;
        self
    }
}
