//! A runtime as small as it can be: the machines, and maps for what they leave to their driver. Everything it decides is
//! committed at once.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use towline_proto::{
    Dialect, fingerprint,
    heartbeat::{Beat, Heartbeat},
    job::{Cause, Failure, JobMachine, Outcome, Stop, Terminal},
    outbox::Outbox,
    refusal::Refusal,
    server::{AttachRequest, Effect, Goodbye, Request, RequestKind, ServerSession, Submission},
    span::{RecordKind, SpanView, project},
};
use towline_wire::{
    Envelope, ErrorCode, EventSeq, Feature, FeatureSet, JobId, JobSeq, MessageId, RawJson,
    SessionId, Timestamp, TraceId, payload,
};

use crate::job::{BEAT, Job, envelope, event, message_type, welcome};

/// Names a connection; never used again.
pub(crate) type ConnId = u64;

#[derive(Default)]
pub(crate) struct Host {
    connections: BTreeMap<ConnId, Connection>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) jobs: Vec<Job>,
    keys: BTreeMap<String, (usize, [u8; 32])>,
    minted: u64,
}

struct Connection {
    machine: ServerSession,
    session: Option<SessionId>,
    /// Up to where the stream was written here.
    position: EventSeq,
    replies: VecDeque<Envelope>,
    announced: BTreeSet<JobId>,
    heartbeat: Heartbeat,
}

pub(crate) struct Session {
    pub(crate) outbox: Outbox,
    features: FeatureSet,
    /// The latest last. An older one is good until the connection whose welcome had the newer one is heard, so that a
    /// welcome that gets lost does not take the session with it; what a runtime does about that is not tested here.
    tokens: Vec<String>,
    connection: Option<ConnId>,
    /// The highest number that was written.
    offered: EventSeq,
}

impl Host {
    pub(crate) fn accept(&mut self, connection: ConnId, now: Duration) {
        let state = Connection {
            machine: ServerSession::new(FeatureSet::ALL.without(Feature::ProvisionedCredentials)),
            session: None,
            position: EventSeq::ZERO,
            replies: VecDeque::new(),
            announced: BTreeSet::new(),
            heartbeat: Heartbeat::new(BEAT, now),
        };
        self.connections.insert(connection, state);
    }

    pub(crate) fn is_open(&self, connection: ConnId) -> bool {
        self.connections.contains_key(&connection)
    }

    /// The connection is gone; its session stays.
    pub(crate) fn lose(&mut self, connection: ConnId) {
        let Some(Connection {
            session: Some(session),
            ..
        }) = self.connections.remove(&connection)
        else {
            return;
        };
        if let Some(session) = self
            .sessions
            .get_mut(&session)
            .filter(|session| session.connection == Some(connection))
        {
            session.connection = None;
        }
    }

    /// A frame came.
    pub(crate) fn receive(&mut self, connection: ConnId, frame: Envelope, now: Duration) {
        let Some(state) = self.connections.get_mut(&connection) else {
            return;
        };
        state.heartbeat.heard(now);
        let session = state
            .session
            .clone()
            .and_then(|session| self.sessions.get_mut(&session));
        if let Some(session) = session {
            session.tokens.drain(..session.tokens.len() - 1);
        }
        let mut effect = state.machine.on_frame(frame);
        if let Effect::Authenticate(_) = effect {
            effect = state.machine.on_principal();
        }
        self.carry_out(connection, effect);
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Duration) {
        let mut lost = Vec::new();
        for (id, connection) in &mut self.connections {
            match connection.heartbeat.poll(now) {
                Beat::Rest => {}
                Beat::Ping => {
                    self.minted += 1;
                    let ping = payload::Ping {
                        nonce: format!("p_{}", self.minted),
                        sent_at: None,
                    };
                    connection.replies.push_front(envelope(&ping));
                }
                Beat::Lost => lost.push(*id),
            }
        }
        lost.into_iter().for_each(|id| self.lose(id));
    }

