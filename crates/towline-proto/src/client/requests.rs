//! Which reply answers which request [ARCP 5-11].

use std::{collections::VecDeque, time::Duration};

use towline_wire::{Envelope, JobId, MessageId, TraceId};

/// Names a request from the moment it is made until its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey(u64);

/// The requests that wait for a reply, in the order they were made.
///
/// A reply is matched by the `request_id` it carries; where the peer names none, by an echo of the request's envelope id,
/// then by trace, then by order, since every peer answers in order. A request whose success some peers do not answer
/// carries a *fence*: a ping sent right behind it, whose pong says it was not refused. Every request has a deadline.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pending: VecDeque<Pending>,
    made: u64,
    /// Not later than the earliest deadline; looked up anew once it has passed.
    earliest: Option<Duration>,
    /// The peer has named the request in a refusal, so one that names none answers no request.
    refusals_name_requests: bool,
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) key: RequestKey,
    pub(super) what: What,
    /// As it was, or will be, sent.
    pub(super) frame: Envelope,
    pub(super) progress: Progress,
    pub(super) deadline: Duration,
    /// The nonce of the ping behind it.
    pub(super) fence: Option<String>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    Submit {
        parent: Option<JobId>,
        idempotent: bool,
        resubmitted: bool,
    },
    Cancel {
        job: JobId,
    },
    Subscribe {
        job: JobId,
    },
    Unsubscribe,
    List,
    /// Answer a question, or show the open ones.
    Questions,
    /// Tell a job something. Said once: twice would be heard twice.
    Speak,
    /// Which jobs live; asked by the machine itself.
    Census,
    Ping {
        nonce: String,
    },
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Not sent, because there is no connection.
    Queued,
    /// Sent on this connection.
    Sent,
    /// A submit that was sent on a connection that was lost: it may have been accepted.
    Uncertain,
}

/// What a reply shows of the request it answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clues<'a> {
    pub(super) request: Option<&'a MessageId>,
    pub(super) envelope: &'a Envelope,
}

impl Requests {
    /// A key for a request that needs no reply.
    pub(super) fn name(&mut self) -> RequestKey {
        self.made += 1;
        RequestKey(self.made)
    }

    pub(super) fn add(
        &mut self,
        what: What,
        frame: Envelope,
        progress: Progress,
        deadline: Duration,
    ) -> RequestKey {
        let key = self.name();
        self.earliest = Some(
            self.earliest
                .map_or(deadline, |earliest| earliest.min(deadline)),
        );
        self.pending.push_back(Pending {
            key,
            what,
            frame,
            progress,
            deadline,
            fence: None,
        });
        key
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.earliest
    }

    /// Puts a ping behind a request.
    pub(super) fn fence(&mut self, key: RequestKey, nonce: String) {
        if let Some(pending) = self
            .pending
            .iter_mut()
            .rev()
            .find(|pending| pending.key == key)
        {
            pending.fence = Some(nonce);
        }
    }

    /// The submit a `job.accepted` answers. A child that was delegated without a request names a parent no waiting
    /// submit names.
    pub(super) fn take_accepted(
        &mut self,
        clues: Clues<'_>,
        parent: Option<&JobId>,
    ) -> Option<Pending> {
        let fits = |what: &What| matches!(what, What::Submit { parent: asked, .. } if asked.as_ref() == parent);
        let by_name = |what: &What| matches!(what, What::Submit { .. });
        self.take(clues, by_name, fits)
    }

    /// The submit a `job.error` of an unknown job refuses, in runtimes that refuse this way.
    pub(super) fn take_refused_submit(
        &mut self,
        clues: Clues<'_>,
        also_by_order: bool,
    ) -> Option<Pending> {
        let is_submit = |what: &What| matches!(what, What::Submit { .. });
        self.take(clues, is_submit, |what| also_by_order && is_submit(what))
    }

    pub(super) fn take_cancelled(
        &mut self,
        clues: Clues<'_>,
        job: Option<&JobId>,
    ) -> Option<Pending> {
        let is_cancel = |what: &What| matches!(what, What::Cancel { .. });
        let of_job =
            |what: &What| matches!(what, What::Cancel { job: asked } if Some(asked) == job);
        self.take(clues, is_cancel, of_job)
    }

