//! Submits that are repeated under one idempotency key (§7.2).

use std::{sync::Arc, time::Duration};

use towline_proto::{fingerprint, refusal::Refusal, server::Submission, span::RecordKind};
use towline_store::JobRow;
use towline_wire::{Envelope, ErrorCode, JobSeq, MessageType};

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
    let Some(known) = known.filter(|known| hub.now().since(known.created_at) < KEY_LIFE) else {
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
    if row.session == asker.session.id {
        let followed_by = end_once_more(hub, &asker, &row).await;
        let credentials = Ledger::shown(hub, &row, &asker.session, true).await;
        let envelope = accepted(&row, asker.request.clone(), credentials);
        return asker.reply(Reply {
            followed_by,
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

/// The end of a finished job, for a client that waits for it although its session was told long ago.
async fn end_once_more(hub: &Hub, asker: &Asker, row: &JobRow) -> Option<Envelope> {
    let dialect = asker.session.lock().dialect;
    if !dialect.waits_for_the_end_of_known_jobs() || !row.state.status.is_terminal() {
        return None;
    }
    // Without the record the client is where it would be with any other runtime.
    let block = hub.block(&row.id, row.state.last_seq).await.ok()??;
    let (kind, payload) = block.payload(row.state.last_seq)?;
    let kind = match kind {
        RecordKind::Result => MessageType::JOB_RESULT,
        _ => MessageType::JOB_ERROR,
    };
    let end = Envelope {
        payload,
        ..Envelope::new(kind)
    };
    Some(end.with_job(row.id.clone()).with_trace(Some(row.trace)))
}

/// How long a key stands for its job [ARCP 7.2-3].
const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);
