//! Money: the amounts of `cost.budget` and the counters of one job [ARCP 9.6-1 to 9.6-4].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use towline_wire::{Amount, ErrorCode};

use super::{error::shorten, exact::Exact, limits::MAX_CURRENCIES};

/// An amount per currency: the `cost.budget` of a lease, added up, or what a child reserves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amounts(BTreeMap<String, Amount>);

/// A `cost.budget` that cannot be used [ARCP 9.6-1].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// Not `currency:digits[.digits]`.
    #[error("cost.budget `{}` is not an amount such as USD:5.00, of at most 28 significant digits", shorten(.0))]
    Malformed(String),
    /// The amounts of one currency add up to more than 28 digits.
    #[error("cost.budget amounts of `{}` add up to more than 28 significant digits", shorten(.0))]
    SumTooLarge(String),
    /// Too many currencies.
    #[error("cost.budget names more than 64 currencies")]
    TooManyCurrencies,
}

/// The counters of one job, one per budgeted currency.
///
/// The value is the whole state: it may be stored with serde and read back. [`apply_metric`](Self::apply_metric) takes
/// what the agent reports; [`reserve`](Self::reserve) sets aside what a child gets, and [`settle`](Self::settle) takes
/// back what the child left when it ends. A counter may go below zero, since what was spent was spent; from zero on
/// nothing is allowed any more [ARCP 9.6-3].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Budget {
    counters: BTreeMap<String, Counter>,
    /// Costs of currencies without a counter: they bound nothing, and are told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unbounded: BTreeMap<String, Amount>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    cap: Amount,
    remaining: Exact,
    /// What was spent since `cost.budget.remaining` was last reported.
    unreported: Exact,
}

/// What is left of one currency, to be told as `metric{name:"cost.budget.remaining"}` [ARCP 9.6-4].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remaining {
    /// The currency, the metric's unit.
    pub currency: String,
    /// What is left; below zero when more was spent than allowed.
    pub amount: Amount,
}

/// What a metric did to the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Charge {
    /// It is no cost of a budgeted currency.
    None,
    /// It was subtracted.
    Spent {
        /// To be reported after the metric, when enough changed.
        report: Option<Remaining>,
        /// Whether this metric used the budget up; it is delivered all the same [ARCP 9.6-3].
        exhausted_now: bool,
    },
}

/// A metric that may not be emitted: nothing was subtracted, and the agent gets an error [ARCP 9.6-2].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metric `{}`: a cost may not be negative, got {value}", shorten(.name))]
pub struct MetricRefused {
    name: String,
    value: Amount,
}

/// A reservation that is larger than what is left [ARCP 9.4-2].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cost.budget {}:{wanted} is more than the {remaining} that the parent has left", shorten(.currency))]
pub struct ReserveError {
    /// The currency.
    pub currency: String,
    /// What was to be reserved.
    pub wanted: Amount,
    /// What is left.
    pub remaining: Amount,
}

impl Amounts {
    /// No amount of any currency.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Reads `currency ":" digits [ "." digits ]`; the same currency twice adds up [ARCP 9.6-1].
    ///
    /// # Errors
    /// [`BudgetError`] naming the text or currency at fault.
    pub fn parse(texts: &[String]) -> Result<Self, BudgetError> {
        let mut sums: BTreeMap<&str, (Exact, u32)> = BTreeMap::new();
        for text in texts {
            let (currency, amount) =
                parse_amount(text).ok_or_else(|| BudgetError::Malformed(text.clone()))?;
            let (sum, scale) = sums.entry(currency).or_default();
            (*sum, *scale) = (*sum + amount.into(), amount.decimal().scale().max(*scale));
            if !sum.fits() {
                return Err(BudgetError::SumTooLarge(currency.to_owned()));
            }
        }
        if sums.len() > MAX_CURRENCIES {
            return Err(BudgetError::TooManyCurrencies);
        }
        let amounts = sums
            .into_iter()
            .map(|(currency, (sum, scale))| (currency.to_owned(), sum.amount(scale)));
        Ok(Self(amounts.collect()))
    }

    /// The amount of a currency.
    pub fn of(&self, currency: &str) -> Option<Amount> {
        self.0.get(currency).copied()
    }

    /// Every currency with its amount, in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Amount)> {
        self.0
            .iter()
            .map(|(currency, amount)| (currency.as_str(), *amount))
    }

    /// Whether no currency is budgeted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As `cost.budget` of a lease: `["USD:5.00"]`.
    pub fn to_texts(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(currency, amount)| format!("{currency}:{amount}"))
            .collect()
    }
}

