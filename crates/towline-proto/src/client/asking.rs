//! Requests: from the asking to the reply, through loss and resume.

use towline_wire::{
    Envelope, ErrorCode, Feature, JobId, JobSeq, MessageId, RawJson,
    payload::{Answer, Cancel, Inbox, Jobs, ListJobs, Ping, Speak, Submit, Subscribe, Unsubscribe},
};

use super::{
    Effect, HandshakeError, JobKey, Moment, Reply, Request, RequestError, RequestKey,
    requests::{Pending, Progress, What},
    session::{ClientSession, Phase, envelope},
};

/// How often a resume is asked for again of a runtime that may not have seen the loss yet.
const MOST_REFUSED: u8 = 5;

impl ClientSession {
    /// Whether a resume that fared so is worth another try.
    pub(super) fn may_resume_after(&mut self, error: &HandshakeError) -> bool {
        let Some(settled) = &mut self.settled else {
            return false;
        };
        let unknown = matches!(error, HandshakeError::Refused(refusal) if refusal.code == ErrorCode::RESUME_WINDOW_EXPIRED);
        if unknown && settled.dialect.parks_sessions_late() && settled.refused < MOST_REFUSED {
            settled.refused += 1;
            return true;
        }
        error.may_pass()
    }

    /// Makes a request that was checked.
    pub(super) fn issue(
        &mut self,
        request: Request,
        at: Moment<'_>,
        out: &mut Vec<Effect>,
    ) -> (RequestKey, Option<JobKey>) {
        let (what, frame, job) = match request {
            Request::Submit {
                submit,
                trace,
                span,
            } => {
                // Always with a trace: some runtimes name the request in no other way when they refuse it.
                let trace = trace.unwrap_or_else(|| at.names.trace());
                let (what, mut frame) = submitted(*submit);
                frame.parent_span = span;
                (what, frame.with_trace(Some(trace)), None)
            }
            Request::Cancel { job, reason } => {
                let (what, frame) = cancelled(job, reason);
                (what, frame, None)
            }
            Request::Subscribe {
                job,
                from,
                history,
                input,
            } => {
                let key = self.jobs.watch(&job);
                (
                    What::Subscribe { job: job.clone() },
                    subscribe(job, from, history, input),
                    Some(key),
                )
            }
            Request::Unsubscribe { job } => return (self.unsubscribe(&job, at, out), None),
            Request::List(list) => (What::List, envelope(&list), None),
            Request::Answer(answer) => (What::Questions, answered(&answer), None),
            Request::Speak { job, body } => {
                let speak = Speak {
                    job_id: Some(job.clone()),
                    body,
                };
                (What::Speak, envelope(&speak).with_job(job), None)
            }
            Request::Inbox { job } => (What::Questions, envelope(&Inbox { job_id: job }), None),
            Request::Ping => {
                let nonce = at.names.nonce();
                let ping = Ping {
                    nonce: nonce.clone(),
                    sent_at: Some(at.wall),
                };
                (What::Ping { nonce }, envelope(&ping), None)
            }
        };
        (
            self.ask(what, frame.with_id(at.names.message()), at, out),
            job,
        )
    }

    fn can_list(&self) -> bool {
        let settled = self.settled.as_ref();
        settled.is_some_and(|settled| settled.features.has(Feature::ListJobs))
    }

    /// Asks which jobs live, when it is time to.
    pub(super) fn look_into_doubts(&mut self, at: Moment<'_>, out: &mut Vec<Effect>) {
        // What waits to be read may be what was not heard.
        if !self.is_live() || self.is_paused() {
            return;
        }
        if let Some(list) = self.doubts.question(at.now) {
            self.ask_which_live(list, at, out);
        }
    }