    fn carry_out(&mut self, connection: ConnId, effect: Effect) {
        match effect {
            Effect::Attach(attach) => self.attach(connection, *attach),
            Effect::Pong { nonce } => {
                let pong = payload::Pong {
                    ping_nonce: nonce,
                    received_at: None,
                };
                self.reply(connection, envelope(&pong));
            }
            Effect::Acknowledged(seq) => {
                if let Some(session) = self
                    .session_of(connection)
                    .and_then(|id| self.sessions.get_mut(&id))
                {
                    session.outbox.ack(seq, session.offered);
                }
            }
            Effect::Request(request) => self.request(connection, *request),
            Effect::Refuse { request, refusal } => {
                self.reply(connection, envelope(&refusal.payload(request)))
            }
            Effect::Reject { .. } | Effect::Close { .. } => self.lose(connection),
            Effect::None | Effect::Authenticate(_) => {}
        }
    }

    fn attach(&mut self, connection: ConnId, attach: AttachRequest) {
        let features = attach.wanted.unwrap_or(FeatureSet::NONE);
        let (id, position) = match &attach.resume {
            None => (self.open(features), EventSeq::ZERO),
            Some(target) => match self.find(target.token.expose(), target.last_event_seq) {
                Some(id) => (id, target.last_event_seq),
                None => {
                    let refusal =
                        Refusal::new(ErrorCode::RESUME_WINDOW_EXPIRED, "the token is unknown");
                    if let Some(state) = self.connections.get_mut(&connection) {
                        state.machine.reject(
                            attach.request.clone(),
                            refusal.clone(),
                            Goodbye::Policy,
                        );
                    }
                    return self.reply(connection, envelope(&refusal.payload(attach.request)));
                }
            },
        };
        self.minted += 1;
        let token = format!("rt_{}", self.minted);
        let session = self.sessions.get_mut(&id).unwrap();
        session.tokens.push(token.clone());
        session.features = features;
        let superseded = session.connection.replace(connection);
        let state = self.connections.get_mut(&connection).unwrap();
        state.machine.on_attached(id.clone(), features);
        state.session = Some(id.clone());
        state.position = position;
        let welcome = welcome(&id, token, features);
        self.reply(connection, welcome);
        // Nobody is there any more to be told.
        superseded
            .into_iter()
            .for_each(|old| drop(self.connections.remove(&old)));
    }

    fn open(&mut self, features: FeatureSet) -> SessionId {
        let id = SessionId::parse(&format!("sess_{}", self.sessions.len() + 1)).unwrap();
        let session = Session {
            outbox: Outbox::default(),
            features,
            tokens: Vec::new(),
            connection: None,
            offered: EventSeq::ZERO,
        };
        self.sessions.insert(id.clone(), session);
        id
    }

    fn find(&self, token: &str, position: EventSeq) -> Option<SessionId> {
        let (id, session) = self
            .sessions
            .iter()
            .find(|(_, session)| session.tokens.iter().any(|known| known == token))?;
        session.outbox.check_replay(position).unwrap();
        assert!(
            position <= session.offered,
            "a client has no more than it was sent"
        );
        Some(id.clone())
    }

    fn request(&mut self, connection: ConnId, request: Request) {
        let Request {
            id, trace, kind, ..
        } = request;
        let Some(session) = self.session_of(connection) else {
            return;
        };
        let done = match kind {
            RequestKind::Submit(submission) => {
                self.submit(connection, &session, id.clone(), trace, &submission)
            }
            RequestKind::Cancel { job, reason } => {
                self.cancel(connection, id.clone(), &job, reason)
            }
            RequestKind::Subscribe { job, history, .. } => {
                self.subscribe(connection, &session, id.clone(), &job, history)
            }
            RequestKind::Unsubscribe { .. }
            | RequestKind::List(_)
            | RequestKind::WhoAmI
            | RequestKind::RevokeSessions { .. }
            | RequestKind::Schedule(_)
            | RequestKind::Webhook(_)
            | RequestKind::Answer { .. }
            | RequestKind::Speak { .. }
            | RequestKind::Inbox { .. } => Ok(()),
        };
        if let Err(refusal) = done {
            self.reply(connection, envelope(&refusal.payload(id)));
        }
    }

