//! The firing of a schedule: an ordinary submit of its principal [ARCP 22-2].

use std::sync::Arc;

use tokio::sync::oneshot;
use towline_proto::{
    refusal::Refusal,
    server::{RequestKind, read_alone},
};
use towline_store::{Change, ScheduleChange, StoreError};
use towline_wire::{Envelope, JobId, MessageType, Timestamp, payload};

use super::{
    apart::virtual_session,
    asker::{Asker, Call, Way, shutting_down, store_refusal},
    submit,
};
use crate::{
    hub::{Command, Hub, Tx},
    schedule::Schedule,
    session::Reply,
};

/// What has a schedule submit its job.
pub(crate) enum FiredBy {
    /// Its time has come. The job waits until that of the firing before is over.
    Clock { at: Timestamp, after: Option<JobId> },
    /// Somebody says so.
    Hand { at: Timestamp },
}

/// Submits a job of a schedule and gives its name. For a time, it is keyed, and that the schedule is done with the time becomes
/// durable with the job; by hand it is neither.
///
/// # Errors
/// The refusal.
pub(crate) async fn fire(
    hub: &Arc<Hub>,
    schedule: &Schedule,
    by: FiredBy,
) -> Result<JobId, Refusal> {
    let features = hub.services.features;
    let principal = schedule.principal().clone();
    let callers = &hub.books.callers;
    let (known, _) = callers.of(&principal, || hub.services.ids.session());
    let (session, attachment) = virtual_session(hub, known.name, principal, features, true);
    let mut envelope = Envelope::new(MessageType::JOB_SUBMIT);
    let (at, keyed, after) = match by {
        FiredBy::Clock { at, after } => (at, Some(at), after),
        FiredBy::Hand { at } => (at, None, None),
    };
    envelope.payload = schedule.submit(keyed);
    let RequestKind::Submit(submission) = read_alone(envelope, features)?.kind else {
        return Err(Refusal::invalid("a schedule submits a job"));
    };
    let (call, reply) = Call::new();
    let asker = Asker {
        session,
        attachment,
        way: Way::Call(call),
        request: None,
    };
    let fired = submit::Fired {
        firing: payload::Firing {
            name: schedule.name().to_owned(),
            at,
            after,
        },
        change: keyed.map(|at| ScheduleChange {
            name: schedule.name().to_owned(),
            done: Some(at),
            ..ScheduleChange::default()
        }),
    };
    submit::fire(hub, asker, *submission, fired).await;
    let Reply { envelope, .. } = reply.await.map_err(|_| shutting_down())??;
    let accepted = envelope.and_then(|envelope| envelope.decode::<payload::Accepted>().ok());
    accepted
        .and_then(|accepted| accepted.job_id)
        .ok_or_else(|| Refusal::internal("the job has no name"))
}

/// Makes a change of a schedule durable.
///
/// # Errors
/// The refusal, when the store does not take it.
pub(crate) async fn set_schedule(hub: &Hub, change: ScheduleChange) -> Result<(), Refusal> {
    let (told, waiting) = oneshot::channel();
    hub.command(SetSchedule { change, told });
    waiting.await.map_err(|_| shutting_down())?
}

struct SetSchedule {
    change: ScheduleChange,
    told: oneshot::Sender<Result<(), Refusal>>,
}

impl Command for SetSchedule {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        tx.push(Change::Schedule(self.change.clone()));
    }

    fn done(self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        if result.is_ok() {
            hub.books.schedules.changed(&self.change);
        }
        // Whoever asked may have gone.
        let _ = self.told.send(result.map_err(store_refusal));
    }
}
