//! Whether a job whose agent failed is run once more, and when.

use std::time::Duration;

use super::Failure;

/// How often an agent is run again for a job that failed, inside that job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// How many runs may follow the first one.
    pub most: u32,
    /// How long the first of them waits; each further one waits twice as long as the one before, an hour at most.
    pub backoff: Duration,
}

impl Retries {
    /// How long to wait before the next run; `None` when this failure is the job's. Only what may go better another time
    /// is tried again: a code that is retryable (§12).
    pub fn next(&self, failure: &Failure, retried: u32) -> Option<Duration> {
        let again = retried < self.most && failure.code.is_retryable();
        again.then(|| {
            let doubled = 1_u32.checked_shl(retried).unwrap_or(u32::MAX);
            self.backoff.saturating_mul(doubled).min(LONGEST)
        })
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            most: 0,
            backoff: Duration::from_secs(5),
        }
    }
}

/// However often it failed, it is tried this often.
const LONGEST: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use towline_wire::ErrorCode;

    use super::*;

    #[test]
    fn what_may_go_better_is_tried_again() {
        let retries = Retries {
            most: 40,
            backoff: Duration::from_secs(5),
        };
        let failed = |code| Failure::new(code, "x");
        let next = |retried| retries.next(&failed(ErrorCode::INTERNAL_ERROR), retried);
        let seconds = [0, 1, 2, 9, 39].map(|retried| next(retried).map(|wait| wait.as_secs()));
        assert_eq!(seconds, [5, 10, 20, 2560, 3600].map(Some));
        assert_eq!(next(40), None);
        for never in [
            ErrorCode::INVALID_REQUEST,
            ErrorCode::BUDGET_EXHAUSTED,
            ErrorCode::CANCELLED,
        ] {
            assert_eq!(retries.next(&failed(never), 0), None);
        }
        assert_eq!(
            Retries::default().next(&failed(ErrorCode::TIMEOUT), 0),
            None
        );
    }
}
