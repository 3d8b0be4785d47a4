//! What principals have used of the budget of their day [ARCP 20-1].
//!
//! Nothing of it is stored: a job's row says when it was accepted, what it may spend and what it spent, and jobs are kept for
//! longer than a day. So the first submit of a principal that has such a budget reads what its jobs of today are; from then on
//! a list in memory says which of them may still spend. What a crash takes away is read again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use towline_proto::lease::{Amounts, Budget};
use towline_store::{JobState, Principal};
use towline_wire::{Amount, Lease, Timestamp, namespace};

use crate::job::JobEntry;

/// The days of the principals that have a budget for one.
#[derive(Default)]
pub(crate) struct Days(Mutex<HashMap<Principal, Arc<Day>>>);

/// A principal's day.
#[derive(Default)]
pub(crate) struct Day {
    /// One submit after the other, so that none is promised what another gets.
    turn: tokio::sync::Mutex<()>,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    /// Which day it is of, counted from 1970; none before it was read.
    day: Option<i64>,
    /// What is used by jobs that cannot use more.
    past: BTreeMap<String, Amount>,
    /// What may still be used, or given back.
    open: HashMap<u64, Open>,
    next: u64,
}

#[derive(Clone)]
enum Open {
    /// Set aside for a job that does not exist yet.
    Planned(Amounts),
    Job(Arc<JobEntry>),
}

/// A job of the day, as it was found.
pub(crate) enum Known {
    /// In memory: it may spend more, or get something back.
    Live(Arc<JobEntry>),
    /// In the store only: what it spent is what it says.
    Over(Box<JobState>),
}

/// What is set aside for a job; given back when it is dropped before there is one.
pub(crate) struct DayShare {
    day: Arc<Day>,
    number: u64,
}

impl Days {
    /// A principal's day, whichever that is.
    pub(crate) fn of(&self, principal: &Principal) -> Arc<Day> {
        let mut days = self.0.lock();
        if days.len() >= MANY && !days.contains_key(principal) {
            // Those that nobody is at; what they say is read again.
            days.retain(|_, day| Arc::strong_count(day) > 1);
        }
        Arc::clone(days.entry(principal.clone()).or_default())
    }

    /// A job never came to be: what was set aside for it is free.
    pub(crate) fn forget(&self, job: &JobEntry) {
        let day = self.0.lock().get(&job.row.principal).cloned();
        if let Some(day) = day {
            let is_it = |open: &Open| matches!(open, Open::Job(known) if known.id() == job.id());
            day.tally.lock().open.retain(|_, open| !is_it(open));
        }
    }
}

impl Day {
    /// Waits until nobody else of this principal is at it. Cancel safe.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Whether it is this day, counted from 1970, and was read.
    pub(crate) fn is(&self, today: i64) -> bool {
        self.tally.lock().day == Some(today)
    }

    /// It is this day, with these jobs. What was set aside for jobs that do not exist yet stays so: they may begin today.
    pub(crate) fn read(&self, today: i64, jobs: Vec<Known>) {
        let mut current = self.tally.lock();
        let before = std::mem::take(&mut *current);
        let planned = before.open.into_iter();
        let mut tally = Tally {
            day: Some(today),
            open: planned
                .filter(|(_, open)| matches!(open, Open::Planned(_)))
                .collect(),
            // A share names its number, so none is given twice.
            next: before.next,
            ..Tally::default()
        };
        for job in jobs {
            match job {
                Known::Live(job) => {
                    tally.add(Open::Job(job));
                }
                Known::Over(state) => tally.count(spent(&state)),
            }
        }
        *current = tally;
    }

    /// What is used, or set aside, of each currency.
    pub(crate) fn used(&self) -> BTreeMap<String, Amount> {
        let open: Vec<(u64, Open)> = {
            let tally = self.tally.lock();
            let open = tally.open.iter();
            open.map(|(number, open)| (*number, open.clone())).collect()
        };
        // A job is looked at without the list: no lock is taken below another here.
        let mut done = Vec::new();
        let mut live = Vec::new();
        for (number, open) in open {
            match open {
                Open::Planned(amounts) => live.push(owned(&amounts)),
                Open::Job(job) if is_settled(&job) => done.push((number, spent(&job.state()))),
                Open::Job(job) => live.push(at_most(&job)),
            }
        }
        let mut tally = self.tally.lock();
        for (number, amounts) in done {
            if tally.open.remove(&number).is_some() {
                tally.count(amounts);
            }
        }
        let mut sum = tally.past.clone();
        live.into_iter().for_each(|amounts| add(&mut sum, amounts));
        sum
    }

