//! What a runtime sends once the session stands.

use serde::Deserialize;
use towline_wire::{
    Envelope, ErrorCode, EventSeq, JobId, JobStatus, MessageId, MessageType, Payload, PayloadError,
    TraceId,
    payload::{self, Pong},
};

use super::{
    Effect, JobEnd, Lane, Loss, Moment, Over, Reply, RequestError, credential,
    doubt::Why,
    jobs::JobKey,
    numbering::{Origin, Verdict},
    requests::{Clues, What},
    session::{ClientSession, Phase},
};

impl ClientSession {
    pub(super) fn receive_live(
        &mut self,
        envelope: Envelope,
        at: Moment<'_>,
        out: &mut Vec<Effect>,
    ) {
        if self.is_foreign(&envelope) && !self.takes_foreign_frames() {
            self.counters.ignored += 1;
        } else if envelope.kind == MessageType::JOB_EVENT {
            self.on_event(envelope, at, out);
        } else if envelope.kind.is_terminal() {
            self.on_terminal(envelope, out);
        } else {
            self.on_control(&envelope, at, out);
        }
    }

    /// A missing session is this one [ARCP 5-5].
    fn is_foreign(&self, envelope: &Envelope) -> bool {
        let ours = self.settled.as_ref().map(|settled| &settled.session_id);
        envelope.session_id.is_some() && envelope.session_id.as_ref() != ours
    }

    fn takes_foreign_frames(&self) -> bool {
        self.settled
            .as_ref()
            .is_some_and(|settled| settled.dialect.answers_with_other_sessions_frames())
    }

    fn on_event(&mut self, envelope: Envelope, at: Moment<'_>, out: &mut Vec<Effect>) {
        let known = self.find(&envelope);
        let Some(lane) = self.judge(envelope.event_seq, known, out) else {
            return;
        };
        match known {
            Some(job) => {
                self.doubts.heard(job, Some(at.now));
                self.deliver_early(job, &envelope, out);
                out.push(Effect::Event {
                    job,
                    lane,
                    envelope,
                });
            }
            None => self.of_unknown(lane, envelope, out),
        }
    }

    fn on_terminal(&mut self, envelope: Envelope, out: &mut Vec<Effect>) {
        let end = read_end(&envelope);
        let refused = self.refused_by(&envelope, &end);
        let known = match refused {
            None => self.find(&envelope),
            Some(_) => None,
        };
        let Some(lane) = self.judge(envelope.event_seq, known, out) else {
            return;
        };
        match (known, refused, end) {
            (_, Some(request), JobEnd::Error(error)) => {
                if let Some(pending) = self.requests.take_named(&request) {
                    self.fail(pending, RequestError::Refused(error.into()), out);
                }
            }
            (Some(job), _, end) => {
                self.deliver_early(job, &envelope, out);
                self.end_job(job, &envelope, end, out);
            }
            (None, _, end) if self.refuses_submit(&envelope, &end, out) => {}
            (None, ..) => self.of_unknown(lane, envelope, out),
        }
    }

    fn end_job(&mut self, job: JobKey, envelope: &Envelope, end: JobEnd, out: &mut Vec<Effect>) {
        self.answer_cancels(job, &end, out);
        self.doubts.settle(job);
        self.jobs.close(job);
        out.push(Effect::Ended {
            job,
            event_seq: envelope.event_seq,
            end: Box::new(end),
        });
    }

    /// Of a job nobody here knows: it may be the one that a submit still waits to hear of [ARCP 7.1-2].
    fn of_unknown(&mut self, lane: Lane, envelope: Envelope, out: &mut Vec<Effect>) {
        let past = |id| self.jobs.is_past(id);
        let comes_early = self
            .settled
            .as_ref()
            .is_some_and(|settled| settled.dialect.sends_events_before_acceptance());
        let waits = comes_early
            && !envelope.job_id.as_ref().is_none_or(past)
            && self.requests.awaits_acceptance(envelope.trace_id);
        if !waits {
            return self.deliver_unknown(lane, envelope, out);
        }
        for (lane, envelope) in self.early.keep(lane, envelope) {
            self.deliver_unknown(lane, envelope, out);
        }
    }