impl FromIterator<(String, Amount)> for Amounts {
    fn from_iter<T: IntoIterator<Item = (String, Amount)>>(amounts: T) -> Self {
        Self(amounts.into_iter().collect())
    }
}

impl Budget {
    /// Full counters.
    pub fn new(amounts: &Amounts) -> Self {
        let counter = |(currency, cap): (&str, Amount)| (currency.to_owned(), Counter::full(cap));
        Self {
            counters: amounts.iter().map(counter).collect(),
            unbounded: BTreeMap::new(),
        }
    }

    /// What is left of each currency now, in name order.
    pub fn remaining(&self) -> impl Iterator<Item = (&str, Amount)> {
        self.counters
            .iter()
            .map(|(currency, counter)| (currency.as_str(), counter.left()))
    }

    /// What was spent of each currency, or is set aside for children, in name order; more than there was where more was
    /// spent.
    pub fn spent(&self) -> impl Iterator<Item = (String, Amount)> {
        self.counters.iter().map(|(currency, counter)| {
            let spent = counter.cap.checked_sub(counter.left());
            (currency.clone(), spent.unwrap_or(counter.cap))
        })
    }

    /// What was spent of every currency, budgeted or not: as [`spent`](Self::spent), and what else was reported as a cost.
    pub fn costs(&self) -> impl Iterator<Item = (String, Amount)> {
        let unbounded = self.unbounded.iter();
        let unbounded = unbounded.map(|(currency, cost)| (currency.clone(), *cost));
        self.spent().chain(unbounded)
    }

    /// Whether no currency is budgeted.
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }

    /// Whether there is nothing to keep: no currency is budgeted, and nothing was spent.
    pub fn is_untouched(&self) -> bool {
        self.counters.is_empty() && self.unbounded.is_empty()
    }

    /// The first currency of which nothing is left [ARCP 9.6-3].
    pub fn exhausted(&self) -> Option<Remaining> {
        let spent = self
            .counters
            .iter()
            .find(|(_, counter)| counter.is_exhausted());
        spent.map(|(currency, counter)| counter.report(currency))
    }

    /// Takes a metric that the agent emits. A name that begins with `cost.` and a unit that is a budgeted currency make
    /// it a cost; `cost.budget.remaining` is none [ARCP 9.6-2].
    ///
    /// # Errors
    /// [`MetricRefused`] for a negative cost.
    pub fn apply_metric(
        &mut self,
        name: &str,
        value: &Amount,
        unit: Option<&str>,
    ) -> Result<Charge, MetricRefused> {
        let is_cost = name.starts_with("cost.") && name != REMAINING_METRIC;
        let Some(currency) = unit.filter(|_| is_cost) else {
            return Ok(Charge::None);
        };
        let Some(counter) = self.counters.get_mut(currency) else {
            self.note(currency, *value);
            return Ok(Charge::None);
        };
        if value.is_negative() {
            return Err(MetricRefused {
                name: name.to_owned(),
                value: *value,
            });
        }
        let was_exhausted = counter.is_exhausted();
        counter.remaining = counter.remaining - (*value).into();
        let report = counter.spend((*value).into(), was_exhausted, currency);
        Ok(Charge::Spent {
            report,
            exhausted_now: !was_exhausted && counter.is_exhausted(),
        })
    }

    /// Notes a cost that bounds nothing. What is no cost of a currency is passed over, and so are too many currencies.
    fn note(&mut self, currency: &str, cost: Amount) {
        if cost.is_negative() {
            return;
        }
        if let Some(sum) = self.unbounded.get_mut(currency) {
            *sum = sum.checked_add(cost).unwrap_or(*sum);
        } else if self.unbounded.len() < MAX_CURRENCIES && is_currency(currency) {
            self.unbounded.insert(currency.to_owned(), cost);
        }
    }

    /// Adds to what a currency may cost, because a person approved it [ARCP 15-8]. Gives what has to be reported;
    /// `None` when the currency is not budgeted, or the sum has too many digits, and then nothing is changed.
    pub fn raise(&mut self, currency: &str, amount: Amount) -> Option<Remaining> {
        let counter = self.counters.get_mut(currency)?;
        let (cap, remaining) = (
            counter.cap.checked_add(amount)?,
            counter.remaining + amount.into(),
        );
        (counter.cap, counter.remaining) = (cap, remaining);
        counter.unreported = Exact::ZERO;
        Some(counter.report(currency))
    }

    /// The most that a currency may cost.
    pub fn cap(&self, currency: &str) -> Option<Amount> {
        self.counters.get(currency).map(|counter| counter.cap)
    }

    /// Sets aside what a child gets, all of it or nothing [ARCP 9.4-2].
    ///
    /// # Errors
    /// [`ReserveError`] when more is asked than is left, and then nothing is changed.
    pub fn reserve(&mut self, wanted: &Amounts) -> Result<(), ReserveError> {
        self.can_reserve(wanted)?;
        for (currency, amount) in wanted.iter() {
            if let Some(counter) = self.counters.get_mut(currency) {
                counter.remaining = counter.remaining - amount.into();
            }
        }
        Ok(())
    }

    /// Takes back what a child left when it ends, and counts what it spent as spent here. Every currency budgeted here
    /// was reserved for the child, whose counters began there; its own further currencies do not matter. To be called
    /// once per child, after the child's children were settled.
    ///
    /// Returns what has to be reported on this job.
    pub fn settle(&mut self, child: &Self) -> Vec<Remaining> {
        let mut reports = Vec::new();
        for (currency, ended) in &child.counters {
            let Some(counter) = self.counters.get_mut(currency) else {
                continue;
            };
            let reserved = Exact::from(ended.cap);
            let was_exhausted = (counter.remaining + reserved) <= Exact::ZERO;
            counter.remaining = counter.remaining + ended.remaining;
            reports.extend(counter.spend(reserved - ended.remaining, was_exhausted, currency));
        }
        for (currency, cost) in &child.unbounded {
            if !self.counters.contains_key(currency) {
                self.note(currency, *cost);
            }
        }
        reports
    }

    /// What is to be reserved for a child that asks for `wanted`: that, plus everything left of each currency that is
    /// budgeted here and that it does not name.
    ///
    /// # Errors
    /// [`ReserveError`] when more is asked than is left.
    pub(super) fn share(&self, wanted: &Amounts) -> Result<Amounts, ReserveError> {
        self.can_reserve(wanted)?;
        let share = |(currency, counter): (&String, &Counter)| {
            let amount = wanted.of(currency).unwrap_or_else(|| counter.left());
            (currency.clone(), amount)
        };
        Ok(self.counters.iter().map(share).collect())
    }

    fn can_reserve(&self, wanted: &Amounts) -> Result<(), ReserveError> {
        let lacking = |(currency, amount): &(&str, Amount)| {
            self.counters
                .get(*currency)
                .is_some_and(|counter| Exact::from(*amount) > counter.remaining)
        };
        match wanted.iter().find(lacking) {
            None => Ok(()),
            Some((currency, wanted)) => Err(ReserveError {
                currency: currency.to_owned(),
                wanted,
                remaining: self
                    .counters
                    .get(currency)
                    .map_or(Amount::ZERO, Counter::left),
            }),
        }
    }
}

