//! The past of jobs that a handle joins when they are under way, or over.
//!
//! A second submit with the key of a job of this session, and a subscribe with history to a job this session sees already,
//! give a handle whose events have gone by. The runtime sends them again when it is asked to, behind whatever else of the
//! job is under way: live events, the past that another handle asked for, perhaps an end. [`Mailbox`] tells the one from the
//! other; here is the asking, and the waiting.

use std::sync::Arc;

use towline_proto::{
    Dialect,
    client::{JobKey, Reply, Request, RequestError},
};

use super::{Driver, LacksPast};
use crate::{ClientError, mailbox::Mailbox};

impl LacksPast {
    pub(super) const fn new(mailbox: Arc<Mailbox>) -> Self {
        Self {
            mailbox,
            tries: 0,
            ceased: false,
        }
    }
}

impl Driver {
    /// A job has ended unheard: whoever waits for its end asks for the past, once.
    pub(super) fn ceased(&mut self, job: JobKey) {
        for mailbox in self.seats.take(job) {
            mailbox.cease();
            self.lack_past.push(LacksPast {
                ceased: true,
                ..LacksPast::new(mailbox)
            });
        }
    }

    /// A job ended, and for these handles that was not the end: they wait on, under the key the job had.
    pub(super) fn wait_on(&mut self, waiting: Vec<Arc<Mailbox>>) {
        for mailbox in waiting {
            let job = self.session.watch_on(mailbox.job());
            self.seats.add(job, mailbox);
        }
    }

    /// Asks for what is lacking, once nothing is left to carry out: a subscribe takes a key that is free in the machine, and
    /// effects that are not carried out yet may still mean the job that had it.
    pub(super) fn ask_for_past(&mut self) {
        if !self.effects.is_empty() {
            return;
        }
        for lacks in std::mem::take(&mut self.lack_past) {
            self.ask_for_past_of(lacks);
        }
    }

    fn ask_for_past_of(&mut self, mut lacks: LacksPast) {
        lacks.tries += 1;
        let request = Request::Subscribe {
            job: lacks.mailbox.job().clone(),
            from: None,
            history: true,
            input: false,
        };
        let at = self.env.moment();
        match self.session.request(request, at, &mut self.effects) {
            Ok((key, Some(job))) => {
                self.seats.add(job, lacks.mailbox.clone());
                self.asked_past.insert(key, (job, lacks));
            }
            Ok(_) => {}
            Err(error) => self.give_up_past(&lacks.mailbox, error),
        }
    }

    pub(super) fn past_answered(&mut self, job: JobKey, lacks: LacksPast, reply: Reply) {
        match reply {
            Reply::Failed(_) if lacks.ceased => self.untold(job, &lacks.mailbox),
            Reply::Failed(error) => {
                self.seats.remove(job, &lacks.mailbox);
                if may_pass(&error) && lacks.tries < MOST_TRIES {
                    self.lack_past.push(lacks);
                } else {
                    self.give_up_past(&lacks.mailbox, error);
                }
            }
            Reply::Subscribed(subscribed) => {
                let is_over = subscribed.current_status.is_terminal();
                if self.history_comes_first() {
                    self.end_past(job, &lacks.mailbox);
                } else {
                    lacks.mailbox.joined(subscribed.subscribed_from, is_over);
                }
                if is_over {
                    self.fence(job, &lacks.mailbox);
                }
            }
            _ => {}
        }
    }

    /// The job is over, so its end comes before the answer to a ping, or not at all: some runtimes keep no events of finished
    /// jobs. Ours do, and their pongs overtake events [ARCP 5-11].
    pub(super) fn fence(&mut self, job: JobKey, mailbox: &Arc<Mailbox>) {
        let ours = self.dialect.is_none_or(|dialect| dialect == Dialect::Draft);
        if ours || mailbox.has_end() {
            return;
        }
        let at = self.env.moment();
        // Without heartbeats there is no fence, and nothing is claimed of an end that may still come.
        if let Ok((key, _)) = self.session.request(Request::Ping, at, &mut self.effects) {
            self.fences.insert(key, (job, mailbox.clone()));
        }
    }

    pub(super) fn fence_answered(&mut self, job: JobKey, mailbox: &Arc<Mailbox>, reply: &Reply) {
        if matches!(reply, Reply::Pong) && !mailbox.has_end() {
            self.untold(job, mailbox);
        }
    }

    /// The job is over, and the runtime does not tell how; unless that came in the meantime.
    fn untold(&mut self, job: JobKey, mailbox: &Arc<Mailbox>) {
        if mailbox.has_end() {
            return;
        }
        if mailbox.past_is_in() {
            return self.seats.ended_before(job, mailbox);
        }
        self.seats.remove(job, mailbox);
        self.session.forget(mailbox.job());
        mailbox.set_trouble(Some(ClientError::OutcomeUnknown {
            job: mailbox.job().clone(),
        }));
    }

    fn history_comes_first(&self) -> bool {
        self.dialect
            .is_some_and(Dialect::sends_history_before_subscribed)
    }

    /// The answer ends a past that came before it.
    fn end_past(&mut self, job: JobKey, mailbox: &Arc<Mailbox>) {
        if mailbox.past_is_in() {
            self.seats.ended_before(job, mailbox);
        }
    }

    /// The past does not come, and the handle is told why.
    fn give_up_past(&self, mailbox: &Mailbox, error: RequestError) {
        mailbox.give_up_past();
        mailbox.set_trouble(Some(self.explain(error)));
    }
}

/// Whether the same request may be answered another time. The runtime sets the pace.
fn may_pass(error: &RequestError) -> bool {
    match error {
        RequestError::Refused(refusal) => refusal.retryable,
        RequestError::Timeout { .. } | RequestError::Disconnected { .. } => true,
        _ => false,
    }
}

const MOST_TRIES: u32 = 16;