    pub(super) fn take_subscribed(
        &mut self,
        clues: Clues<'_>,
        job: Option<&JobId>,
    ) -> Option<Pending> {
        let is_subscribe = |what: &What| matches!(what, What::Subscribe { .. });
        let of_job =
            |what: &What| matches!(what, What::Subscribe { job: asked } if Some(asked) == job);
        self.take(clues, is_subscribe, of_job)
    }

    pub(super) fn take_jobs(&mut self, clues: Clues<'_>) -> Option<Pending> {
        let is_list = |what: &What| matches!(what, What::List | What::Census);
        self.take(clues, is_list, is_list)
    }

    /// The request a `session.error` refuses. Without a name it is the one about the same job, else the oldest that was
    /// sent; unless this peer is known to name requests.
    pub(super) fn take_refused(
        &mut self,
        clues: Clues<'_>,
        job: Option<&JobId>,
    ) -> Option<Pending> {
        if clues.request.is_some() {
            self.refusals_name_requests = true;
        }
        let about = |what: &What| match what {
            What::Cancel { job: asked } | What::Subscribe { job: asked } => Some(asked) == job,
            _ => false,
        };
        let by_order = !self.refusals_name_requests;
        let refusable = |what: &What| by_order && !matches!(what, What::Ping { .. });
        if by_order && job.is_some() && clues.request.is_none() && self.position(about).is_some() {
            return self.take(clues, |_| true, about);
        }
        self.take(clues, |_| true, refusable)
    }

    /// Whether a submit waits for its answer that may be the one of a job with this trace.
    pub(super) fn awaits_acceptance(&self, trace: Option<TraceId>) -> bool {
        self.pending.iter().any(|pending| {
            pending.progress == Progress::Sent
                && matches!(pending.what, What::Submit { .. })
                && trace.is_none_or(|trace| pending.frame.trace_id == Some(trace))
        })
    }

    /// Whether a request of that name waits.
    pub(super) fn has(&self, id: &MessageId) -> bool {
        self.pending
            .iter()
            .any(|pending| pending.frame.id.as_ref() == Some(id))
    }

    /// The request that a `job.error` of this job may refuse: a subscribe to it; or a cancel of it, where the job is not
    /// `followed`, for then it cannot be its end.
    pub(super) fn answered_by_end_of(&self, job: &JobId, followed: bool) -> Option<MessageId> {
        let is_about = |pending: &&Pending| {
            let asked = match &pending.what {
                What::Subscribe { job } => Some(job),
                What::Cancel { job } if !followed => Some(job),
                _ => None,
            };
            pending.progress == Progress::Sent && asked == Some(job)
        };
        self.pending.iter().find(is_about)?.frame.id.clone()
    }

    /// The request of that name, whatever it asks.
    pub(super) fn take_named(&mut self, id: &MessageId) -> Option<Pending> {
        let at = self
            .pending
            .iter()
            .position(|pending| pending.frame.id.as_ref() == Some(id))?;
        self.pending.remove(at)
    }

    /// The ping a `session.pong` answers, or the request it fences.
    pub(super) fn take_pong(&mut self, nonce: &str) -> Option<Pending> {
        let answers = |pending: &Pending| match &pending.what {
            What::Ping { nonce: sent } => sent == nonce,
            _ => pending.fence.as_deref() == Some(nonce),
        };
        let at = self.pending.iter().position(answers)?;
        self.pending.remove(at)
    }

    /// The cancels a job's end as cancelled answers.
    pub(super) fn take_cancels_of(&mut self, job: &JobId) -> Option<Pending> {
        let at =
            self.position(|what| matches!(what, What::Cancel { job: asked } if asked == job))?;
        self.pending.remove(at)
    }