    fn deliver_unknown(&mut self, lane: Lane, envelope: Envelope, out: &mut Vec<Effect>) {
        let known = self.find(&envelope);
        if let Some(job) = known.or_else(|| self.open_unknown(&envelope, out)) {
            self.deliver(job, lane, envelope, out);
        }
    }

    /// What came of a job before it was known goes before what comes of it now.
    fn deliver_early(&mut self, job: JobKey, envelope: &Envelope, out: &mut Vec<Effect>) {
        if self.early.is_empty() {
            return;
        }
        let Some(id) = &envelope.job_id else { return };
        for (lane, envelope) in self.early.take_of(id) {
            self.deliver(job, lane, envelope, out);
        }
    }

    fn deliver(&mut self, job: JobKey, lane: Lane, envelope: Envelope, out: &mut Vec<Effect>) {
        if envelope.kind.is_terminal() {
            let end = read_end(&envelope);
            return self.end_job(job, &envelope, end, out);
        }
        out.push(Effect::Event {
            job,
            lane,
            envelope,
        });
    }

    /// What was kept for a submit that nobody waits for any more is of jobs of others.
    pub(super) fn release_strays(&mut self, out: &mut Vec<Effect>) {
        if self.early.is_empty() || self.requests.awaits_acceptance(None) {
            return;
        }
        for (lane, envelope) in self.early.take_all() {
            self.deliver_unknown(lane, envelope, out);
        }
    }

    /// The request that a `job.error` refuses: the one it names, or, where it is of no job, the one whose id it has, or the
    /// subscribe to its job or the cancel of it, in runtimes that refuse those this way.
    fn refused_by(&mut self, envelope: &Envelope, end: &JobEnd) -> Option<MessageId> {
        let JobEnd::Error(error) = end else {
            return None;
        };
        let echoed = envelope.id.as_ref().filter(|_| envelope.job_id.is_none());
        let named = error.request_id.as_ref().or(echoed);
        if let Some(named) = named.filter(|id| self.requests.has(id)) {
            return Some(named.clone());
        }
        let refuses_watching = self
            .settled
            .as_ref()
            .is_some_and(|settled| settled.dialect.refuses_watching_with_job_error());
        let says_no = [
            ErrorCode::JOB_NOT_FOUND,
            ErrorCode::PERMISSION_DENIED,
            ErrorCode::INVALID_REQUEST,
        ];
        if !refuses_watching || !says_no.contains(&error.code) {
            return None;
        }
        let job = envelope.job_id.as_ref()?;
        let followed = self.jobs.find(job).is_some();
        self.requests.answered_by_end_of(job, followed)
    }

    /// Some runtimes refuse a submit with the `job.error` of a job nobody has heard of.
    fn refuses_submit(&mut self, envelope: &Envelope, end: &JobEnd, out: &mut Vec<Effect>) -> bool {
        let JobEnd::Error(error) = end else {
            return false;
        };
        if envelope
            .job_id
            .as_ref()
            .is_some_and(|job| self.jobs.is_past(job))
        {
            return false;
        }
        let by_order = self
            .settled
            .as_ref()
            .is_some_and(|settled| settled.dialect.refuses_submit_with_job_error());
        let clues = Clues {
            request: error.request_id.as_ref(),
            envelope,
        };
        let Some(pending) = self.requests.take_refused_submit(clues, by_order) else {
            return false;
        };
        self.fail(pending, RequestError::Refused(error.clone().into()), out);
        true
    }

    /// The end as cancelled answers a cancel, in runtimes that have no `job.cancelled`.
    fn answer_cancels(&mut self, job: JobKey, end: &JobEnd, out: &mut Vec<Effect>) {
        let status = match end {
            JobEnd::Result(result) => result.final_status,
            JobEnd::Error(error) => error.final_status,
            JobEnd::Unreadable(_) => return,
        };
        let Some(id) = self
            .jobs
            .id(job)
            .filter(|_| status == JobStatus::Cancelled)
            .cloned()
        else {
            return;
        };
        while let Some(pending) = self.requests.take_cancels_of(&id) {
            self.answer(pending, Reply::Cancelled(None), out);
        }
    }

