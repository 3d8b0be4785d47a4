//! A client's end: the machine, and what a driver keeps beside it.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use towline_proto::client::{
    ClientSession, Effect, JobKey, Loss, Moment, Names, Over, Reply, Request, SessionConfig,
};
use towline_wire::{
    Envelope, EventSeq, JobId, JobSeq, MessageId, Secret, SessionId, Timestamp, TraceId, payload,
};

use crate::host::DIALECT;

pub(crate) struct End {
    pub(crate) session: ClientSession,
    names: Counted,
    pub(crate) id: Option<SessionId>,
    /// What each number of the session stood for.
    pub(crate) seen: BTreeMap<EventSeq, (JobId, JobSeq)>,
    jobs: BTreeMap<JobKey, JobId>,
    /// The last of its own events each job has given.
    last: BTreeMap<JobId, JobSeq>,
    /// How often each job was opened and not let go, and how often it ended.
    pub(crate) opened: BTreeMap<JobId, u32>,
    pub(crate) ended: BTreeMap<JobId, u32>,
    /// Jobs that were let go because the answer to a subscribe was lost.
    pub(crate) let_go: BTreeSet<JobId>,
    pub(crate) keys: BTreeSet<u8>,
}

/// What the stage has to do for an end.
pub(crate) enum Wish {
    Send(Box<Envelope>),
    /// Let go of the connection.
    Hang,
    /// Ask for a job's past.
    Past(JobId),
}

struct Counted {
    end: u8,
    made: Cell<u64>,
}

impl Counted {
    fn next(&self) -> u64 {
        self.made.set(self.made.get() + 1);
        self.made.get()
    }
}

impl Names for Counted {
    fn message(&self) -> MessageId {
        MessageId::parse(&format!("m_{}_{}", self.end, self.next())).unwrap()
    }

    fn nonce(&self) -> String {
        format!("n_{}_{}", self.end, self.next())
    }

    fn trace(&self) -> TraceId {
        let mut bytes = [self.end + 1; 16];
        bytes[..8].copy_from_slice(&self.next().to_le_bytes());
        TraceId::from_bytes(bytes).unwrap()
    }
}

impl End {
    pub(crate) fn new(number: u8) -> Self {
        let config = SessionConfig {
            auth: Some(payload::Auth {
                scheme: None,
                token: Some(Secret::new("secret")),
            }),
            dialect: Some(DIALECT),
            reconnects: true,
            ..SessionConfig::default()
        };
        Self {
            session: ClientSession::new(config, None, &[]).0,
            names: Counted {
                end: number,
                made: Cell::new(0),
            },
            id: None,
            seen: BTreeMap::new(),
            jobs: BTreeMap::new(),
            last: BTreeMap::new(),
            opened: BTreeMap::new(),
            ended: BTreeMap::new(),
            let_go: BTreeSet::new(),
            keys: BTreeSet::new(),
        }
    }

    /// Lets the machine do something, and carries out what it decides.
    fn drive(
        &mut self,
        now: Duration,
        run: impl FnOnce(&mut ClientSession, Moment<'_>, &mut Vec<Effect>),
    ) -> Vec<Wish> {
        let mut out = Vec::new();
        let at = Moment {
            now,
            wall: Timestamp::from_unix_micros(0),
            names: &self.names,
        };
        run(&mut self.session, at, &mut out);
        out.into_iter()
            .filter_map(|effect| self.carry_out(effect))
            .collect()
    }

    pub(crate) fn connect(&mut self, now: Duration) -> Vec<Wish> {
        self.drive(now, |session, at, out| session.connected(at, out))
    }

    pub(crate) fn lose(&mut self, now: Duration) -> Vec<Wish> {
        self.drive(now, |session, _, out| session.lost(out))
    }

    pub(crate) fn tick(&mut self, now: Duration) -> Vec<Wish> {
        self.drive(now, |session, at, out| {
            session.tick(at, |received| received, out)
        })
    }

    /// A request, if one can be made now.
    pub(crate) fn ask(&mut self, request: Request, now: Duration) -> Vec<Wish> {
        let mut key = None;
        let wishes = self.drive(now, |session, at, out| {
            key = session
                .request(request, at, out)
                .ok()
                .and_then(|(_, job)| job);
        });
        if let Some(key) = key {
            let id = self.session.job_id(key).unwrap().clone();
            self.open(key, id);
        }
        wishes
    }

    /// A frame came.
    pub(crate) fn receive(&mut self, frame: Envelope, now: Duration) -> Vec<Wish> {
        let before = self.session.last_event_seq();
        let what = frame.job_id.clone().zip(frame.job_seq);
        let seq = frame.event_seq;
        let wishes = self.drive(now, |session, at, out| session.receive(frame, at, out));
        let after = self.session.last_event_seq();
        if after != before {
            assert_eq!(
                (after, Some(after)),
                (before.next(), seq),
                "numbers are strictly +1"
            );
            self.seen.insert(after, what.unwrap());
        } else if let (Some(seq), Some(what)) = (seq, what)
            && let Some(known) = self.seen.get(&seq)
        {
            assert_eq!(*known, what, "event {seq} stands for what it stood for");
        }
        wishes
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Wish> {
        match effect {
            Effect::Send(frame) => return Some(Wish::Send(Box::new(frame))),
            Effect::Drop(loss) => {
                assert_ne!(loss, Loss::Shutdown);
                return Some(Wish::Hang);
            }
            Effect::Up(established) => {
                let known = self
                    .id
                    .get_or_insert_with(|| established.session_id.clone());
                assert_eq!(
                    *known, established.session_id,
                    "a resume is the same session"
                );
            }
            Effect::Opened { job, id, .. } => self.open(job, id),
            Effect::Reply { reply, .. } => {
                if let Reply::Accepted {
                    job,
                    id,
                    lacks_past,
                    ..
                } = *reply
                {
                    self.open(job, id.clone());
                    return lacks_past.then_some(Wish::Past(id));
                }
            }
            Effect::Event { job, envelope, .. } => self.event(job, &envelope),
            Effect::Ended { job, .. } => {
                let id = self.jobs.remove(&job).unwrap();
                *self.ended.entry(id).or_default() += 1;
            }
            Effect::Released { job } => {
                let id = self.jobs.remove(&job).unwrap();
                *self.opened.entry(id.clone()).or_default() -= 1;
                self.let_go.insert(id);
            }
            // Only before there is a session: nobody closes one here.
            Effect::Over(over) => assert!(
                matches!(over, Over::Handshake(_)) && self.id.is_none(),
                "{over:?}"
            ),
            Effect::Ceased { .. } => {
                panic!("a runtime that follows the draft leaves nothing unsaid")
            }
            Effect::Reported(_) => {}
        }
        None
    }

    /// In the job's order; what a second history brings again is known.
    fn event(&mut self, job: JobKey, envelope: &Envelope) {
        let id = &self.jobs[&job];
        assert_eq!(
            envelope.job_id.as_ref(),
            Some(id),
            "an event goes to its job"
        );
        let seq = envelope.job_seq.unwrap();
        let last = self.last.entry(id.clone()).or_default();
        assert!(
            seq <= last.next() || self.let_go.contains(id),
            "{id}: {seq} after {last}"
        );
        *last = seq.max(*last);
    }

    fn open(&mut self, key: JobKey, id: JobId) {
        if self.jobs.insert(key, id.clone()).is_none() {
            *self.opened.entry(id).or_default() += 1;
        }
    }

    /// How many of a job's own events came.
    pub(crate) fn events_of(&self, job: &JobId) -> u64 {
        self.last.get(job).map_or(0, |last| last.value())
    }
}