impl ReserveError {
    /// How it is told to the peer.
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::LEASE_SUBSET_VIOLATION
    }
}

impl Counter {
    fn full(cap: Amount) -> Self {
        Self {
            cap,
            remaining: cap.into(),
            unreported: Exact::ZERO,
        }
    }

    fn left(&self) -> Amount {
        self.remaining.amount(self.cap.decimal().scale())
    }

    fn is_exhausted(&self) -> bool {
        self.remaining <= Exact::ZERO
    }

    fn report(&self, currency: &str) -> Remaining {
        Remaining {
            currency: currency.to_owned(),
            amount: self.left(),
        }
    }

    /// Notes what was spent; reports once that is 5 % of the cap, or when it used the budget up [ARCP 9.6-4].
    fn spend(&mut self, spent: Exact, was_exhausted: bool, currency: &str) -> Option<Remaining> {
        self.unreported = self.unreported + spent;
        let crossed = !was_exhausted && self.is_exhausted();
        let material =
            self.unreported > Exact::ZERO && self.unreported.times(20) >= self.cap.into();
        (crossed || material).then(|| {
            self.unreported = Exact::ZERO;
            self.report(currency)
        })
    }
}

/// The metric that reports what is left.
const REMAINING_METRIC: &str = "cost.budget.remaining";

fn parse_amount(text: &str) -> Option<(&str, Amount)> {
    let (currency, number) = text.split_once(':')?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let valid = is_currency(currency) && digits(whole) && digits(decimals);
    Some((currency, valid.then(|| number.parse().ok()).flatten()?))
}

fn is_currency(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.len() <= 256
        && text.bytes().all(rest)
}
