//! What a submit gets of its principal's day [ARCP 20-1].

use towline_proto::{
    lease::{Amounts, DayRest},
    refusal::Refusal,
};
use towline_store::{JobQuery, Principal, StoreError};
use towline_wire::{ErrorCode, Lease, Timestamp};

use super::asker::store_refusal;
use crate::hub::{Day, DayShare, Hub, JobView, Known, amounts, beginning, day_of};

/// The lease with no more than is left of the principal's day, and the share that is set aside for it. Nothing is set aside
/// for those without such a budget.
///
/// # Errors
/// BUDGET_EXHAUSTED when nothing is left; what the store says when today's jobs cannot be read.
pub(super) async fn within_day(
    hub: &Hub,
    principal: &Principal,
    lease: Lease,
) -> Result<(Lease, Option<DayShare>), Refusal> {
    let policy = hub.services.access.as_ref();
    let Some(most) = policy.and_then(|policy| policy.budget_per_day(principal)) else {
        return Ok((lease, None));
    };
    let day = hub.books.days.of(principal);
    let _turn = day.turn().await;
    let today = day_of(hub.now());
    if !day.is(today) {
        let read = read(hub, &day, principal, today).await;
        read.map_err(|error| store_refusal(&error))?;
    }
    let used = day.used();
    let rest = DayRest::of(&most, used.iter().map(|(name, amount)| (&**name, *amount)));
    let lease = rest
        .cut(&lease, &amounts(&lease))
        .map_err(|spent| exhausted(hub, principal, &most, &spent.currency))?;
    let share = day.clone().set_aside(amounts(&lease));
    Ok((lease, Some(share)))
}

/// Reads what the principal's jobs of a day have used.
async fn read(hub: &Hub, day: &Day, principal: &Principal, today: i64) -> Result<(), StoreError> {
    // What was accepted before shows.
    hub.barrier().await;
    let mut jobs = Vec::new();
    let mut query = JobQuery {
        principals: Some(vec![principal.clone()]),
        // The bound itself is left out.
        created_after: Some(just_before(beginning(today))),
        limit: PAGE,
        ..JobQuery::default()
    };
    loop {
        let page = hub.services.store.list_jobs(query.clone()).await?;
        for job in page.jobs.iter().filter(|job| job.parent.is_none()) {
            jobs.extend(hub.job(&job.id).await?.map(|job| match job {
                JobView::Live(entry) => Known::Live(entry),
                JobView::Stored(row) => Known::Over(Box::new(row.state)),
            }));
        }
        if page.next.is_none() {
            break;
        }
        query.after = page.next;
    }
    day.read(today, jobs);
    Ok(())
}

fn just_before(moment: Timestamp) -> Timestamp {
    Timestamp::from_unix_micros(moment.unix_micros() - 1)
}

fn exhausted(hub: &Hub, principal: &Principal, most: &Amounts, currency: &str) -> Refusal {
    let role = hub.services.role_of(principal);
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

/// How many jobs are read at once.
const PAGE: usize = 1000;
