//! Sizes, counts, ages and spans that the protocol fixes, each decided here and nowhere else.
//!
//! A client that checks a request before it is sent, the runtime that checks it again, the store that lets things go and
//! the program that reads a flag all ask these functions, so none of them can be stricter or laxer than another.

use std::{ops::RangeInclusive, time::Duration};

use towline_wire::{Timestamp, is_deeper, payload};

use crate::{admission::PRIORITIES, webhook};

/// How many bytes an idempotency key has [ARCP 7.2-3].
pub const KEY_BYTES: RangeInclusive<usize> = 1..=256;

/// How long an idempotency key stands for its job [ARCP 7.2-3].
pub const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How many levels of lists and objects an input has at most [ARCP 14-4]: with more, readers that call themselves for each level
/// give up, agents and whoever is given the input back among them.
pub const INPUT_DEPTH: usize = 127;

/// How many jobs a page of a listing has at most, as a client may ask for it [ARCP 6.6-1].
pub const PAGE_JOBS: RangeInclusive<u64> = 1..=1000;

/// How many jobs a page has when the client does not say [ARCP 6.6-1].
pub const DEFAULT_PAGE_JOBS: u64 = 100;

/// How many messages to receivers a page of them has [ARCP 16-6].
pub const PAGE_WEBHOOKS: RangeInclusive<usize> = 1..=1000;

/// How many messages to receivers a page has when nobody says.
pub const DEFAULT_PAGE_WEBHOOKS: usize = 100;

/// How often a silent peer speaks: not oftener than once a second [ARCP 6.4-2], and at least once a day.
pub const HEARTBEAT: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// How often a silent peer speaks when nobody says otherwise [ARCP 6.4-2].
pub const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(30);

/// How long a session that does nothing but beat stays connected when nobody says otherwise [ARCP 14-1].
pub const DEFAULT_IDLE_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A value outside its bounds. The text names the field, the value and what is allowed, and says the same to the user of
/// a client and to the peer of a runtime.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LimitError {
    /// An idempotency key that is empty or too long.
    #[error(
        "`idempotency_key` has {} to {} bytes, this one has {bytes}",
        KEY_BYTES.start(),
        KEY_BYTES.end()
    )]
    Key {
        /// How long it is.
        bytes: usize,
    },
    /// An input that many readers of JSON could not read.
    #[error("`input` is nested more than {INPUT_DEPTH} levels deep")]
    Depth,
    /// A page that is empty or too large.
    #[error("`limit` is {limit}; a page has {} to {} jobs", PAGE_JOBS.start(), PAGE_JOBS.end())]
    Page {
        /// How many jobs were asked for.
        limit: u64,
    },
    /// A page of messages that is empty or too large.
    #[error("`limit` is {limit}; a page has {} to {} messages", PAGE_WEBHOOKS.start(), PAGE_WEBHOOKS.end())]
    Webhooks {
        /// How many messages were asked for.
        limit: usize,
    },
    /// A priority that is out of bounds.
    #[error("`priority` is {priority}; it is from {} to {}", PRIORITIES.start(), PRIORITIES.end())]
    Priority {
        /// What was asked for.
        priority: i64,
    },
    /// A webhook that cannot be.
    #[error(transparent)]
    Notify(#[from] webhook::NotifyError),
    /// A running time that is none.
    #[error("`max_runtime_sec` is {seconds}; it has to be a positive number of seconds")]
    MaxRuntime {
        /// What was asked for.
        seconds: f64,
    },
}

/// Checks the numbers and lengths of a submit: its key [ARCP 7.2-3], its running time [ARCP 7.3-3], the depth of its input.
///
/// # Errors
/// [`LimitError`] for the first one that is out of bounds.
pub fn check_submit(submit: &payload::Submit) -> Result<(), LimitError> {
    if let Some(key) = &submit.idempotency_key
        && !KEY_BYTES.contains(&key.len())
    {
        return Err(LimitError::Key { bytes: key.len() });
    }
    submit.max_runtime_sec.map(max_runtime).transpose()?;
    priority(submit.priority)?;
    submit.notify.as_ref().map(webhook::check).transpose()?;
    match &submit.input {
        Some(input) if is_deeper(input.as_str(), INPUT_DEPTH) => Err(LimitError::Depth),
        _ => Ok(()),
    }
}

/// How many messages a page of those to receivers has [ARCP 16-6].
///
/// # Errors
/// [`LimitError::Webhooks`] when it is empty or too large.
pub fn page_webhooks(limit: usize) -> Result<usize, LimitError> {
    if PAGE_WEBHOOKS.contains(&limit) {
        Ok(limit)
    } else {
        Err(LimitError::Webhooks { limit })
    }
}

/// Who goes first in a queue [ARCP 22-4]; 0 when nobody says.
///
/// # Errors
/// [`LimitError::Priority`] for what is out of bounds.
pub fn priority(asked: Option<i64>) -> Result<i8, LimitError> {
    let priority = asked.unwrap_or(0);
    let fits = i8::try_from(priority).ok();
    fits.filter(|_| PRIORITIES.contains(&priority))
        .ok_or(LimitError::Priority { priority })
}

