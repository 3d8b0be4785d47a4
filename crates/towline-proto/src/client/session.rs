//! The life of a session: connect, live, lose, resume, close.

use std::time::Duration;

use towline_wire::{
    Envelope, ErrorCode, EventSeq, Feature, FeatureSet, JobId, MessageType, Payload, SessionId,
    payload::{Ack, Close, Ping, SessionError},
};

use super::{
    Counters, Effect, Established, HandshakeError, JobKey, Loss, Moment, Over, Reply, Request,
    RequestError, RequestKey, ResumePoint, SessionConfig,
    acker::Acker,
    doubt::{Doubts, Why},
    early::Early,
    handshake,
    jobs::Jobs,
    numbering::Numbering,
    requests::Requests,
};
use crate::{
    Dialect,
    heartbeat::{Beat, Heartbeat},
};

/// One session as its client sees it, across all its connections.
///
/// How to drive it: [`connected`](Self::connected) when a transport is up, [`receive`](Self::receive) for every envelope,
/// [`heard`](Self::heard) for anything else that shows the peer lives, [`lost`](Self::lost) when the transport ended,
/// [`tick`](Self::tick) when the time of [`deadline`](Self::deadline) has come, [`request`](Self::request) and
/// [`close`](Self::close) for what the user wants. Each adds [`Effect`]s to `out`; carry them out in order.
///
/// ```text
/// Idle ──connected──▶ AwaitWelcome ──welcome──▶ Live ──close──▶ Closing ──closed, end, time──▶ Over
///   ▲                   │      │                 │ │
///   │◀─lost, time───────┘      └──refused──▶ Over◀┘ └──closed by the runtime, too big a frame
///   └──lost, silence, gap, shutdown──────────────┘
/// ```
///
/// Idle after the session stood means that it waits to be taken up: the next `connected` resumes it. A first handshake
/// that fails ends the session; a later one may be tried again when the failure is one that passes.
///
/// All of it, `·` for "the same". `Lost` is Idle, and `Resuming` AwaitWelcome, of a session that has stood before; `busy` is
/// a refusal that may pass, `time` what the machine itself set as its deadline, `silence` two heartbeats without a sound:
///
/// ```text
///          │ connected welcome refused busy closed shutdown gap  lost time silence close   abandon too_big
/// ─────────┼──────────────────────────────────────────────────────────────────────────────────────────────
/// Idle     │ Greeting  ·       ·       ·    ·      ·        ·    ·    ·    ·       Over    Over    Over
/// Greeting │ ·         Live    Over    Over Over   Over     Over Over Over Over    Over    Over    Over
/// Live     │ ·         ·       ·       ·    Over   Lost     Lost Lost ·    Lost    Closing Over    Over
/// Closing  │ ·         ·       ·       ·    Over   Over     ·    Over Over Over    ·       Over    Over
/// Lost     │ Resuming  ·       ·       ·    ·      ·        ·    ·    ·    ·       Over    Over    Over
/// Resuming │ ·         Live    Over    Lost Over   Over     Over Lost Lost Lost    Over    Over    Over
/// Over     │ ·         ·       ·       ·    ·      ·        ·    ·    ·    ·       ·       ·       ·
/// ```
#[derive(Debug)]
pub struct ClientSession {
    pub(super) config: SessionConfig,
    pub(super) phase: Phase,
    /// What the latest welcome settled.
    pub(super) settled: Option<Settled>,
    /// How to take the session up with the next hello.
    resume: Option<ResumePoint>,
    pub(super) numbering: Numbering,
    pub(super) jobs: Jobs,
    pub(super) requests: Requests,
    pub(super) early: Early,
    pub(super) doubts: Doubts,
    pub(super) counters: Counters,
    /// The driver does not read, so silence says nothing.
    paused: bool,
}

#[derive(Debug)]
pub(super) enum Phase {
    Idle,
    AwaitWelcome {
        until: Duration,
    },
    Live {
        heartbeat: Option<Heartbeat>,
        acker: Option<Acker>,
    },
    Closing {
        until: Duration,
    },
    Over,
}

