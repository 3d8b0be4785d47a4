//! `job.subscribe` and `job.unsubscribe` (§7.6).

use std::sync::Arc;

use towline_proto::refusal::Refusal;
use towline_store::{Change, JobRow, RecordKind, StoreError};
use towline_wire::{
    ErrorCode, Feature, FeatureSet, JobId, JobSeq, JobStatus, MessageType, payload,
};

use super::{Asker, envelope, store_refusal, submit::accepted};
use crate::{
    audit::{Actor, Audit, Verdict},
    credentials::Ledger,
    hub::{Command, Hub, JobView, Tx},
    job::JobEntry,
    session::{Reply, SessionEntry},
};

pub(super) async fn subscribe(hub: &Arc<Hub>, asker: Asker, job: JobId, history: Option<JobSeq>) {
    if let Err(refusal) = prepare(hub, &asker, &job, history).await {
        asker.refuse_subscribe(&job, &refusal);
    }
}

async fn prepare(
    hub: &Arc<Hub>,
    asker: &Asker,
    job: &JobId,
    history: Option<JobSeq>,
) -> Result<(), Refusal> {
    let view = hub
        .look_up(job)
        .await
        .map_err(|error| store_refusal(&error))?;
    let verdict = may_observe(hub, asker, job, view.as_ref().map(JobView::row));
    audit(
        hub,
        asker,
        job,
        view.as_ref().map(JobView::row),
        verdict.as_ref().err(),
    );
    verdict?;
    let view = view.ok_or_else(|| Refusal::job_not_found(job))?;
    let kinds = known_kinds(hub, asker, job, history).await?;
    let submitted = view.row().session == asker.session.id;
    let credentials = Ledger::shown(hub, view.row(), &asker.session, submitted).await;
    let (asker, answer) = (asker.clone(), Answer::Subscribed);
    hub.command(SubscribeJob {
        view,
        history,
        kinds,
        credentials,
        asker,
        answer,
        plan: None,
    });
    Ok(())
}

/// A session that repeated another one's submit watches that job from its start, and is told `job.accepted`
/// [ARCP 7.2-1].
pub(super) async fn attach_to_known(hub: &Arc<Hub>, asker: Asker, row: JobRow) {
    let id = row.id.clone();
    if row.session == asker.session.id {
        let followed_by = end_once_more(hub, &asker, &row).await;
        let credentials = Ledger::shown(hub, &row, &asker.session, true).await;
        let envelope = accepted(&row, asker.request.clone(), credentials);
        return asker.reply(Reply {
            followed_by,
            ..Reply::announcing(envelope, id)
        });
    }
    let view = match hub.live_job(&id) {
        Some(entry) => JobView::Live(entry),
        None => JobView::Stored(Box::new(row)),
    };
    let kinds = match known_kinds(hub, &asker, &id, Some(JobSeq::ZERO)).await {
        Ok(kinds) => kinds,
        Err(refusal) => return asker.refuse_submit(&refusal, Some(view.row().trace)),
    };
    let history = Some(JobSeq::ZERO);
    let credentials = Ledger::shown(hub, view.row(), &asker.session, true).await;
    hub.command(SubscribeJob {
        view,
        history,
        kinds,
        credentials,
        asker,
        answer: Answer::Accepted,
        plan: None,
    });
}

/// The end of a finished job, for a client that waits for it although its session was told long ago.
async fn end_once_more(
    hub: &Arc<Hub>,
    asker: &Asker,
    row: &JobRow,
) -> Option<towline_wire::Envelope> {
    let waits = asker
        .session
        .lock()
        .dialect
        .waits_for_the_end_of_known_jobs();
    if !waits || !row.state.status.is_terminal() {
        return None;
    }
    // Without the record the client is where it would be with any other runtime.
    let block = hub.block(&row.id, row.state.last_seq).await.ok()??;
    let (kind, payload) = block.payload(row.state.last_seq)?;
    let kind = match kind {
        RecordKind::Result => MessageType::JOB_RESULT,
        _ => MessageType::JOB_ERROR,
    };
    let end = towline_wire::Envelope {
        payload,
        ..towline_wire::Envelope::new(kind)
    };
    Some(end.with_job(row.id.clone()).with_trace(Some(row.trace)))
}