    fn on_control(&mut self, envelope: &Envelope, at: Moment<'_>, out: &mut Vec<Effect>) {
        if envelope.event_seq.is_some() && self.judge(envelope.event_seq, None, out).is_none() {
            return;
        }
        let kind = &envelope.kind;
        if *kind == MessageType::SESSION_PING {
            self.on_ping(envelope, at, out);
        } else if *kind == MessageType::SESSION_PONG {
            self.on_pong(envelope, out);
        } else if *kind == MessageType::JOB_ACCEPTED {
            self.on_accepted(envelope, at, out);
        } else if *kind == MessageType::JOB_CANCELLED {
            self.on_cancelled(envelope, out);
        } else if *kind == MessageType::JOB_SUBSCRIBED {
            self.on_subscribed(envelope, out);
        } else if *kind == MessageType::SESSION_JOBS {
            self.on_jobs(envelope, out);
        } else if *kind == MessageType::SESSION_ERROR {
            self.on_error(envelope, out);
        } else if *kind == MessageType::ANSWERED {
            self.on_answered(envelope, out);
        } else if *kind == MessageType::MESSAGE_ACCEPTED {
            self.on_message_accepted(envelope, out);
        } else if *kind == MessageType::QUESTIONS {
            self.on_questions(envelope, out);
        } else if [
            MessageType::SESSION_CLOSED,
            MessageType::SESSION_CLOSE,
            MessageType::SESSION_BYE,
        ]
        .contains(kind)
        {
            self.on_closed(envelope, out);
        } else {
            self.counters.ignored += 1;
        }
    }

    fn on_ping(&mut self, envelope: &Envelope, at: Moment<'_>, out: &mut Vec<Effect>) {
        let nonce = envelope
            .decode::<payload::Ping>()
            .map(|ping| ping.nonce)
            .unwrap_or_default();
        self.post(
            &Pong {
                ping_nonce: nonce,
                received_at: Some(at.wall),
            },
            at,
            out,
        );
    }

    fn on_pong(&mut self, envelope: &Envelope, out: &mut Vec<Effect>) {
        let Ok(pong) = envelope.decode::<Pong>() else {
            return;
        };
        let Some(pending) = self.requests.take_pong(&pong.ping_nonce) else {
            return;
        };
        let reply = match &pending.what {
            What::Ping { .. } => Reply::Pong,
            What::Cancel { .. } => Reply::Cancelled(None),
            _ => Reply::Done,
        };
        self.answer(pending, reply, out);
    }

    fn on_accepted(&mut self, envelope: &Envelope, at: Moment<'_>, out: &mut Vec<Effect>) {
        let Some(mut accepted) = self.read::<payload::Accepted>(envelope, out) else {
            return;
        };
        credential::keep_usable(&mut accepted.credentials);
        let Some(id) = accepted.job_id.clone().or_else(|| envelope.job_id.clone()) else {
            self.counters.ignored += 1;
            return;
        };
        let clues = Clues {
            request: accepted.request_id.as_ref(),
            envelope,
        };
        let pending = self
            .requests
            .take_accepted(clues, accepted.parent_job_id.as_ref());
        let known = self.jobs.find(&id).is_some() || self.jobs.is_past(&id);
        let trace = accepted.trace_id.or(envelope.trace_id);
        let accepted = Box::new(accepted);
        match pending {
            Some(pending) => {
                let job = self.take_in(&id, trace, known, self.is_foreign(envelope), &pending.what);
                if job.may_be_over {
                    self.doubts.add(job.key, id.clone(), Why::Repeat, at.now);
                }
                let early = self.early.take_of(&id);
                let reply = Reply::Accepted {
                    job: job.key,
                    id,
                    accepted,
                    lacks_past: job.lacks_past,
                };
                self.answer(pending, reply, out);
                for (lane, envelope) in early {
                    self.doubts.heard(job.key, None);
                    self.deliver(job.key, lane, envelope, out);
                }
            }
            // Sent again before the job's first replayed event.
            None if known => {}
            None => {
                let job = self.jobs.own(&id, trace);
                let early = self.early.take_of(&id);
                out.push(Effect::Opened {
                    job,
                    id,
                    accepted: Some(accepted),
                });
                for (lane, envelope) in early {
                    self.deliver(job, lane, envelope, out);
                }
            }
        }
    }