    /// Sets aside what a job without a name yet may use.
    pub(crate) fn set_aside(self: Arc<Self>, amounts: Amounts) -> DayShare {
        let number = self.tally.lock().add(Open::Planned(amounts));
        DayShare { day: self, number }
    }
}

impl Tally {
    fn add(&mut self, open: Open) -> u64 {
        self.next += 1;
        self.open.insert(self.next, open);
        self.next
    }

    fn count(&mut self, amounts: Vec<(String, Amount)>) {
        add(&mut self.past, amounts);
    }
}

impl DayShare {
    /// There is a job: what it uses, and gives back, says the job from now on.
    pub(crate) fn becomes(self, job: &Arc<JobEntry>) {
        let mut tally = self.day.tally.lock();
        if tally.day == Some(day_of(job.row.created_at)) {
            tally.open.insert(self.number, Open::Job(Arc::clone(job)));
        } else {
            // It was accepted on the day before the one that is counted.
            tally.open.remove(&self.number);
        }
    }
}

impl Drop for DayShare {
    fn drop(&mut self) {
        let mut tally = self.day.tally.lock();
        if matches!(tally.open.get(&self.number), Some(Open::Planned(_))) {
            tally.open.remove(&self.number);
        }
    }
}

/// The day of a moment, counted from 1970; it begins at midnight UTC.
pub(crate) const fn day_of(at: Timestamp) -> i64 {
    at.unix_micros().div_euclid(DAY)
}

/// When a day begins.
pub(crate) fn beginning(day: i64) -> Timestamp {
    Timestamp::from_unix_micros(day * DAY)
}

/// A day in microseconds.
const DAY: i64 = 86_400_000_000;

/// Whether a job's spending is what it will ever be: it has ended, and so have those that may give something back to it.
fn is_settled(job: &JobEntry) -> bool {
    job.ended.is_cancelled() && !job.lock().kin.has_descendants()
}

/// What a job that lives may use, or has used where that is more.
fn at_most(job: &JobEntry) -> Vec<(String, Amount)> {
    let used: BTreeMap<String, Amount> = spent(&job.state()).into_iter().collect();
    let caps = owned(&amounts(&job.row.lease)).into_iter();
    caps.map(|(currency, cap)| {
        let used = used.get(&currency).copied().unwrap_or_default();
        (currency, cap.max(used))
    })
    .collect()
}

fn spent(state: &JobState) -> Vec<(String, Amount)> {
    let budget = state.budget.as_ref();
    let budget: Option<Budget> = budget.and_then(|budget| budget.read().ok());
    budget.map_or_else(Vec::new, |budget| budget.spent().collect())
}

/// The amounts of a lease that was validated, so that they parse.
pub(crate) fn amounts(lease: &Lease) -> Amounts {
    Amounts::parse(lease.patterns(namespace::COST_BUDGET)).unwrap_or_default()
}

fn owned(amounts: &Amounts) -> Vec<(String, Amount)> {
    let all = amounts.iter();
    all.map(|(currency, amount)| (currency.to_owned(), amount))
        .collect()
}

/// Sums that have no exact form stand at what they were with the larger of the two.
fn add(sums: &mut BTreeMap<String, Amount>, amounts: Vec<(String, Amount)>) {
    for (currency, amount) in amounts {
        let sum = sums.entry(currency).or_default();
        *sum = sum.checked_add(amount).unwrap_or_else(|| amount.max(*sum));
    }
}

/// How many principals' days are kept before those that nobody uses are let go.
const MANY: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 20-1] What is set aside when midnight comes stays set aside, and is given back by whoever has it, and by nobody else.
    #[test]
    fn midnight_keeps_what_is_set_aside() {
        let day = Arc::new(Day::default());
        let aside = |text: &str| {
            let amounts = Amounts::parse(&[text.to_owned()]);
            day.clone().set_aside(amounts.unwrap_or_default())
        };
        let used = || day.used().remove("USD").unwrap_or_default().to_string();
        day.read(1, Vec::new());
        let before = aside("USD:5");
        day.read(2, Vec::new());
        let after = aside("USD:3");
        assert_eq!(used(), "8");
        drop(before);
        assert_eq!(used(), "3");
        drop(after);
        assert_eq!(used(), "0");
    }
}