    /// Asks which jobs live. Where that cannot be asked, those that are doubted have to be taken for ended.
    pub(super) fn ask_which_live(&mut self, list: ListJobs, at: Moment<'_>, out: &mut Vec<Effect>) {
        if self.can_list() {
            let frame = envelope(&list).with_id(at.names.message());
            self.ask(What::Census, frame, at, out);
        } else {
            let nothing = Jobs {
                request_id: None,
                jobs: Vec::new(),
                next_cursor: None,
            };
            self.cease(&nothing, out);
        }
    }

    pub(super) fn cease(&mut self, page: &Jobs, out: &mut Vec<Effect>) {
        let ceased = self.doubts.answered(page);
        out.extend(ceased.into_iter().map(|job| Effect::Ceased { job }));
    }

    fn ask(
        &mut self,
        what: What,
        frame: Envelope,
        at: Moment<'_>,
        out: &mut Vec<Effect>,
    ) -> RequestKey {
        let live = self.is_live();
        let progress = if live {
            Progress::Sent
        } else {
            Progress::Queued
        };
        let deadline = at.now + self.config.reply_timeout;
        let key = self.requests.add(what, frame.clone(), progress, deadline);
        if live {
            self.send_request(key, frame, at, out);
        }
        key
    }

    /// Sends a request, with a fence behind it where its success has no answer.
    fn send_request(
        &mut self,
        key: RequestKey,
        frame: Envelope,
        at: Moment<'_>,
        out: &mut Vec<Effect>,
    ) {
        self.transmit(frame, at.now, out);
        let unanswered = matches!(
            self.requests.what(key),
            Some(What::Cancel { .. } | What::Unsubscribe)
        );
        if unanswered && self.needs_fences() {
            let nonce = at.names.nonce();
            self.requests.fence(key, nonce.clone());
            self.ping(nonce, at, out);
        }
    }

    fn needs_fences(&self) -> bool {
        self.settled.as_ref().is_some_and(|settled| {
            settled.dialect.replies_without_request_id() && settled.features.has(Feature::Heartbeat)
        })
    }

    /// Takes a subscription back; the runtime is told when it was the last of its job.
    fn unsubscribe(&mut self, job: &JobId, at: Moment<'_>, out: &mut Vec<Effect>) -> RequestKey {
        let last = self.unwatch(job, out);
        let message = envelope(&Unsubscribe {
            job_id: Some(job.clone()),
        })
        .with_job(job.clone());
        let message = message.with_id(at.names.message());
        if last && self.is_live() && self.needs_fences() {
            return self.ask(What::Unsubscribe, message, at, out);
        }
        if last && self.is_live() {
            self.transmit(message, at.now, out);
        }
        let request = self.requests.name();
        out.push(Effect::Reply {
            request,
            reply: Box::new(Reply::Done),
        });
        request
    }

    fn unwatch(&mut self, job: &JobId, out: &mut Vec<Effect>) -> bool {
        let key = self.jobs.find(job);
        let last = self.jobs.unwatch(job);
        if let Some(job) = key.filter(|key| self.jobs.id(*key).is_none()) {
            out.push(Effect::Released { job });
        }
        last
    }

    pub(super) fn can_subscribe(&self) -> bool {
        let settled = self.settled.as_ref();
        settled.is_some_and(|settled| settled.features.has(Feature::Subscribe))
    }

    pub(super) fn answer(&mut self, pending: Pending, reply: Reply, out: &mut Vec<Effect>) {
        out.push(Effect::Reply {
            request: pending.key,
            reply: Box::new(reply),
        });
    }

    pub(super) fn fail(&mut self, pending: Pending, error: RequestError, out: &mut Vec<Effect>) {
        if let What::Subscribe { job } = &pending.what {
            self.unwatch(&job.clone(), out);
        }
        if pending.what == What::Census {
            return;
        }
        self.answer(pending, Reply::Failed(error), out);
    }