    fn submit(
        &mut self,
        connection: ConnId,
        session: &SessionId,
        request: Option<MessageId>,
        trace: Option<TraceId>,
        submission: &Submission,
    ) -> Result<(), Refusal> {
        let fingerprint = fingerprint::of_submit(&submission.raw).unwrap();
        let key = submission.payload.idempotency_key.clone();
        let known = key.as_ref().and_then(|key| self.keys.get(key).copied());
        if known.is_some_and(|(_, other)| other != fingerprint) {
            return Err(Refusal::new(
                ErrorCode::DUPLICATE_KEY,
                "the key stands for another submit",
            ));
        }
        let at = known.map_or(self.jobs.len(), |(at, _)| at);
        if known.is_none() {
            self.jobs.push(Job {
                id: JobId::parse(&format!("job_{}", at + 1)).unwrap(),
                owner: session.clone(),
                trace: trace.unwrap(),
                machine: JobMachine::new(),
                log: Vec::new(),
                observers: BTreeSet::from([session.clone()]),
            });
            self.keys.extend(key.map(|key| (key, (at, fingerprint))));
        }
        let job = &mut self.jobs[at];
        let is_foreign = job.owner != *session;
        let accepted = job.accepted(request);
        if is_foreign && !job.machine.status().is_terminal() {
            job.observers.insert(session.clone());
        }
        let id = job.id.clone();
        self.connections
            .get_mut(&connection)
            .unwrap()
            .announced
            .insert(id);
        self.reply(connection, accepted);
        if is_foreign {
            self.replay(session, at, JobSeq::ZERO);
        }
        Ok(())
    }

