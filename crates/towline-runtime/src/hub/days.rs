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
use towline_proto::{
    lease::{Amounts, Budget, DayRest},
    refusal::Refusal,
};
use towline_store::{JobQuery, JobState, Principal, StoreError};
use towline_wire::{Amount, ErrorCode, Lease, Timestamp, namespace};

use super::{Hub, JobView};
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

/// What is set aside for a job; given back when it is dropped before there is one.
pub(crate) struct DayShare {
    day: Arc<Day>,
    number: u64,
}

impl Hub {
    /// The lease with no more than is left of the principal's day, and the share that is set aside for it. Nothing is set
    /// aside for those without such a budget.
    ///
    /// # Errors
    /// BUDGET_EXHAUSTED when nothing is left; what the store says when today's jobs cannot be read.
    pub(crate) async fn within_day(
        &self,
        principal: &Principal,
        lease: Lease,
    ) -> Result<(Lease, Option<DayShare>), Refusal> {
        let policy = self.services.access.as_ref();
        let Some(most) = policy.and_then(|policy| policy.budget_per_day(principal)) else {
            return Ok((lease, None));
        };
        let day = self.books.days.of(principal);
        let _turn = day.turn.lock().await;
        let today = day_of(self.now());
        if day.tally.lock().day != Some(today) {
            self.read_day(&day, principal, today)
                .await
                .map_err(|error| {
                    Refusal::internal(format!("today's jobs cannot be read: {error}"))
                })?;
        }
        let used = day.used();
        let rest = DayRest::of(&most, used.iter().map(|(name, amount)| (&**name, *amount)));
        let lease = rest
            .cut(&lease, &amounts(&lease))
            .map_err(|spent| self.day_is_spent(principal, &most, &spent.currency))?;
        let share = Arc::clone(&day).set_aside(amounts(&lease));
        Ok((lease, Some(share)))
    }

    /// Reads what the principal's jobs of a day have used.
    async fn read_day(
        &self,
        day: &Day,
        principal: &Principal,
        today: i64,
    ) -> Result<(), StoreError> {
        // What was accepted before shows.
        self.barrier().await;
        let mut tally = Tally {
            day: Some(today),
            ..Tally::default()
        };
        let mut query = JobQuery {
            principals: Some(vec![principal.clone()]),
            created_after: Some(Timestamp::from_unix_micros(today * DAY - 1)),
            limit: PAGE,
            ..JobQuery::default()
        };
        loop {
            let page = self.services.store.list_jobs(query.clone()).await?;
            for job in page.jobs.iter().filter(|job| job.parent.is_none()) {
                match self.job(&job.id).await? {
                    Some(JobView::Live(entry)) => {
                        tally.add(Open::Job(entry));
                    }
                    Some(JobView::Stored(row)) => tally.count(spent(&row.state)),
                    None => {}
                }
            }
            if page.next.is_none() {
                break;
            }
            query.after = page.next;
        }
        *day.tally.lock() = tally;
        Ok(())
    }

    fn day_is_spent(&self, principal: &Principal, most: &Amounts, currency: &str) -> Refusal {
        let role = self.services.role_of(principal);
        let whose = role.map_or_else(
            || "this principal".to_owned(),
            |role| format!("a principal of role `{role}`"),
        );
        let most = most.of(currency).unwrap_or_default();
        Refusal::new(
            ErrorCode::BUDGET_EXHAUSTED,
            format!(
                "{currency}:{most} is what {whose} may spend a day, and all of it is spent or set aside for jobs that run; \
                 wait for one to end, or for midnight UTC"
            ),
        )
    }
}

impl Days {
    fn of(&self, principal: &Principal) -> Arc<Day> {
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
    /// What is used, or set aside, of each currency.
    fn used(&self) -> BTreeMap<String, Amount> {
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

    fn set_aside(self: Arc<Self>, amounts: Amounts) -> DayShare {
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
        // Gone when the day is over; then it counts to yesterday.
        if let Some(open) = self.day.tally.lock().open.get_mut(&self.number) {
            *open = Open::Job(Arc::clone(job));
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

/// A granted lease was validated, so its amounts parse.
fn amounts(lease: &Lease) -> Amounts {
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

const fn day_of(now: Timestamp) -> i64 {
    now.unix_micros().div_euclid(DAY)
}

/// A day in microseconds.
const DAY: i64 = 86_400_000_000;

/// How many jobs are read at once.
const PAGE: usize = 1000;

/// How many principals' days are kept before those that nobody uses are let go.
const MANY: usize = 4096;
