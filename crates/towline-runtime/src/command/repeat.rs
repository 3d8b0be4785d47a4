//! Submits that are repeated under one idempotency key (§7.2).

use std::sync::Arc;

use towline_proto::{fingerprint, limits, refusal::Refusal, server::Submission};
use towline_store::JobRow;
use towline_wire::{ErrorCode, JobSeq};

use super::{
    accept::{ClaimedKey, accepted},
    asker::{Asker, store_refusal},
    subscribe::{self, Answer},
};
use crate::{
    credentials::Ledger,
    hub::{Hub, JobView},
    session::Reply,
};

/// What an idempotency key stands for.
pub(super) enum Claim {
    /// The submit has none.
    NoKey,
    /// Nothing yet. No other submit of it gets here before it is dropped.
    Free(ClaimedKey),
    /// This job.
    Known(Box<JobRow>),
}

/// Finds out what a submit's idempotency key stands for [ARCP 7.2-1, 7.2-2].
pub(super) async fn claim_key(
    hub: &Hub,
    asker: &Asker,
    submission: &Submission,
) -> Result<Claim, Refusal> {
    let Some(key) = &submission.payload.idempotency_key else {
        return Ok(Claim::NoKey);
    };
    let fingerprint = fingerprint::of_submit(&submission.raw)
        .map_err(|cause| Refusal::invalid(cause.to_string()))?;
    let principal = &asker.session.principal;
    let store = &hub.services.store;
    let claimed = ClaimedKey {
        guard: hub.books.keys.acquire(principal, key).await,
        key: key.clone(),
        fingerprint,
    };
    let known = store
        .idempotency(principal, key)
        .await
        .map_err(|error| store_refusal(&error))?;
    let Some(known) = known.filter(|known| limits::key_stands(known.created_at, hub.now())) else {
        return Ok(Claim::Free(claimed));
    };
    if known.fingerprint != fingerprint {
        let message = "`idempotency_key` stands for a submit with other parameters";
        let details = serde_json::json!({ "existing_job_id": known.job });
        return Err(Refusal::new(ErrorCode::DUPLICATE_KEY, message).with_details(details));
    }
    let job = store.job(&known.job).await;
    Ok(match job.map_err(|error| store_refusal(&error))? {
        Some(row) => Claim::Known(Box::new(row)),
        // Retention has taken the job; its key is as good as unused.
        None => Claim::Free(claimed),
    })
}

/// A session that repeated another one's submit watches that job from its start, and is told `job.accepted`
/// [ARCP 7.2-1].
pub(super) async fn attach_to_known(hub: &Arc<Hub>, asker: Asker, row: JobRow) {
    if !asker.has_stream() {
        let credentials = Ledger::shown(hub, &row, &asker.session, true);
        let envelope = accepted(&row, asker.request.clone(), credentials);
        return asker.reply(Reply::announcing(envelope, row.id.clone()));
    }
    if row.session == asker.session.id {
        let state = match hub.books.jobs.get(&row.id) {
            // The end of one that is about to end is still to come.
            Some(entry) => entry.ended.is_cancelled().then(|| entry.state()),
            None => Some(row.state.clone()),
        };
        let repeats = state.and_then(|state| asker.number_of_end(&row.id, &state));
        let credentials = Ledger::shown(hub, &row, &asker.session, true);
        let envelope = accepted(&row, asker.request.clone(), credentials);
        return asker.reply(Reply {
            repeats,
            ..Reply::announcing(envelope, row.id.clone())
        });
    }
    let trace = row.trace;
    let view = match hub.books.jobs.get(&row.id) {
        Some(entry) => JobView::Live(entry),
        None => JobView::Stored(Box::new(row)),
    };
    let history = Some(JobSeq::ZERO);
    let watched = subscribe::watch(hub, &asker, view, history, Answer::Accepted).await;
    if let Err(refusal) = watched {
        asker.refuse_submit(&refusal, Some(trace));
    }
}