    /// Takes in the job that a submit was answered with. Another session's job, found by its key, has to be watched by this
    /// one to see anything.
    fn take_in(
        &mut self,
        id: &JobId,
        trace: Option<TraceId>,
        known: bool,
        foreign: bool,
        what: &What,
    ) -> Taken {
        let key = if foreign {
            self.jobs.watch(id)
        } else {
            self.jobs.own(id, trace)
        };
        let lacks_past = (known || foreign) && self.can_subscribe();
        Taken {
            key,
            lacks_past,
            may_be_over: !lacks_past && self.may_be_a_repeat(what),
        }
    }

    /// Whether the job of this submit may be a finished one, of which nothing more will be said.
    fn may_be_a_repeat(&self, what: &What) -> bool {
        let unanswered = self
            .settled
            .as_ref()
            .is_some_and(|settled| settled.dialect.leaves_repeats_unanswered());
        let has_key = matches!(
            what,
            What::Submit {
                idempotent: true,
                ..
            }
        );
        unanswered && has_key
    }

    fn on_cancelled(&mut self, envelope: &Envelope, out: &mut Vec<Effect>) {
        let Some(cancelled) = self.read::<payload::Cancelled>(envelope, out) else {
            return;
        };
        let job = cancelled.job_id.as_ref().or(envelope.job_id.as_ref());
        let clues = Clues {
            request: cancelled.request_id.as_ref(),
            envelope,
        };
        if let Some(pending) = self.requests.take_cancelled(clues, job) {
            self.answer(pending, Reply::Cancelled(Some(cancelled)), out);
        }
    }

    fn on_subscribed(&mut self, envelope: &Envelope, out: &mut Vec<Effect>) {
        let Some(mut subscribed) = self.read::<payload::Subscribed>(envelope, out) else {
            return;
        };
        credential::keep_usable(&mut subscribed.credentials);
        let job = subscribed.job_id.as_ref().or(envelope.job_id.as_ref());
        let clues = Clues {
            request: subscribed.request_id.as_ref(),
            envelope,
        };
        if let Some(pending) = self.requests.take_subscribed(clues, job) {
            self.answer(pending, Reply::Subscribed(Box::new(subscribed)), out);
        }
    }

    fn on_jobs(&mut self, envelope: &Envelope, out: &mut Vec<Effect>) {
        let Some(jobs) = self.read::<payload::Jobs>(envelope, out) else {
            return;
        };
        let clues = Clues {
            request: jobs.request_id.as_ref(),
            envelope,
        };
        match self.requests.take_jobs(clues) {
            Some(pending) if pending.what == What::Census => self.cease(&jobs, out),
            Some(pending) => self.answer(pending, Reply::Jobs(jobs), out),
            None => {}
        }
    }

    /// An error of a request ends that request and nothing else [ARCP 12-2].
    fn on_error(&mut self, envelope: &Envelope, out: &mut Vec<Effect>) {
        let Some(error) = self.read::<payload::SessionError>(envelope, out) else {
            return;
        };
        let clues = Clues {
            request: error.request_id.as_ref(),
            envelope,
        };
        let job = error.job_id.as_ref().or(envelope.job_id.as_ref());
        match self.requests.take_refused(clues, job) {
            Some(pending) => self.fail(pending, RequestError::Refused(error.into()), out),
            None => out.push(Effect::Reported(error.into())),
        }
    }

