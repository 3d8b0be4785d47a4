//! A job's name as it was typed: all of it, or as much of it as tells it from the others.

use std::pin::pin;

use futures_util::TryStreamExt as _;
use towline::{
    JobId, Timestamp,
    client::{Client, ClientError},
    wire::payload::JobListing,
};

use crate::{
    failure::{Failure, Outcome},
    output,
    refused::failed,
};

/// What names of ours begin with.
const PREFIX: &str = "job_";

/// Behind it stand 26 letters and digits, of which these are the moment.
const TIME_CHARS: usize = 10;
const ULID_CHARS: usize = 26;

/// In the order of their values.
const ALPHABET: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// How far the moment in a name and the one it was accepted at may be apart, in microseconds.
const SLACK: i64 = 60_000_000;

/// As many as a runtime gives at once.
const PAGE: u64 = 1000;

/// Reads a whole name.
pub(crate) fn job_id(text: &str) -> Outcome<JobId> {
    JobId::parse(text).map_err(|error| {
        Failure::usage(format!(
            "`{}` is not a job's name: {error}",
            output::clean(text)
        ))
    })
}

/// The job that is meant. What no listing knows is left to the runtime to refuse.
pub(crate) async fn resolve(client: &Client, text: &str) -> Outcome<JobId> {
    let whole = job_id(text)?;
    // Lower case is how some people write it, and some runtimes.
    if is_whole(text)
        && !text[PREFIX.len()..]
            .bytes()
            .any(|byte| byte.is_ascii_lowercase())
    {
        return Ok(whole);
    }
    let mut found = Vec::new();
    for beginning in [text.to_owned(), format!("{PREFIX}{text}")] {
        let window = window(&beginning);
        let mut list = client.list_jobs().limit(PAGE);
        if let Some((after, before)) = window {
            list = list.created_after(after).created_before(before);
        }
        let mut jobs = pin!(list.stream());
        loop {
            match jobs.try_next().await {
                Ok(Some(job)) if job.job_id == whole => return Ok(whole),
                Ok(Some(job)) if begins(job.job_id.as_str(), &beginning) => found.push(job.job_id),
                Ok(Some(_)) => {}
                Ok(None) => break,
                // It lists nothing, so nothing can be shortened.
                Err(ClientError::FeatureMissing(_)) => return Ok(whole),
                Err(error) => return Err(failed(error)),
            }
        }
        if !found.is_empty() || text.starts_with(PREFIX) {
            break;
        }
    }
    one_of(text, found).map(|job| job.unwrap_or(whole))
}

/// The one thing that is meant; nothing when there is none.
pub(crate) fn one_of<T: std::fmt::Display>(text: &str, mut found: Vec<T>) -> Outcome<Option<T>> {
    if found.len() > 1 {
        let some: Vec<String> = found.iter().take(5).map(output::clean).collect();
        return Err(Failure::usage(format!(
            "`{}` is the beginning of {} jobs ({}{})",
            output::clean(text),
            found.len(),
            some.join(", "),
            if found.len() > 5 { ", …" } else { "" }
        ))
        .help("write more of the name"));
    }
    Ok(found.pop())
}

/// What a listing says of one job.
pub(crate) async fn listed(client: &Client, job: &JobId) -> Outcome<Option<JobListing>> {
    let mut list = client.list_jobs().limit(PAGE).details();
    if let Some((after, before)) = window(job.as_str()) {
        list = list.created_after(after).created_before(before);
    }
    let mut jobs = pin!(list.stream());
    loop {
        match jobs.try_next().await {
            Ok(Some(known)) if known.job_id == *job => return Ok(Some(known)),
            Ok(Some(_)) => {}
            Ok(None) | Err(ClientError::FeatureMissing(_)) => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Whether a name begins so, upper case or lower.
pub(crate) fn begins(name: &str, text: &str) -> bool {
    name.get(..text.len())
        .is_some_and(|beginning| beginning.eq_ignore_ascii_case(text))
}

/// Whether nothing is missing of a name of ours.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix(PREFIX);
    digits.is_some_and(|digits| {
        digits.len() == ULID_CHARS && digits.bytes().all(|byte| value(byte).is_some())
    })
}

/// Between which moments a job was accepted whose name begins so; names of other runtimes say nothing of it.
fn window(beginning: &str) -> Option<(Timestamp, Timestamp)> {
    let digits = beginning.strip_prefix(PREFIX)?;
    let digits = &digits[..digits.len().min(TIME_CHARS)];
    if digits.is_empty() {
        return None;
    }
    let moment = |fill: u8| {
        let padded = digits.bytes().chain(std::iter::repeat(fill));
        let millis = padded.take(TIME_CHARS).try_fold(0i64, |sum, byte| {
            sum.checked_mul(32)?.checked_add(value(byte)?)
        })?;
        millis.checked_mul(1000)
    };
    let (low, high) = (moment(b'0')?, moment(b'Z')?);
    Some((
        Timestamp::from_unix_micros(low.saturating_sub(SLACK).max(0)),
        Timestamp::from_unix_micros(high.saturating_add(SLACK).min(LAST)),
    ))
}

fn value(byte: u8) -> Option<i64> {
    let byte = byte.to_ascii_uppercase();
    let at = ALPHABET.iter().position(|known| *known == byte)?;
    i64::try_from(at).ok()
}

/// The end of the year 9999, which is the last that is written with four digits.
const LAST: i64 = 253_402_300_799_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_says_when() {
        let job = "job_01KB3QZV5T9J3M5N7P9R1S3V5X";
        assert!(is_whole(job) && !is_whole(&job[..29]) && !is_whole("job_1"));
        let (low, high) = window(job).unwrap();
        let apart = high.unix_micros() - low.unix_micros();
        assert_eq!(apart, 2 * SLACK, "the moment itself");
        let mut last = apart;
        for end in (5..14).rev() {
            let (low, high) = window(&job[..end]).unwrap();
            let apart = high.unix_micros() - low.unix_micros();
            assert!(apart >= last, "{end}");
            last = apart;
        }
        assert_eq!(window("job_"), None);
        assert_eq!(window("job_IL"), None, "no digits of ours");
        assert_eq!(window("4f2a"), None);
        assert!(begins(job, "JOB_01kb") && !begins(job, "job_02") && !begins("job", job));
    }
}
