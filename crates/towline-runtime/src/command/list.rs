//! `session.list_jobs` (§6.6).

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use towline_proto::{lease::Budget, limits, refusal::Refusal};
use towline_store::{JobPage, JobQuery, JobState, JobSummary, ListCursor, Principal};
use towline_wire::{
    AgentRef, Amount, Feature, JobId, JobStatus, Timestamp,
    payload::{self, ListOrder},
};

use super::{
    asker::{Asker, envelope, store_refusal},
    follow, inbox,
};
use crate::{hub::Hub, job::remaining, life, session::Reply};

pub(super) async fn list(hub: &Arc<Hub>, asker: &Asker, list: payload::ListJobs) {
    // What the session asked for before shows in the list.
    hub.barrier().await;
    let following = follow::begin(hub, asker, &list);
    match page(hub, asker, list).await {
        Ok(jobs) => {
            asker.reply(Reply::plain(envelope(&jobs)));
            if let Some(following) = following {
                follow::go_on(hub, following);
            }
        }
        Err(refusal) => asker.refuse(&refusal),
    }
}

/// The jobs asked for, of those that a principal may see.
pub(crate) async fn jobs(
    hub: &Hub,
    principal: &Principal,
    list: payload::ListJobs,
) -> Result<JobPage, Refusal> {
    let query = query(hub, principal, list)?;
    let page = hub.services.store.list_jobs(query).await;
    page.map_err(|error| store_refusal(&error))
}

async fn page(hub: &Hub, asker: &Asker, list: payload::ListJobs) -> Result<payload::Jobs, Refusal> {
    let details = list.details || asker.session.lock().features.has(Feature::List);
    let page = jobs(hub, &asker.session.principal, list).await?;
    Ok(payload::Jobs {
        request_id: asker.request.clone(),
        jobs: page
            .jobs
            .iter()
            .map(|row| listing(hub, row, details))
            .collect(),
        next_cursor: page.next.as_ref().map(write_cursor),
    })
}

pub(super) fn query(
    hub: &Hub,
    principal: &Principal,
    list: payload::ListJobs,
) -> Result<JobQuery, Refusal> {
    let filter = list.filter.unwrap_or_default();
    let limit = limits::page_jobs(list.limit)?;
    let agent = filter.agent.as_deref().map(AgentRef::parse).transpose();
    let after = list
        .cursor
        .as_deref()
        .map(|text| read_cursor(text).ok_or_else(bad_cursor))
        .transpose()?;
    let principals = hub
        .services
        .observe
        .observable(principal)
        .map(|mut others| {
            others.push(principal.clone());
            others
        });
    Ok(JobQuery {
        principals,
        status: filter.status,
        agent: agent.map_err(|cause| Refusal::invalid(format!("`filter.agent`: {cause}")))?,
        created_after: filter.created_after.map(end_of_millisecond),
        created_before: filter.created_before,
        after,
        newest_first: list.order == Some(ListOrder::Desc),
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
    })
}

/// Clients see milliseconds: what shows the very moment they name is not after it.
fn end_of_millisecond(moment: Timestamp) -> Timestamp {
    let micros = moment.unix_micros();
    Timestamp::from_unix_micros(micros.saturating_add(999 - micros.rem_euclid(1000)))
}

fn bad_cursor() -> Refusal {
    Refusal::invalid("`cursor` is not one this runtime gave out; begin again without one")
}

/// With `details`, what no draft has as well.
pub(super) fn listing(hub: &Hub, row: &JobSummary, details: bool) -> payload::JobListing {
    let state = &row.state;
    payload::JobListing {
        principal: details.then(|| row.principal.as_str().to_owned()),
        started_at: state.started_at.filter(|_| details),
        completed_at: state.finished_at.filter(|_| details),
        spent: details.then(|| spent_so_far(state)).flatten(),
        schedule: row
            .planned
            .as_ref()
            .and_then(|planned| planned.schedule.clone())
            .filter(|_| details),
        waiting_for: waiting_for(hub, row).filter(|_| details),
        open_questions: details.then(|| inbox::waiting(hub, &row.id)),
        job_id: row.id.clone(),
        agent: row.agent.to_string(),
        status: row.state.status,
        lease: row.lease.clone(),
        lease_constraints: Some(row.constraints.clone())
            .filter(|constraints| !constraints.is_empty()),
        budget: budget_now(&row.state),
        parent_job_id: row.parent.clone(),
        rerun_of: row.rerun_of.clone(),
        created_at: Some(row.created_at),
        submitted_at: Some(row.created_at),
        trace_id: Some(row.trace),
        last_event_seq: row.state.last_seq,
        // Values do not belong in a listing, and without them there is nothing to show [ARCP 6.6-4, 9.8-5].
        credentials: None,
    }
}

/// Where a job waits for its turn.
pub(crate) fn waiting_for(hub: &Hub, row: &JobSummary) -> Option<payload::WaitingFor> {
    let planned = row.planned.as_ref();
    let waits =
        planned.is_some_and(|planned| planned.waits()) && row.state.status == JobStatus::Pending;
    waits.then(|| life::waiting_for(hub, &row.id)).flatten()
}

/// The counters of a job as it stands.
pub(crate) fn budget_now(state: &JobState) -> Option<BTreeMap<String, Amount>> {
    let budget: Budget = state.budget.as_ref()?.read().ok()?;
    remaining(&budget)
}

/// What a job spent of each currency.
fn spent_so_far(state: &JobState) -> Option<BTreeMap<String, Amount>> {
    let budget: Budget = state.budget.as_ref()?.read().ok()?;
    Some(budget.costs().collect()).filter(|spent: &BTreeMap<String, Amount>| !spent.is_empty())
}

/// Where a page that ends with this job goes on.
pub(crate) fn cursor_after(job: &JobSummary) -> String {
    write_cursor(&ListCursor {
        created_at: job.created_at,
        job: job.id.clone(),
    })
}

/// Opaque to clients: the place in listing order, and nothing of jobs the client may not see.
pub(crate) fn write_cursor(cursor: &ListCursor) -> String {
    URL_SAFE_NO_PAD.encode(format!(
        "{}:{}",
        cursor.created_at.unix_micros(),
        cursor.job
    ))
}

fn read_cursor(text: &str) -> Option<ListCursor> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (micros, job) = text.split_once(':')?;
    Some(ListCursor {
        created_at: Timestamp::from_unix_micros(micros.parse().ok()?),
        job: JobId::parse(job).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 6.6-1] cursors are opaque, go round, and anything else is no cursor.
    #[test]
    fn cursors_go_round() {
        let job = JobId::parse("job_1:2").unwrap();
        let cursor = ListCursor {
            created_at: Timestamp::from_unix_micros(1_700_000_000_123_456),
            job,
        };
        assert_eq!(read_cursor(&write_cursor(&cursor)), Some(cursor));
        for bad in ["", "x", "!!!", "MTIz", "OmpvYg"] {
            assert_eq!(read_cursor(bad), None, "{bad}");
        }
    }
}
