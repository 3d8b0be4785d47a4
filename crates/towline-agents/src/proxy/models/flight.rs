//! The calls of a job that are under way, and how they share what is left of its budget.
//!
//! A call is let through as long as something would be left if all that are under way cost as much as they can; else it
//! waits for one of them. So a call that uses the budget up is the last one, however many a program makes at once
//! [ARCP 18-3].

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;
use towline_runtime::JobContext;
use towline_wire::Amount;

/// The calls of one job.
#[derive(Debug, Clone)]
pub(super) struct Flight(Arc<watch::Sender<Air>>);

#[derive(Debug, Default)]
struct Air {
    calls: usize,
    /// What they may cost at most, by currency.
    reserved: BTreeMap<String, Amount>,
    /// Whether one of them used the budget up.
    spent: bool,
}

/// A call that is under way: over when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    flight: Flight,
    reserved: Option<(String, Amount)>,
}

impl Flight {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Air::default())))
    }

    /// Waits until a call that may cost so much can be let through. Cancel safe.
    pub(super) async fn seat(&self, ctx: &JobContext, most: Option<(&str, Amount)>) -> Seat {
        let mut changed = self.0.subscribe();
        loop {
            if let Some(seat) = self.try_seat(ctx, most) {
                return seat;
            }
            // The sender is here.
            let _ = changed.changed().await;
        }
    }

    fn try_seat(&self, ctx: &JobContext, most: Option<(&str, Amount)>) -> Option<Seat> {
        let left = most.and_then(|(currency, _)| ctx.budget().get(currency).copied());
        let seated = self.0.send_if_modified(|air| {
            let (Some(left), Some((currency, most))) = (left, most) else {
                air.calls += 1;
                return true;
            };
            let reserved = air.reserved.entry(currency.to_owned()).or_default();
            // With nothing left it is let through to be refused.
            let after = left.checked_sub(*reserved);
            let waits = *reserved > Amount::ZERO && after.is_none_or(|left| left <= Amount::ZERO);
            let sum = reserved.checked_add(most);
            match sum.filter(|_| !waits || left <= Amount::ZERO) {
                Some(sum) => *reserved = sum,
                None => return false,
            }
            air.calls += 1;
            true
        });
        seated.then(|| Seat {
            flight: self.clone(),
            reserved: left
                .and(most)
                .map(|(currency, most)| (currency.to_owned(), most)),
        })
    }

    /// A call used the budget up.
    pub(super) fn spent(&self) {
        self.0.send_modify(|air| air.spent = true);
    }

    /// Whether one did.
    pub(super) fn is_spent(&self) -> bool {
        self.0.borrow().spent
    }

    /// Waits until the budget is used up and no call is under way any more. Cancel safe.
    pub(super) async fn down(&self) {
        let mut changed = self.0.subscribe();
        // The sender is here.
        let _ = changed.wait_for(|air| air.spent && air.calls == 0).await;
    }

    /// Waits until no call is under way. Cancel safe.
    pub(super) async fn landed(&self) {
        let mut changed = self.0.subscribe();
        let _ = changed.wait_for(|air| air.calls == 0).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let reserved = self.reserved.take();
        self.flight.0.send_modify(|air| {
            air.calls -= 1;
            let Some((currency, most)) = reserved else {
                return;
            };
            if let Some(sum) = air.reserved.get_mut(&currency) {
                *sum = sum.checked_sub(most).unwrap_or(Amount::ZERO);
            }
        });
    }
}