/// Whether a session may watch a job [ARCP 7.6-5].
fn may_observe(hub: &Hub, asker: &Asker, job: &JobId, row: Option<&JobRow>) -> Result<(), Refusal> {
    let row = row.ok_or_else(|| Refusal::job_not_found(job))?;
    let observer = &asker.session.principal;
    match *observer == row.principal || hub.observe.may_observe(observer, &row.principal) {
        true => Ok(()),
        false => Err(unseen(
            hub,
            &asker.session,
            row,
            "this principal may not watch it",
        )),
    }
}

/// A job of another principal: forbidden, or, where that is concealed, as if it did not exist.
pub(super) fn unseen(hub: &Hub, session: &SessionEntry, row: &JobRow, why: &str) -> Refusal {
    if hub.options.conceal_foreign_jobs
        && !hub.observe.may_observe(&session.principal, &row.principal)
    {
        return Refusal::job_not_found(&row.id);
    }
    let message = format!("job `{}` belongs to another principal; {why}", row.id);
    Refusal::new(ErrorCode::PERMISSION_DENIED, message).about(&row.id)
}

fn audit(hub: &Hub, asker: &Asker, job: &JobId, row: Option<&JobRow>, refusal: Option<&Refusal>) {
    let actor = Actor {
        principal: &asker.session.principal,
        session: &asker.session.id,
    };
    let verdict = refusal.map_or(Verdict::Allowed, |refusal| Verdict::Refused(&refusal.code));
    hub.audit(Audit::at(hub.now()).subscribe(actor, job, row.map(|row| &row.principal), verdict));
}

/// The parent a client wants a child of: running, and the client's own [ARCP 9.4-5].
pub(super) async fn own_running_parent(
    hub: &Arc<Hub>,
    asker: &Asker,
    job: &JobId,
) -> Result<Arc<JobEntry>, Refusal> {
    let not_found = || {
        Refusal::new(
            ErrorCode::JOB_NOT_FOUND,
            format!("`parent_job_id`: there is no job `{job}`"),
        )
    };
    let view = hub
        .look_up(job)
        .await
        .map_err(|error| store_refusal(&error))?;
    let view = view
        .filter(|view| view.row().principal == asker.session.principal)
        .ok_or_else(not_found)?;
    if view.row().session != asker.session.id {
        let message = format!("`parent_job_id`: job `{job}` was submitted by another session");
        return Err(Refusal::new(ErrorCode::PERMISSION_DENIED, message).about(job));
    }
    let status = view.state().status;
    match view {
        JobView::Live(parent) if status == JobStatus::Running => Ok(parent),
        _ => Err(Refusal::invalid(format!(
            "`parent_job_id`: job `{job}` is {status}, it has to be running"
        ))
        .about(job)),
    }
}

/// Whether a session with these features sees every record there is.
fn sees_everything(hub: &Hub, features: FeatureSet) -> bool {
    let needed = [
        Feature::Progress,
        Feature::ResultChunk,
        Feature::ProvisionedCredentials,
    ];
    needed
        .into_iter()
        .all(|feature| features.has(feature) || !hub.features.has(feature))
}

/// What the records of a job's history are, for a session that does not see all of them. Records that are committed
/// later are found in memory.
async fn known_kinds(
    hub: &Arc<Hub>,
    asker: &Asker,
    job: &JobId,
    history: Option<JobSeq>,
) -> Result<Option<Kinds>, Refusal> {
    let Some(after) = history else {
        return Ok(None);
    };
    let features = asker.session.lock().features;
    if sees_everything(hub, features) {
        // Nothing has to be known of the records but that they are there.
        let there = hub.store.read_job(job, after.next(), 1).await;
        return there.map(|_| None).map_err(|error| gone(job, &error));
    }
    let mut kinds = Kinds {
        next: after.next(),
        kinds: Vec::new(),
    };
    loop {
        let blocks = hub
            .store
            .read_job(job, kinds.next, READ_BYTES)
            .await
            .map_err(|error| gone(job, &error))?;
        if blocks.is_empty() {
            return Ok(Some(kinds));
        }
        blocks.iter().for_each(|block| kinds.extend(block));
    }
}