    fn cancel(
        &mut self,
        connection: ConnId,
        request: Option<MessageId>,
        job: &JobId,
        reason: Option<String>,
    ) -> Result<(), Refusal> {
        let at = self.position(job)?;
        let stop = self.jobs[at].machine.stop(Cause::Cancelled {
            reason: reason.clone(),
        });
        let cancelled = payload::Cancelled {
            request_id: request,
            job_id: Some(job.clone()),
            reason,
        };
        match stop {
            Stop::TooLate(status) => {
                return Err(Refusal::invalid(format!("the job ends as {status}")));
            }
            Stop::EndNow(end) => {
                self.reply(connection, envelope(&cancelled).with_job(job.clone()));
                self.end(at, &end);
            }
            Stop::StopAgent | Stop::Already => {
                self.reply(connection, envelope(&cancelled).with_job(job.clone()))
            }
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        connection: ConnId,
        session: &SessionId,
        request: Option<MessageId>,
        job: &JobId,
        history: Option<JobSeq>,
    ) -> Result<(), Refusal> {
        let at = self.position(job)?;
        let job = &mut self.jobs[at];
        let last = JobSeq::new(job.log.len() as u64);
        if !job.machine.status().is_terminal() {
            job.observers.insert(session.clone());
        }
        let replays = history.filter(|after| *after < last);
        let subscribed = job.subscribed(request, last, replays.is_some());
        self.reply(connection, subscribed);
        replays
            .into_iter()
            .for_each(|after| self.replay(session, at, after));
        Ok(())
    }

    fn replay(&mut self, session: &SessionId, at: usize, after: JobSeq) {
        let kinds: Vec<RecordKind> = self.jobs[at]
            .log
            .iter()
            .skip(after.value() as usize)
            .map(|(kind, _)| *kind)
            .collect();
        self.project(session, at, after.next(), &kinds, true);
    }

    fn project(
        &mut self,
        session: &SessionId,
        at: usize,
        from: JobSeq,
        kinds: &[RecordKind],
        replayed: bool,
    ) {
        let session = self.sessions.get_mut(session).unwrap();
        let next = session.outbox.last().next();
        for span in project(
            &self.jobs[at].id,
            from,
            kinds,
            session.features,
            next,
            replayed,
        ) {
            assert!(session.outbox.push(span), "spans are consecutive");
        }
    }

    /// A job does something; `what` decides.
    pub(crate) fn work(&mut self, at: usize, what: u8) {
        let job = &mut self.jobs[at];
        if job.machine.start() {
            return self.append(at, RecordKind::Event, event("status"));
        }
        let end = match what {
            0 => job.machine.finish(Outcome::Returned(RawJson::NULL)),
            1 => job.machine.finish(Outcome::Failed(Failure::new(
                ErrorCode::INTERNAL_ERROR,
                "x",
            ))),
            2 => match job.machine.stop(Cause::TimedOut) {
                Stop::EndNow(end) => Some(end),
                _ => None,
            },
            _ if !job.machine.is_open() => None,
            3 => return self.append(at, RecordKind::Progress, event("progress")),
            _ => return self.append(at, RecordKind::Event, event("log")),
        };
        end.into_iter().for_each(|end| self.end(at, &end));
    }

    /// Ends a job whatever it is at.
    pub(crate) fn finish(&mut self, at: usize) {
        let end = self.jobs[at]
            .machine
            .finish(Outcome::Returned(RawJson::NULL));
        end.into_iter().for_each(|end| self.end(at, &end));
    }

    fn end(&mut self, at: usize, end: &Terminal) {
        let kind = if end.is_result() {
            RecordKind::Result
        } else {
            RecordKind::Error
        };
        self.append(
            at,
            kind,
            end.payload(Timestamp::from_unix_micros(0)).unwrap(),
        );
        self.jobs[at].observers.clear();
    }

    fn append(&mut self, at: usize, kind: RecordKind, payload: RawJson) {
        let job = &mut self.jobs[at];
        job.log.push((kind, payload));
        let seq = JobSeq::new(job.log.len() as u64);
        for session in job.observers.clone() {
            self.project(&session, at, seq, &[kind], false);
        }
    }

    /// What a connection writes next: replies first, then its session's stream.
    pub(crate) fn write(&mut self, connection: ConnId, now: Duration) -> Option<Envelope> {
        let state = self.connections.get_mut(&connection)?;
        let id = state.session.clone();
        let frame = match state.replies.pop_front() {
            Some(reply) => reply,
            None => self.next_event(connection)?,
        };
        let state = self.connections.get_mut(&connection)?;
        state.heartbeat.sent(now);
        self.minted += 1;
        let message = MessageId::parse(&format!("msg_{}", self.minted)).unwrap();
        let session = id.unwrap_or_else(|| SessionId::parse("sess_none").unwrap());
        Some(frame.with_id(message).with_session(session))
    }

    fn next_event(&mut self, connection: ConnId) -> Option<Envelope> {
        let state = self.connections.get_mut(&connection)?;
        let id = state.session.clone()?;
        let session = self.sessions.get_mut(&id)?;
        let run = session.outbox.after(state.position)?;
        assert_eq!(run.first, state.position.next(), "the stream has no hole");
        let job = self.jobs.iter().find(|job| job.id == run.job)?;
        if job.owner == id && !run.view.replayed && state.announced.insert(job.id.clone()) {
            return Some(job.accepted(None));
        }
        assert_eq!(
            run.view,
            SpanView {
                assembled: false,
                replayed: run.view.replayed
            }
        );
        let (kind, payload) = job.log[run.from.value() as usize - 1].clone();
        state.position = run.first;
        session.offered = session.offered.max(run.first);
        let mut frame = Envelope {
            payload,
            ..Envelope::new(message_type(kind))
        };
        frame.event_seq = Some(run.first);
        frame.job_seq = Some(run.from);
        Some(frame.with_job(job.id.clone()).with_trace(Some(job.trace)))
    }

    fn reply(&mut self, connection: ConnId, reply: Envelope) {
        if let Some(state) = self.connections.get_mut(&connection) {
            state.replies.push_back(reply);
        }
    }

    fn session_of(&self, connection: ConnId) -> Option<SessionId> {
        self.connections.get(&connection)?.session.clone()
    }

    fn position(&self, job: &JobId) -> Result<usize, Refusal> {
        self.jobs
            .iter()
            .position(|known| known.id == *job)
            .ok_or_else(|| Refusal::job_not_found(job))
    }
}

/// How the clients of this host read the draft.
pub(crate) const DIALECT: Dialect = Dialect::Draft;