    fn on_closed(&mut self, envelope: &Envelope, out: &mut Vec<Effect>) {
        let reason = envelope
            .decode::<payload::Closed>()
            .ok()
            .and_then(|closed| closed.reason);
        match &self.phase {
            Phase::Closing { .. } => self.end(Over::Closed, out),
            _ if reason.as_deref() == Some("shutdown") => self.drop_link(Loss::Shutdown, out),
            // The session is as it was, and whoever has it may still want it [ARCP 14-1].
            _ if reason.as_deref() == Some("idle") => self.drop_link(Loss::Idle, out),
            _ => self.end(Over::ByRuntime { reason }, out),
        }
    }

    /// Reads a reply. One that cannot be read still answers the request it names.
    pub(super) fn read<P: Payload>(
        &mut self,
        envelope: &Envelope,
        out: &mut Vec<Effect>,
    ) -> Option<P> {
        match envelope.decode() {
            Ok(payload) => Some(payload),
            Err(cause) => {
                self.unreadable(envelope, cause, out);
                None
            }
        }
    }

    fn unreadable(&mut self, envelope: &Envelope, cause: PayloadError, out: &mut Vec<Effect>) {
        #[derive(Deserialize)]
        struct OnlyRequest {
            #[serde(default, alias = "reply_to")]
            request_id: Option<MessageId>,
        }
        self.counters.ignored += 1;
        let named = envelope
            .payload
            .read::<OnlyRequest>()
            .ok()
            .and_then(|only| only.request_id);
        if let Some(pending) = named.and_then(|id| self.requests.take_named(&id)) {
            self.fail(pending, RequestError::Unreadable(cause), out);
        }
    }

    fn find(&mut self, envelope: &Envelope) -> Option<JobKey> {
        match &envelope.job_id {
            Some(id) => self.jobs.find(id),
            None => self.jobs.guess(envelope.trace_id),
        }
    }

    /// A job nobody here has asked for, and nobody has announced. What still comes of a past one is dropped.
    fn open_unknown(&mut self, envelope: &Envelope, out: &mut Vec<Effect>) -> Option<JobKey> {
        let id = envelope.job_id.clone().filter(|id| !self.jobs.is_past(id));
        let Some(id) = id else {
            self.counters.ignored += 1;
            return None;
        };
        let job = self.jobs.own(&id, envelope.trace_id);
        out.push(Effect::Opened {
            job,
            id,
            accepted: None,
        });
        Some(job)
    }

    /// What an envelope's number says; `None` drops it [ARCP 8-3, 8-4].
    fn judge(
        &mut self,
        seq: Option<EventSeq>,
        job: Option<JobKey>,
        out: &mut Vec<Effect>,
    ) -> Option<Lane> {
        let Some(seq) = seq else {
            return Some(Lane::Session);
        };
        let origin = job.map_or(Origin::Own, |job| self.jobs.origin(job));
        let lane = match self.numbering.judge(seq, origin) {
            Verdict::Fresh(lane) => lane,
            Verdict::Duplicate => {
                self.counters.duplicates += 1;
                return None;
            }
            Verdict::Gap { expected } => {
                self.counters.gaps += 1;
                // A session that is being closed wants nothing more.
                if self.is_live() {
                    self.drop_link(Loss::Gap { expected, got: seq }, out);
                }
                return None;
            }
            Verdict::Skipped { missing } => {
                self.counters.skipped += seq.since(missing);
                Lane::Session
            }
        };
        if let Phase::Live {
            acker: Some(acker), ..
        } = &mut self.phase
        {
            acker.received();
        }
        Some(lane)
    }
}

/// How a terminal says that its job ended.
fn read_end(envelope: &Envelope) -> JobEnd {
    if envelope.kind == MessageType::JOB_RESULT {
        let result = envelope.decode();
        return result.map_or_else(JobEnd::Unreadable, JobEnd::Result);
    }
    let error = envelope.decode();
    error.map_or_else(JobEnd::Unreadable, JobEnd::Error)
}

/// A job that a submit was answered with.
struct Taken {
    key: JobKey,
    /// Whether what came before has to be asked for.
    lacks_past: bool,
    /// Whether nothing more may ever be said of it.
    may_be_over: bool,
}