#[derive(Debug)]
pub(super) struct Settled {
    pub(super) session_id: SessionId,
    pub(super) features: FeatureSet,
    pub(super) dialect: Dialect,
    /// How many resumes were refused since.
    pub(super) refused: u8,
}

impl ClientSession {
    /// A session to be opened, or taken up from `resume`, in which `jobs` are known from before. The second value has the
    /// keys of those jobs, in their order.
    pub fn new(
        config: SessionConfig,
        resume: Option<ResumePoint>,
        jobs: &[JobId],
    ) -> (Self, Vec<JobKey>) {
        let last = resume
            .as_ref()
            .map_or(EventSeq::ZERO, |point| point.last_event_seq);
        let mut known = Jobs::default();
        let keys = jobs.iter().map(|job| known.own(job, None)).collect();
        let session = Self {
            config,
            phase: Phase::Idle,
            settled: None,
            resume,
            numbering: Numbering::after(last),
            jobs: known,
            requests: Requests::default(),
            early: Early::default(),
            doubts: Doubts::default(),
            counters: Counters::default(),
            paused: false,
        };
        (session, keys)
    }

    /// A transport is up: says hello, asking for a resume where there is something to resume.
    pub fn connected(&mut self, at: Moment<'_>, out: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Idle) {
            return;
        }
        let dialect = self
            .config
            .dialect
            .or(self.settled.as_ref().map(|settled| settled.dialect));
        let point = self.resume_point();
        let opening = match handshake::bare_resume(&self.config, point.as_ref(), dialect) {
            Some(resume) => envelope(&resume),
            None => envelope(&handshake::hello(&self.config, point.as_ref(), dialect)),
        };
        self.phase = Phase::AwaitWelcome {
            until: at.now + self.config.handshake_timeout,
        };
        let id = at.names.message();
        let session = point.map(|point| point.session_id);
        let opening = Envelope {
            session_id: session.or_else(|| handshake::wished_session(&id)),
            ..opening.with_id(id)
        };
        out.push(Effect::Send(opening));
    }

    /// An envelope came.
    pub fn receive(&mut self, envelope: Envelope, at: Moment<'_>, out: &mut Vec<Effect>) {
        self.heard(at.now);
        match self.phase {
            Phase::Live { .. } | Phase::Closing { .. } => {
                self.receive_live(envelope, at, out);
                self.release_strays(out);
            }
            Phase::AwaitWelcome { .. } => self.receive_answer(&envelope, at, out),
            Phase::Idle | Phase::Over => {}
        }
    }

    /// The peer lives, whatever it sent.
    pub fn heard(&mut self, now: Duration) {
        if let Phase::Live {
            heartbeat: Some(heartbeat),
            ..
        } = &mut self.phase
        {
            heartbeat.heard(now);
        }
    }

    /// A frame came that is no envelope; it was skipped [ARCP 4-5].
    pub fn malformed(&mut self, now: Duration) {
        self.heard(now);
        self.counters.ignored += 1;
    }

    /// A frame above the receive limit came, after which the transport cannot be read [ARCP 4-6]. The frame would come
    /// again with every resume, so the session is over.
    pub fn too_big(&mut self, limit: usize, at: Moment<'_>, out: &mut Vec<Effect>) {
        let refusal = SessionError {
            code: ErrorCode::INVALID_REQUEST,
            message: format!("the frame is larger than {limit} bytes, the most this client takes"),
            retryable: false,
            request_id: None,
            job_id: None,
            details: None,
        };
        self.post(&refusal, at, out);
        self.end(Over::TooBig { limit }, out);
    }

    /// Says that the driver does not read, of its own accord, or reads again: meanwhile silence is not the peer's.
    pub fn set_paused(&mut self, paused: bool, now: Duration) {
        self.paused = paused;
        self.heard(now);
    }

    /// The transport ended.
    pub fn lost(&mut self, out: &mut Vec<Effect>) {
        match self.phase {
            Phase::Idle | Phase::Over => {}
            Phase::Closing { .. } => self.end(Over::Closed, out),
            Phase::AwaitWelcome { .. } if self.settled.is_none() => {
                self.end(Over::Handshake(HandshakeError::Ended), out);
            }
            Phase::AwaitWelcome { .. } | Phase::Live { .. } => self.fall_back(out),
        }
    }

    /// Closes the session: acknowledges `processed`, says goodbye, waits for the answer. Jobs go on, and the session can be
    /// resumed for the window [ARCP 6.7-2].
    pub fn close(
        &mut self,
        reason: Option<String>,
        processed: EventSeq,
        at: Moment<'_>,
        out: &mut Vec<Effect>,
    ) {
        let Phase::Live { acker, .. } = &mut self.phase else {
            if !matches!(self.phase, Phase::Closing { .. }) {
                self.end(Over::Closed, out);
            }
            return;
        };
        if let Some(seq) = acker.as_mut().and_then(|acker| acker.flush(processed)) {
            self.post(
                &Ack {
                    last_processed_seq: seq,
                },
                at,
                out,
            );
        }
        let mut goodbye = envelope(&Close { reason });
        if self
            .settled
            .as_ref()
            .is_some_and(|settled| settled.dialect.says_bye())
        {
            goodbye.kind = MessageType::SESSION_BYE;
        }
        self.transmit(goodbye.with_id(at.names.message()), at.now, out);
        self.phase = Phase::Closing {
            until: at.now + self.config.close_timeout,
        };
    }

    /// Gives the session up from here, without a word to the runtime.
    pub fn abandon(&mut self, out: &mut Vec<Effect>) {
        self.end(Over::Closed, out);
    }

    /// When [`ClientSession::tick`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        let phase = match &self.phase {
            Phase::AwaitWelcome { until } | Phase::Closing { until } => Some(*until),
            Phase::Live { heartbeat, acker } => {
                let beat = heartbeat.as_ref().map(Heartbeat::deadline);
                beat.into_iter()
                    .chain(acker.as_ref().and_then(Acker::deadline))
                    .chain(self.doubts.deadline())
                    .min()
            }
            Phase::Idle | Phase::Over => None,
        };
        phase.into_iter().chain(self.requests.deadline()).min()
    }

    /// Time has passed. `processed` says up to where the user has taken events, given the last one received.
    pub fn tick(
        &mut self,
        at: Moment<'_>,
        processed: impl FnOnce(EventSeq) -> EventSeq,
        out: &mut Vec<Effect>,
    ) {
        self.expire_requests(at, out);
        self.release_strays(out);
        match &self.phase {
            Phase::AwaitWelcome { until } if at.now >= *until => self.handshake_timed_out(out),
            Phase::Closing { until } if at.now >= *until => self.end(Over::Closed, out),
            Phase::Live { .. } => {
                self.tick_live(at, processed, out);
                self.look_into_doubts(at, out);
            }
            _ => {}
        }
    }

    fn tick_live(
        &mut self,
        at: Moment<'_>,
        processed: impl FnOnce(EventSeq) -> EventSeq,
        out: &mut Vec<Effect>,
    ) {
        let Phase::Live { heartbeat, acker } = &mut self.phase else {
            return;
        };
        let last = self.numbering.last();
        let due = acker
            .as_mut()
            .filter(|acker| acker.deadline().is_some_and(|due| at.now >= due));
        let ack = due.and_then(|acker| acker.acknowledge(processed(last), at.now));
        let beat = heartbeat.as_mut().map_or(Beat::Rest, |heartbeat| {
            if self.paused {
                heartbeat.heard(at.now);
            }
            heartbeat.poll(at.now)
        });
        if let Some(seq) = ack {
            self.post(
                &Ack {
                    last_processed_seq: seq,
                },
                at,
                out,
            );
        }
        match beat {
            Beat::Rest => {}
            Beat::Ping => self.ping(at.names.nonce(), at, out),
            Beat::Lost => self.drop_link(Loss::HeartbeatLost, out),
        }
    }

    fn handshake_timed_out(&mut self, out: &mut Vec<Effect>) {
        let timeout = HandshakeError::Timeout {
            after: self.config.handshake_timeout,
        };
        match self.settled {
            None => self.end(Over::Handshake(timeout), out),
            Some(_) => self.drop_link(Loss::Transport, out),
        }
    }

    /// Whether a session stands on a connection now.
    pub const fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live { .. })
    }

    /// Whether the driver does not read.
    pub(super) const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether nothing can follow.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// How many requests wait for a reply.
    pub fn waiting(&self) -> usize {
        self.requests.len()
    }

    /// The last event received without a gap.
    pub const fn last_event_seq(&self) -> EventSeq {
        self.numbering.last()
    }

    /// How to take the session up with another connection; `None` when the runtime gave no token.
    pub fn resume_point(&self) -> Option<ResumePoint> {
        let point = self.resume.clone()?;
        Some(ResumePoint {
            last_event_seq: self.numbering.last(),
            ..point
        })
    }

    /// The jobs of the session that are not over.
    pub fn jobs(&self) -> impl Iterator<Item = &JobId> {
        self.jobs.live()
    }

    /// The id of a job.
    pub fn job_id(&self, job: JobKey) -> Option<&JobId> {
        self.jobs.id(job)
    }

    /// The key of a job that is not over.
    pub fn job_key(&mut self, id: &JobId) -> Option<JobKey> {
        self.jobs.find(id)
    }

    /// Whether events of a job came here, or were asked for: then some may still be under way, even if the job was let go
    /// since.
    pub fn has_seen(&mut self, id: &JobId) -> bool {
        self.jobs.find(id).is_some() || self.jobs.is_past(id)
    }

    /// Whether no kind of event is left out of the session's stream [ARCP 6.2-4].
    pub fn sees_all_events(&self) -> bool {
        let features = self.settled.as_ref().map(|settled| settled.features);
        let all = [Feature::Progress, Feature::ResultChunk];
        features.is_some_and(|features| all.into_iter().all(|feature| features.has(feature)))
    }

    /// Watches a job on that has ended: its past was asked for, and comes behind that end. Call it for each handle that
    /// waits, right after [`Effect::Ended`]; the job then has the key it had.
    pub fn watch_on(&mut self, id: &JobId) -> JobKey {
        self.jobs.watch(id)
    }

    /// Lets a job go of which nothing more is to come.
    pub fn forget(&mut self, id: &JobId) {
        if let Some(job) = self.jobs.find(id) {
            self.doubts.settle(job);
            self.jobs.close(job);
        }
    }

    /// What was counted.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    fn receive_answer(&mut self, envelope: &Envelope, at: Moment<'_>, out: &mut Vec<Effect>) {
        match handshake::answer(envelope, &self.config, self.resume.as_ref()) {
            None => {}
            Some(Ok(established)) => self.establish(established, at, out),
            Some(Err(error)) if self.may_resume_after(&error) => {
                self.drop_link(Loss::Transport, out);
            }
            Some(Err(error)) => self.end(Over::Handshake(error), out),
        }
    }

    fn establish(&mut self, established: Established, at: Moment<'_>, out: &mut Vec<Effect>) {
        let Established {
            features, dialect, ..
        } = established;
        let session_id = established.session_id.clone();
        self.resume = established
            .welcome
            .resume_token
            .clone()
            .map(|token| ResumePoint {
                session_id: session_id.clone(),
                token,
                last_event_seq: self.numbering.last(),
            });
        self.settled = Some(Settled {
            session_id,
            features,
            dialect,
            refused: 0,
        });
        self.numbering
            .number_subscriptions_apart(dialect.numbers_subscriptions_apart());
        let policy = self.config.ack.filter(|_| features.has(Feature::Ack));
        self.phase = Phase::Live {
            heartbeat: established
                .heartbeat
                .map(|interval| Heartbeat::new(interval, at.now)),
            acker: policy.map(|policy| Acker::new(policy, EventSeq::ZERO, at.now)),
        };
        let resumed = established.resumed;
        self.doubts.clear();
        if resumed && dialect.goes_quiet_after_resume() {
            for (job, id) in self.jobs.own_jobs() {
                self.doubts.add(job, id, Why::Resumed, at.now);
            }
        }
        out.push(Effect::Up(Box::new(established)));
        let before = out.len();
        self.resend(at, out);
        let said_something = out[before..]
            .iter()
            .any(|effect| matches!(effect, Effect::Send(_)));
        if resumed && !said_something {
            self.speak_up(features, at, out);
        }
    }

    /// Says something at once, so that the runtime knows that the welcome came and lets go of the token before it
    /// [ARCP 6.3-1]. A session without either feature has nothing to say that asks for nothing.
    fn speak_up(&mut self, features: FeatureSet, at: Moment<'_>, out: &mut Vec<Effect>) {
        let last = self.numbering.last();
        if features.has(Feature::Heartbeat) {
            self.ping(at.names.nonce(), at, out);
        } else if features.has(Feature::Ack) && last > EventSeq::ZERO {
            let seen = self
                .resume
                .as_ref()
                .map_or(last, |point| point.last_event_seq);
            self.post(
                &Ack {
                    last_processed_seq: seen,
                },
                at,
                out,
            );
        }
    }

    /// Closes the transport, and waits to be taken up again.
    pub(super) fn drop_link(&mut self, loss: Loss, out: &mut Vec<Effect>) {
        out.push(Effect::Drop(loss));
        self.fall_back(out);
    }

    fn fall_back(&mut self, out: &mut Vec<Effect>) {
        if self.resume.is_none() {
            return self.end(Over::NotResumable, out);
        }
        self.phase = Phase::Idle;
        self.requests_lost(out);
        self.release_strays(out);
    }

    pub(super) fn end(&mut self, over: Over, out: &mut Vec<Effect>) {
        if self.is_over() {
            return;
        }
        self.phase = Phase::Over;
        out.push(Effect::Over(over));
        for pending in self.requests.drain() {
            let reply = Box::new(Reply::Failed(RequestError::SessionOver));
            out.push(Effect::Reply {
                request: pending.key,
                reply,
            });
        }
    }

    pub(super) fn ping(&mut self, nonce: String, at: Moment<'_>, out: &mut Vec<Effect>) {
        self.post(
            &Ping {
                nonce,
                sent_at: Some(at.wall),
            },
            at,
            out,
        );
    }

    /// Sends a message of this session.
    pub(super) fn post<P: Payload>(&mut self, payload: &P, at: Moment<'_>, out: &mut Vec<Effect>) {
        self.transmit(envelope(payload).with_id(at.names.message()), at.now, out);
    }

    pub(super) fn transmit(
        &mut self,
        mut envelope: Envelope,
        now: Duration,
        out: &mut Vec<Effect>,
    ) {
        envelope.session_id = self
            .settled
            .as_ref()
            .map(|settled| settled.session_id.clone());
        if let Phase::Live {
            heartbeat: Some(heartbeat),
            ..
        } = &mut self.phase
        {
            heartbeat.sent(now);
        }
        out.push(Effect::Send(envelope));
    }

    /// Makes a request. Its reply comes as [`Effect::Reply`] under the key given back; a subscribe also has the key of the
    /// job, under which events may come before the reply.
    ///
    /// # Errors
    /// [`RequestError`] when it cannot be made; then nothing was sent and no reply comes.
    pub fn request(
        &mut self,
        request: Request,
        at: Moment<'_>,
        out: &mut Vec<Effect>,
    ) -> Result<(RequestKey, Option<JobKey>), RequestError> {
        let may_wait = self.config.reconnects;
        let settled = match (&self.phase, &self.settled) {
            (Phase::Over | Phase::Closing { .. }, _) => return Err(RequestError::SessionOver),
            (Phase::Live { .. }, Some(settled)) => settled,
            (Phase::Idle | Phase::AwaitWelcome { .. }, Some(settled)) if may_wait => settled,
            _ => {
                return Err(RequestError::Disconnected {
                    maybe_accepted: false,
                });
            }
        };
        super::needs::check(&request, settled.features)?;
        Ok(self.issue(request, at, out))
    }
}

/// Our payloads always have a JSON form; one that had none would go out empty and be refused by name.
pub(super) fn envelope<P: Payload>(payload: &P) -> Envelope {
    Envelope::of(payload).unwrap_or_else(|_| Envelope::new(P::TYPE))
}
