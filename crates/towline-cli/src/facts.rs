//! What is known of a job beside what its runtime says outright: how long it took, and what it spent.

use std::collections::BTreeMap;

use towline::{
    Amount, JobId, JobStatus, Lease, Timestamp,
    env::{Clock as _, SystemClock},
    lease::Amounts,
    wire::{event, namespace, payload::JobListing},
};

use crate::{failure::Failure, output};

/// What was spent of each budgeted currency: what it had, without what is left.
pub(crate) fn spent(
    lease: &Lease,
    left: Option<&BTreeMap<String, Amount>>,
) -> BTreeMap<String, Amount> {
    let had = Amounts::parse(lease.patterns(namespace::COST_BUDGET)).unwrap_or_default();
    let spent = left.into_iter().flatten().filter_map(|(currency, left)| {
        let spent = had.of(currency)?.checked_sub(*left)?;
        Some((currency.clone(), spent))
    });
    spent.collect()
}

/// What a job of a listing spent: what the runtime says, else what its budget tells.
pub(crate) fn spent_of(job: &JobListing) -> BTreeMap<String, Amount> {
    match &job.spent {
        Some(spent) => spent.clone(),
        None => spent_of_budget(job),
    }
}

fn spent_of_budget(job: &JobListing) -> BTreeMap<String, Amount> {
    spent(&job.lease, job.budget.as_ref())
}

/// What goes on with jobs that nobody runs.
pub(crate) const GOES_ON: &str =
    "the next `towline run` or `towline serve` on this data directory goes on with it";

/// What is said of a job that has not ended, and that nobody runs.
pub(crate) fn interrupted(job: &JobId, status: &JobStatus) -> Failure {
    let job = output::clean(job);
    let message = format!("job {job} is interrupted: it is {status}, and nobody runs it");
    Failure::of_job(message).help(format!(
        "{GOES_ON}; `towline rerun {job}` begins it anew, `towline cancel {job}` ends it"
    ))
}

/// Adds what a metric says was spent, in currencies that no budget counts as well.
pub(crate) fn add_cost(costs: &mut BTreeMap<String, Amount>, metric: &event::Metric) {
    if let (true, Some(currency)) = (is_cost(&metric.name), &metric.unit) {
        let sum = costs.entry(currency.clone()).or_default();
        *sum = sum.checked_add(metric.value).unwrap_or(*sum);
    }
}

/// Whether a metric of this name is money that was spent.
pub(crate) fn is_cost(name: &str) -> bool {
    name.starts_with("cost.") && name != BUDGET_LEFT
}

/// The metric that says what is left of a budget.
pub(crate) const BUDGET_LEFT: &str = "cost.budget.remaining";

/// Amounts as a person reads them.
pub(crate) fn money(amounts: &BTreeMap<String, Amount>) -> String {
    let texts: Vec<String> = amounts
        .iter()
        .map(|(currency, amount)| format!("{amount} {currency}"))
        .collect();
    texts.join(", ")
}

/// How long a job has run, or ran, in milliseconds; nothing of one that ended at a moment nobody told.
pub(crate) fn duration_of(job: &JobListing) -> Option<i64> {
    let began = job.started_at.or_else(|| job.created())?;
    let end = match job.completed_at {
        Some(end) => end,
        None if job.status.is_terminal() => return None,
        None => SystemClock.now(),
    };
    Some(between(began, end))
}

/// A moment as a table has it: to the second.
pub(crate) fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// Milliseconds from one moment to another, and none when the clocks differ.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> i64 {
    (to.unix_micros() - from.unix_micros()).max(0) / 1000
}

/// Milliseconds as a person reads them: two units at most.
pub(crate) fn span(millis: i64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{}.{}s", seconds, millis % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        for (millis, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1500, "1.5s"),
            (61_000, "1m01s"),
            (3_660_000, "1h01m"),
            (90_000_000, "1d01h"),
        ] {
            assert_eq!(span(millis), text);
        }
    }

    #[test]
    fn moments_are_told_to_the_second() {
        for micros in [0, 999_999] {
            let at = Timestamp::from_unix_micros(micros);
            assert_eq!(moment(at), "1970-01-01T00:00:00Z");
        }
    }

    #[test]
    fn what_is_left_tells_what_was_spent() {
        let mut lease = Lease::new().with("cost.budget", "USD:1.00");
        lease.add("cost.budget", "EUR:2");
        let left = [("USD", "0.60"), ("EUR", "-1")];
        let left: BTreeMap<String, Amount> = left
            .map(|(currency, amount)| (currency.to_owned(), amount.parse().unwrap()))
            .into();
        assert_eq!(money(&spent(&lease, Some(&left))), "3 EUR, 0.40 USD");
        assert!(spent(&lease, None).is_empty());
    }
}