fn gone(job: &JobId, error: &StoreError) -> Refusal {
    match error {
        StoreError::Evicted { oldest, .. } => Refusal::invalid(format!(
            "`from_event_seq`: the beginning of job `{job}` is no longer kept; ask from {}",
            oldest.value().saturating_sub(1)
        )),
        _ => store_refusal(error),
    }
}

/// The kinds of consecutive records.
struct Kinds {
    /// The record after the last one known.
    next: JobSeq,
    kinds: Vec<RecordKind>,
}

impl Kinds {
    fn extend(&mut self, block: &towline_store::Block) {
        let known = usize::try_from(self.next.since(block.first())).unwrap_or(usize::MAX);
        self.kinds.extend(block.kinds().iter().skip(known));
        self.next = self.next.max(block.last().next());
    }
}

enum Answer {
    Subscribed,
    Accepted,
}

struct SubscribeJob {
    view: JobView,
    history: Option<JobSeq>,
    kinds: Option<Kinds>,
    credentials: Option<Vec<payload::Credential>>,
    asker: Asker,
    answer: Answer,
    plan: Option<Result<Planned, Refusal>>,
}

struct Planned {
    reply: Reply,
    /// Whether the session became an observer by this.
    observing: bool,
}

impl SubscribeJob {
    fn plan(&mut self, tx: &mut Tx<'_>) -> Result<Planned, Refusal> {
        let live = match &self.view {
            JobView::Live(entry) => Some(Arc::clone(entry)),
            JobView::Stored(_) => None,
        };
        if let Some(entry) = &live {
            // From here on everything there is counts as history, and everything else as live.
            tx.flush(entry);
        }
        let state = self.view.state();
        let last = state.last_seq;
        self.complete_kinds(live.as_ref(), last)?;
        let told = self.is_repeated();
        // From here on nothing is refused, so that a refusal leaves nothing behind.
        let observing = match &live {
            Some(entry) if !state.status.is_terminal() => self.observe(tx, entry)?,
            _ => false,
        };
        let replayed = if told { 0 } else { self.replay(tx, last) };
        let reply = self.reply(&state, last, replayed > 0);
        Ok(Planned { reply, observing })
    }

    /// Whether this is a repeated submit of a job whose events are in the session's stream already: a client that asks once
    /// more because an answer was lost does not hear everything twice [ARCP 7.2-1, 7.6-1].
    fn is_repeated(&self) -> bool {
        let job = &self.view.row().id;
        let state = self.asker.session.lock();
        matches!(self.answer, Answer::Accepted)
            && (state.subscriptions.contains(job) || state.outbox.jobs().any(|known| known == job))
    }

    /// Makes the session an observer, unless it is one: its own jobs, and jobs it watches, are in its stream already
    /// [ARCP 7.6-6].
    fn observe(&self, tx: &mut Tx<'_>, entry: &Arc<JobEntry>) -> Result<bool, Refusal> {
        let session = &self.asker.session;
        {
            let mut state = session.lock();
            if entry.row.session == session.id || state.subscriptions.contains(entry.id()) {
                return Ok(false);
            }
            let limit = tx.hub.options.subscriptions_per_session;
            if state.subscriptions.len() >= limit {
                let message = format!(
                    "this session watches {limit} jobs, the most it may; unsubscribe from one first"
                );
                return Err(Refusal::internal(message));
            }
            state.subscriptions.insert(entry.id().clone());
        }
        entry.lock().observers.push(Arc::clone(session));
        tx.push(Change::Subscribed {
            session: session.id.clone(),
            job: entry.id().clone(),
        });
        Ok(true)
    }

    /// What was committed since the history was looked through is found in memory.
    fn complete_kinds(
        &mut self,
        live: Option<&Arc<JobEntry>>,
        last: JobSeq,
    ) -> Result<(), Refusal> {
        let Some(kinds) = &mut self.kinds else {
            return Ok(());
        };
        while kinds.next <= last {
            let block = live.and_then(|entry| entry.lock().block_in_flight_or(entry, kinds.next));
            let block = block.ok_or_else(|| {
                Refusal::internal("the job's history moved on too fast; try again")
            })?;
            kinds.extend(&block);
        }
        Ok(())
    }

