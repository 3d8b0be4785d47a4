//! `job.subscribe` (§7.6).

use std::sync::Arc;

use towline_proto::refusal::Refusal;
use towline_store::{Change, JobRow, JobState, RecordKind, StoreError};
use towline_wire::{Feature, FeatureSet, JobId, JobSeq, RawJson, payload};

use super::{
    accept::accepted,
    asker::{Asker, envelope, store_refusal},
    list::budget_now,
    visible::may_observe,
};
use crate::{
    audit::{Audit, Verdict},
    credentials::Ledger,
    hub::{Command, Hub, JobView, Tx},
    job::JobEntry,
    session::Reply,
};

/// The largest input that `job.subscribed` shows: half of what a frame may have.
const INPUT_BYTES: usize = 8 << 20;

pub(super) async fn subscribe(
    hub: &Arc<Hub>,
    asker: Asker,
    job: JobId,
    history: Option<JobSeq>,
    input: bool,
) {
    if let Err(refusal) = prepare(hub, &asker, &job, history, input).await {
        asker.refuse_subscribe(&job, &refusal);
    }
}

async fn prepare(
    hub: &Hub,
    asker: &Asker,
    job: &JobId,
    history: Option<JobSeq>,
    input: bool,
) -> Result<(), Refusal> {
    let view = hub
        .look_up(job)
        .await
        .map_err(|error| store_refusal(&error))?;
    let row = view.as_ref().map(JobView::row);
    let verdict = may_observe(hub, asker, job, row);
    audit(hub, asker, job, row, verdict.as_ref().err());
    verdict?;
    let view = view.ok_or_else(|| Refusal::job_not_found(job))?;
    watch(hub, asker, view, history, Answer::Subscribed { input }).await
}

/// How a session is told that it watches a job.
pub(super) enum Answer {
    /// With `job.subscribed`, and with what the job was given when that was asked for.
    Subscribed { input: bool },
    /// With `job.accepted`: it repeated the submit of the job [ARCP 7.2-1].
    Accepted,
}

/// Has a session watch a job it may watch, with the job's history after `history`.
pub(super) async fn watch(
    hub: &Hub,
    asker: &Asker,
    view: JobView,
    history: Option<JobSeq>,
    answer: Answer,
) -> Result<(), Refusal> {
    let row = view.row();
    let kinds = known_kinds(hub, asker, &row.id, history).await?;
    let is_submitter = matches!(answer, Answer::Accepted) || row.session == asker.session.id;
    let credentials = Ledger::shown(hub, row, &asker.session, is_submitter);
    hub.command(SubscribeJob {
        view,
        history,
        kinds,
        credentials,
        asker: asker.clone(),
        answer,
        plan: None,
    });
    Ok(())
}

fn audit(hub: &Hub, asker: &Asker, job: &JobId, row: Option<&JobRow>, refusal: Option<&Refusal>) {
    let verdict = refusal.map_or(Verdict::Allowed, |refusal| Verdict::Refused(&refusal.code));
    let owner = row.map(|row| &row.principal);
    let role = asker.role(hub);
    let actor = asker.actor(role.as_deref());
    hub.audit(Audit::at(hub.now()).subscribe(actor, job, owner, verdict));
}

/// Whether a session with these features sees every record there is.
fn sees_everything(hub: &Hub, features: FeatureSet) -> bool {
    let needed = [
        Feature::Progress,
        Feature::ResultChunk,
        Feature::ProvisionedCredentials,
        Feature::Input,
    ];
    needed
        .into_iter()
        .all(|feature| features.has(feature) || !hub.services.features.has(feature))
}

/// What the records of a job's history are, for a session that does not see all of them. Records that are committed
/// later are found in memory.
async fn known_kinds(
    hub: &Hub,
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
        let there = hub.services.store.read_job(job, after.next(), 1).await;
        return there.map(|_| None).map_err(|error| gone(job, &error));
    }
    let mut kinds = Kinds {
        next: after.next(),
        kinds: Vec::new(),
    };
    loop {
        let blocks = hub
            .services
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
            tx.take(entry);
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
            && (state.subscriptions.contains(job) || state.stream.jobs().any(|known| known == job))
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
            let limit = tx.hub.services.options.subscriptions_per_session;
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
            let block = live.and_then(|entry| entry.block(kinds.next));
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

    fn reply(&self, state: &JobState, last: JobSeq, replayed: bool) -> Reply {
        let row = self.view.row();
        if matches!(self.answer, Answer::Accepted) {
            let accepted = accepted(row, self.asker.request.clone(), self.credentials.clone());
            let number = self.asker.number_of_end(&row.id, state);
            return Reply {
                // What is replayed from the start has its end with it.
                repeats: number.filter(|_| !replayed),
                ..Reply::announcing(accepted, row.id.clone())
            };
        }
        let payload = payload::Subscribed {
            request_id: self.asker.request.clone(),
            job_id: Some(row.id.clone()),
            current_status: state.status,
            agent: row.agent.to_string(),
            lease: row.lease.clone(),
            lease_constraints: Some(row.constraints.clone())
                .filter(|constraints| !constraints.is_empty()),
            budget: budget_now(state),
            parent_job_id: row.parent.clone(),
            rerun_of: row.rerun_of.clone(),
            trace_id: Some(row.trace),
            subscribed_from: last,
            replayed,
            credentials: self.credentials.clone(),
            input: self.input(row),
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

    /// What the job was given, where it was asked for and a frame has room for it: whoever may watch a job may see it.
    fn input(&self, row: &JobRow) -> Option<RawJson> {
        let is_wanted = matches!(self.answer, Answer::Subscribed { input: true });
        let fits = row.input.as_str().len() <= INPUT_BYTES && !row.input.is_null();
        (is_wanted && fits).then(|| row.input.clone())
    }

    fn refuse(&self, refusal: &Refusal) {
        let row = self.view.row();
        match self.answer {
            Answer::Subscribed { .. } => self.asker.refuse_subscribe(&row.id, refusal),
            Answer::Accepted => self.asker.refuse_submit(refusal, Some(row.trace)),
        }
    }

    /// Undoes [`SubscribeJob::observe`], which did not become durable.
    fn stop_observing(&self) {
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

    fn undo(&mut self) {
        if let Some(Ok(planned)) = self.plan.take()
            && planned.observing
        {
            self.stop_observing();
        }
    }

    fn done(mut self: Box<Self>, _hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        match (self.plan.take(), result) {
            (Some(Ok(planned)), Ok(())) => self.asker.reply(planned.reply),
            (Some(Err(refusal)), _) => self.refuse(&refusal),
            (plan, Err(error)) => {
                self.plan = plan;
                self.undo();
                self.refuse(&store_refusal(error));
            }
            (None, Ok(())) => self.asker.reply(Reply::silent()),
        }
    }
}

/// How much of a log is looked through at once.
const READ_BYTES: usize = 4 * 1024 * 1024;