    /// Those whose deadline has passed.
    pub(super) fn expired(&mut self, now: Duration) -> Vec<Pending> {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return Vec::new();
        }
        let expired = self.pending.extract(|pending| pending.deadline <= now);
        self.earliest = self.pending.iter().map(|pending| pending.deadline).min();
        expired
    }

    /// Puts a request back behind all others.
    pub(super) fn again(&mut self, pending: Pending) {
        self.earliest = Some(
            self.earliest
                .map_or(pending.deadline, |earliest| earliest.min(pending.deadline)),
        );
        self.pending.push_back(pending);
    }

    /// The connection is gone: submits become uncertain, repeatable requests wait for the next one, the rest is given
    /// back.
    pub(super) fn lost(&mut self) -> Vec<Pending> {
        for pending in &mut self.pending {
            pending.fence = None;
            pending.progress = match (&pending.what, pending.progress) {
                (What::Submit { .. } | What::Speak, Progress::Sent) => Progress::Uncertain,
                (What::Submit { .. }, progress) => progress,
                _ => Progress::Queued,
            };
        }
        self.pending.extract(|pending| {
            matches!(
                pending.what,
                What::Ping { .. } | What::Unsubscribe | What::Census
            ) || pending.what == What::Speak && pending.progress == Progress::Uncertain
        })
    }

    /// There is a connection again: the frames to send now. Uncertain submits get until `deadline`.
    pub(super) fn live_again(&mut self, deadline: Duration) -> Vec<(RequestKey, Envelope)> {
        let mut frames = Vec::new();
        for pending in &mut self.pending {
            match pending.progress {
                Progress::Queued => {
                    pending.progress = Progress::Sent;
                    frames.push((pending.key, pending.frame.clone()));
                }
                Progress::Uncertain => pending.deadline = deadline,
                Progress::Sent => {}
            }
        }
        frames
    }

    pub(super) fn what(&self, key: RequestKey) -> Option<&What> {
        self.pending
            .iter()
            .rev()
            .find(|pending| pending.key == key)
            .map(|pending| &pending.what)
    }

    /// All that wait, given back.
    pub(super) fn drain(&mut self) -> Vec<Pending> {
        self.earliest = None;
        self.pending.drain(..).collect()
    }

    /// Takes the request `clues` point at: by name among those `by_name` allows, by order among those `by_order` does.
    fn take(
        &mut self,
        clues: Clues<'_>,
        by_name: impl Fn(&What) -> bool,
        by_order: impl Fn(&What) -> bool,
    ) -> Option<Pending> {
        let named = |id: &MessageId| {
            self.pending
                .iter()
                .position(|pending| pending.frame.id.as_ref() == Some(id) && by_name(&pending.what))
        };
        let at = match clues.request {
            Some(request) => named(request)?,
            None => {
                let echoed = clues.envelope.id.as_ref().and_then(named);
                let traced = || {
                    clues
                        .envelope
                        .trace_id
                        .and_then(|trace| self.traced(trace, &by_name, &by_order))
                };
                let sent = |pending: &Pending| {
                    pending.progress == Progress::Sent && by_order(&pending.what)
                };
                echoed
                    .or_else(traced)
                    .or_else(|| self.pending.iter().position(sent))?
            }
        };
        self.pending.remove(at)
    }

    /// By trace; among several of one trace the one the order would choose.
    fn traced(
        &self,
        trace: TraceId,
        by_name: impl Fn(&What) -> bool,
        by_order: impl Fn(&What) -> bool,
    ) -> Option<usize> {
        let fits =
            |pending: &Pending| pending.frame.trace_id == Some(trace) && by_name(&pending.what);
        let exact = self
            .pending
            .iter()
            .position(|pending| fits(pending) && by_order(&pending.what));
        exact.or_else(|| self.pending.iter().position(fits))
    }

    fn position(&self, fits: impl Fn(&What) -> bool) -> Option<usize> {
        self.pending.iter().position(|pending| fits(&pending.what))
    }
}

/// `Vec::extract_if` for a deque.
trait Extract<T> {
    fn extract(&mut self, chosen: impl Fn(&T) -> bool) -> Vec<T>;
}

impl<T> Extract<T> for VecDeque<T> {
    fn extract(&mut self, chosen: impl Fn(&T) -> bool) -> Vec<T> {
        let (taken, kept): (Vec<T>, VecDeque<T>) = {
            let mut taken = Vec::new();
            let mut kept = VecDeque::with_capacity(self.len());
            for item in self.drain(..) {
                if chosen(&item) {
                    taken.push(item)
                } else {
                    kept.push_back(item)
                }
            }
            (taken, kept)
        };
        *self = kept;
        taken
    }
}