/// How long a job may run. More seconds than the longest duration has are the longest duration.
///
/// # Errors
/// [`LimitError::MaxRuntime`] for what is no positive number [ARCP 7.3-3].
pub fn max_runtime(seconds: f64) -> Result<Duration, LimitError> {
    if !(seconds.is_finite() && seconds > 0.0) {
        return Err(LimitError::MaxRuntime { seconds });
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// How many jobs a page has, given what the client asked for [ARCP 6.6-1].
///
/// # Errors
/// [`LimitError::Page`] out of bounds.
pub fn page_jobs(asked: Option<u64>) -> Result<u64, LimitError> {
    let limit = asked.unwrap_or(DEFAULT_PAGE_JOBS);
    if PAGE_JOBS.contains(&limit) {
        Ok(limit)
    } else {
        Err(LimitError::Page { limit })
    }
}

/// Whether a key that came to stand at `since` still does at `now` [ARCP 7.2-3].
pub fn key_stands(since: Timestamp, now: Timestamp) -> bool {
    now.since(since) < KEY_LIFE
}

/// Whether a session can still be taken up at `now`: while it is attached (`lost_at` is `None`), and for `window` from
/// the moment its transport was lost or it was closed, that moment's end included [ARCP 6.3-5, 6.3-6].
pub fn in_resume_window(lost_at: Option<Timestamp>, now: Timestamp, window: Duration) -> bool {
    lost_at.is_none_or(|lost_at| now.since(lost_at) <= window)
}

/// The heartbeat interval a welcome asks for: the default where it is absent or no number, else the nearest one that is
/// allowed [ARCP 6.4-2].
pub fn heartbeat_interval(seconds: Option<f64>) -> Duration {
    let Some(seconds) = seconds.filter(|seconds| seconds.is_finite()) else {
        return DEFAULT_HEARTBEAT;
    };
    let (shortest, longest) = (HEARTBEAT.start(), HEARTBEAT.end());
    Duration::from_secs_f64(seconds.clamp(shortest.as_secs_f64(), longest.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submit(json: &str) -> payload::Submit {
        serde_json::from_str(json).unwrap()
    }

    /// [ARCP 7.2-3] a key has 1 to 256 bytes and stands for 24 hours.
    #[test]
    fn keys_have_a_length_and_a_life() {
        for (length, good) in [(0, false), (1, true), (256, true), (257, false)] {
            let submit = payload::Submit {
                idempotency_key: Some("k".repeat(length)),
                ..submit(r#"{"agent":"a"}"#)
            };
            assert_eq!(check_submit(&submit).is_ok(), good, "{length}");
        }
        let since = Timestamp::from_unix_micros(5);
        let after = |micros: i64| Timestamp::from_unix_micros(5 + 24 * 3_600_000_000 + micros);
        assert!(key_stands(since, since) && key_stands(since, after(-1)));
        assert!(!key_stands(since, after(0)));
    }

    /// [ARCP 14-4] an input has as many levels as every reader can read.
    #[test]
    fn inputs_have_a_depth() {
        let deep = |levels: usize, open: &str, close: &str| {
            let input = format!("{}1{}", open.repeat(levels), close.repeat(levels));
            check_submit(&submit(&format!(r#"{{"agent":"a","input":{input}}}"#)))
        };
        for (open, close) in [("[", "]"), (r#"{"a]":"#, "}"), (r#"[ "\"[", "#, "]")] {
            assert_eq!(deep(127, open, close), Ok(()), "{open}");
            assert_eq!(deep(128, open, close), Err(LimitError::Depth), "{open}");
        }
        let wide = format!("[{}[]]", "[[]],".repeat(1000));
        let text = format!("[\"{}\"]", "[{".repeat(1000));
        for input in [wide, text] {
            let submit = submit(&format!(r#"{{"agent":"a","input":{input}}}"#));
            assert_eq!(check_submit(&submit), Ok(()));
        }
    }

    /// [ARCP 6.6-1] a page has 1 to 1000 jobs, 100 when nobody says.
    #[test]
    fn pages_have_bounds() {
        assert_eq!(page_jobs(None), Ok(100));
        assert_eq!(
            (page_jobs(Some(1)), page_jobs(Some(1000))),
            (Ok(1), Ok(1000))
        );
        assert!(page_jobs(Some(0)).is_err());
        let error = page_jobs(Some(1001)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`limit` is 1001; a page has 1 to 1000 jobs"
        );
    }

    /// [ARCP 7.3-3] `max_runtime_sec` is positive, and may be a fraction.
    #[test]
    fn running_times_are_positive() {
        assert_eq!(max_runtime(0.25), Ok(Duration::from_millis(250)));
        assert_eq!(max_runtime(f64::MAX), Ok(Duration::MAX));
        for bad in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(max_runtime(bad).is_err(), "{bad}");
        }
    }

    /// [ARCP 6.3-6] the window counts from the loss; its last moment belongs to it.
    #[test]
    fn the_window_counts_from_the_loss() {
        let at = Timestamp::from_unix_micros;
        let window = Duration::from_micros(10);
        assert!(in_resume_window(None, at(i64::MAX), window));
        assert!(in_resume_window(Some(at(5)), at(15), window));
        assert!(!in_resume_window(Some(at(5)), at(16), window));
    }

    /// [ARCP 6.4-2] an interval is at least a second, 30 s where nobody says.
    #[test]
    fn intervals_are_at_least_a_second() {
        let table = [
            (None, 30),
            (Some(f64::NAN), 30),
            (Some(0.0), 1),
            (Some(-5.0), 1),
            (Some(45.0), 45),
            (Some(1e12), 86_400),
        ];
        for (asked, seconds) in table {
            assert_eq!(
                heartbeat_interval(asked),
                Duration::from_secs(seconds),
                "{asked:?}"
            );
        }
    }
}
