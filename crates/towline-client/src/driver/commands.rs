//! What the user asks for.

use std::sync::Arc;

use tokio::sync::oneshot;
use towline_proto::client::Request;
use towline_wire::{JobId, JobSeq};

use super::{Driver, Waiter};
use crate::{
    ClientError, ResumeState,
    mailbox::{Mailbox, Role},
    shared::{Answer, Boxed, Command},
};

impl Driver {
    pub(super) fn unwanted(&mut self) {
        self.wanted = false;
        let processed = self.seats.processed(self.session.last_event_seq());
        self.session
            .close(None, processed, self.env.moment(), &mut self.effects);
    }

    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Ask { request, reply } => self.ask(request, reply),
            Command::ResumeWith { transport, reply } => self.resume_with(transport, reply),
            Command::ResumeState { reply } => drop(reply.send(self.resume_state())),
            Command::Counters { reply } => drop(reply.send(self.session.counters())),
            Command::Leave { reply } => {
                // Dropped before anything can be said on it.
                self.link = None;
                self.session.abandon(&mut self.effects);
                self.closers.push(reply);
            }
            Command::Close { reason, reply } => {
                let processed = self.seats.processed(self.session.last_event_seq());
                self.session.close(
                    Some(reason),
                    processed,
                    self.env.moment(),
                    &mut self.effects,
                );
                self.closers.push(reply);
            }
        }
    }

    pub(super) fn ask(
        &mut self,
        request: Request,
        reply: oneshot::Sender<Result<Answer, ClientError>>,
    ) {
        let watched = match &request {
            Request::Subscribe {
                job, from, history, ..
            } => Some((job.clone(), *from, *history)),
            _ => None,
        };
        let joins = watched
            .as_ref()
            .is_some_and(|(job, from, _)| self.joins(job, *from));
        if let Request::Unsubscribe { job } = &request {
            self.release_closed(&job.clone());
        }
        let asked = self
            .session
            .request(request, self.env.moment(), &mut self.effects);
        match asked {
            Err(error) => drop(reply.send(Err(self.explain(error)))),
            Ok((key, job)) => {
                let seat = watched.zip(job).map(|((id, from, history), job)| {
                    let mailbox = Arc::new(Mailbox::new(
                        id,
                        Role::Watch,
                        self.buffer,
                        self.room.clone(),
                    ));
                    from.into_iter().for_each(|from| mailbox.begin_after(from));
                    if !history {
                        mailbox.join_live();
                    } else if joins {
                        mailbox.join_past();
                    }
                    self.seats.add(job, mailbox.clone());
                    (job, mailbox)
                });
                self.waiters.insert(key, Waiter { reply, seat });
            }
        }
    }

    /// Whether a handle has to look for the beginning of its past, because something of the job may still be under way. It
    /// can when that beginning is sure to show: the first event of all, or any one where no event is left out.
    fn joins(&mut self, job: &JobId, from: Option<JobSeq>) -> bool {
        let shows = from.is_none_or(|from| from == JobSeq::ZERO) || self.session.sees_all_events();
        shows && self.session.has_seen(job)
    }

    /// Takes the dropped subscriptions of a job back, but one: for that the unsubscribe that follows is meant.
    pub(super) fn release_closed(&mut self, job: &JobId) {
        let Some(key) = self.session.job_key(job) else {
            return;
        };
        let closed = self.seats.remove_closed(key);
        (1..closed).for_each(|_| self.unsubscribe(job.clone()));
    }

    pub(super) fn unsubscribe(&mut self, job: JobId) {
        // Where it cannot be sent there is nothing to take back.
        let _ = self.session.request(
            Request::Unsubscribe { job },
            self.env.moment(),
            &mut self.effects,
        );
    }

    pub(super) fn resume_with(
        &mut self,
        transport: Boxed,
        reply: oneshot::Sender<Result<(), ClientError>>,
    ) {
        if self.link.is_some() || self.dial.can_dial() {
            let busy = "the connection is not lost, or a connector is at it".to_owned();
            drop(reply.send(Err(ClientError::Invalid(busy))));
            return;
        }
        self.greeting = Some(reply);
        self.attach_link(transport.0);
    }

    pub(super) fn resume_state(&self) -> Option<ResumeState> {
        let mut point = self.session.resume_point()?;
        point.last_event_seq = self.seats.processed(point.last_event_seq);
        Some(ResumeState {
            point,
            jobs: self.session.jobs().cloned().collect(),
            dialect: self.dialect,
        })
    }
}