    /// The transport did not take a frame, for it is larger than the transport sends: the request of that name, if it waits,
    /// fails now and not at its deadline.
    pub fn unsent(&mut self, id: &MessageId, size: usize, limit: usize, out: &mut Vec<Effect>) {
        if let Some(pending) = self.requests.take_named(id) {
            let words = format!(
                "the request has {size} bytes, and this connection sends messages of at most {limit}; hand large inputs over by reference"
            );
            self.fail(pending, RequestError::Invalid(words), out);
        }
    }

    pub(super) fn expire_requests(&mut self, at: Moment<'_>, out: &mut Vec<Effect>) {
        for pending in self.requests.expired(at.now) {
            self.expire(pending, at, out);
        }
    }

    fn expire(&mut self, mut pending: Pending, at: Moment<'_>, out: &mut Vec<Effect>) {
        let live = matches!(self.phase, Phase::Live { .. });
        if let (
            Progress::Uncertain,
            What::Submit {
                idempotent: true,
                resubmitted,
                ..
            },
            true,
        ) = (pending.progress, &mut pending.what, live)
            && !std::mem::replace(resubmitted, true)
        {
            // The key makes a second run impossible, and the answer the same [ARCP 7.2-1].
            pending.progress = Progress::Sent;
            pending.deadline = at.now + self.config.reply_timeout;
            pending.frame.id = Some(at.names.message());
            self.transmit(pending.frame.clone(), at.now, out);
            return self.requests.again(pending);
        }
        let error = match pending.progress {
            Progress::Sent => RequestError::Timeout {
                after: self.config.reply_timeout,
            },
            Progress::Queued => RequestError::Disconnected {
                maybe_accepted: false,
            },
            Progress::Uncertain => RequestError::Disconnected {
                maybe_accepted: true,
            },
        };
        self.fail(pending, error, out);
    }

    /// The connection is gone: what can wait for the next one waits, if there may be one.
    pub(super) fn requests_lost(&mut self, out: &mut Vec<Effect>) {
        let mut given_up = self.requests.lost();
        if !self.config.reconnects {
            given_up.extend(self.requests.drain());
        }
        for pending in given_up {
            let reply = match (&pending.what, pending.progress) {
                (What::Unsubscribe, _) => Reply::Done,
                (_, progress) => Reply::Failed(RequestError::Disconnected {
                    maybe_accepted: progress == Progress::Uncertain,
                }),
            };
            match reply {
                Reply::Failed(error) => self.fail(pending, error, out),
                done => self.answer(pending, done, out),
            }
        }
    }

    /// There is a connection again: asks what has to be asked again.
    pub(super) fn resend(&mut self, at: Moment<'_>, out: &mut Vec<Effect>) {
        for (key, frame) in self.requests.live_again(at.now + self.config.reply_timeout) {
            self.send_request(key, frame, at, out);
        }
    }
}

fn answered(answer: &Answer) -> Envelope {
    let frame = envelope(answer);
    match answer.job_id.clone() {
        Some(job) => frame.with_job(job),
        None => frame,
    }
}

fn submitted(mut submit: Submit) -> (What, Envelope) {
    // Some runtimes refuse a submit without it; null is what an absent one means.
    submit.input.get_or_insert(RawJson::NULL);
    let what = What::Submit {
        parent: submit.parent_job_id.clone(),
        idempotent: submit.idempotency_key.is_some(),
        resubmitted: false,
    };
    (what, envelope(&submit))
}

fn cancelled(job: JobId, reason: String) -> (What, Envelope) {
    let cancel = Cancel {
        job_id: Some(job.clone()),
        reason: Some(reason),
    };
    let frame = envelope(&cancel).with_job(job.clone());
    (What::Cancel { job }, frame)
}

fn subscribe(job: JobId, from: Option<JobSeq>, history: bool, input: bool) -> Envelope {
    let message = Subscribe {
        job_id: Some(job.clone()),
        from_event_seq: from,
        history: Some(history),
        input,
    };
    envelope(&message).with_job(job)
}