    fn replay(&self, tx: &mut Tx<'_>, last: JobSeq) -> u64 {
        let Some(after) = self.history.filter(|after| *after < last) else {
            return 0;
        };
        let (session, job) = (&self.asker.session, &self.view.row().id);
        match &self.kinds {
            None => tx.project_all(session, job, after.next(), last),
            Some(kinds) => tx.project(session, job, after.next(), &kinds.kinds, true),
        }
    }

    fn reply(&self, state: &towline_store::JobState, last: JobSeq, replayed: bool) -> Reply {
        let row = self.view.row();
        if matches!(self.answer, Answer::Accepted) {
            let accepted = accepted(row, self.asker.request.clone(), self.credentials.clone());
            return Reply::announcing(accepted, row.id.clone());
        }
        let payload = payload::Subscribed {
            request_id: self.asker.request.clone(),
            job_id: Some(row.id.clone()),
            current_status: state.status,
            agent: row.agent.to_string(),
            lease: row.lease.clone(),
            lease_constraints: Some(row.constraints.clone())
                .filter(|constraints| !constraints.is_empty()),
            budget: super::list::budget_now(state),
            parent_job_id: row.parent.clone(),
            trace_id: Some(row.trace),
            subscribed_from: last,
            replayed,
            credentials: self.credentials.clone(),
        };
        let pause = self
            .asker
            .session
            .lock()
            .dialect
            .needs_pause_after_subscribed();
        let envelope = envelope(&payload)
            .with_job(row.id.clone())
            .with_trace(Some(row.trace));
        Reply {
            pause,
            ..Reply::gating(envelope)
        }
    }

    fn refuse(&self, refusal: &Refusal) {
        match self.answer {
            Answer::Subscribed => self.asker.refuse_subscribe(&self.view.row().id, refusal),
            Answer::Accepted => self
                .asker
                .refuse_submit(refusal, Some(self.view.row().trace)),
        }
    }

    /// Undoes what was decided and did not become durable.
    fn undo(&self) {
        let JobView::Live(entry) = &self.view else {
            return;
        };
        let session = &self.asker.session;
        session.lock().subscriptions.remove(entry.id());
        entry
            .lock()
            .observers
            .retain(|observer| !Arc::ptr_eq(observer, session));
    }
}

impl Command for SubscribeJob {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        self.plan = Some(self.plan(tx));
    }

    fn done(mut self: Box<Self>, _hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        match (self.plan.take(), result) {
            (Some(Ok(planned)), Ok(())) => self.asker.reply(planned.reply),
            (Some(Ok(planned)), Err(error)) => {
                if planned.observing {
                    self.undo();
                }
                self.refuse(&store_refusal(error));
            }
            (Some(Err(refusal)), _) => self.refuse(&refusal),
            (None, _) => self.asker.reply(Reply::silent()),
        }
    }
}

/// Silent and idempotent [ARCP 7.6-6].
pub(super) fn unsubscribe(hub: &Arc<Hub>, asker: &Asker, job: JobId) {
    hub.command(UnsubscribeJob {
        session: Arc::clone(&asker.session),
        job,
        decided: false,
    });
    asker.reply(Reply::silent());
}

struct UnsubscribeJob {
    session: Arc<SessionEntry>,
    job: JobId,
    /// Whether the session has stopped watching by this, and the store has to know.
    decided: bool,
}

impl Command for UnsubscribeJob {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        self.decided |= self.session.lock().subscriptions.remove(&self.job);
        if !self.decided {
            return;
        }
        if let Some(entry) = tx.hub.live_job(&self.job) {
            entry
                .lock()
                .observers
                .retain(|observer| !Arc::ptr_eq(observer, &self.session));
        }
        tx.push(Change::Unsubscribed {
            session: self.session.id.clone(),
            job: self.job.clone(),
        });
    }

    fn done(self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        // Nobody is told, so nobody would ask again; a restart must not bring the subscription back.
        if self.decided && result.is_err() {
            hub.command(*self);
        }
    }
}

/// How much of a log is looked through at once.
const READ_BYTES: usize = 4 * 1024 * 1024;
