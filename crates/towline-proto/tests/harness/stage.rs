//! One host, several ends, and what happens between them.

use std::{collections::BTreeSet, fmt::Write, time::Duration};

use towline_proto::client::Request;
use towline_wire::{Envelope, EventSeq, JobId, JobSeq, MessageType, payload};

use crate::{
    end::{End, Wish},
    host::{ConnId, Host},
    link::{Dice, Link},
};

/// Something that happens.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Submit {
        end: u8,
        key: Option<u8>,
    },
    /// To a job nothing was asked about here, with its history.
    Subscribe {
        end: u8,
        job: u8,
    },
    Cancel {
        end: u8,
        job: u8,
    },
    /// A job does something.
    Work {
        job: u8,
        what: u8,
    },
    /// The host writes to an end.
    Write {
        end: u8,
        frames: u8,
    },
    /// Frames arrive; time passes until they do.
    Deliver {
        end: u8,
        up: bool,
        frames: u8,
    },
    /// Everything that is to be sent to and from an end arrives.
    Exchange {
        end: u8,
    },
    /// The next frame is lost.
    Drop {
        end: u8,
        up: bool,
    },
    /// The end loses its connection; the host notices at once, or by silence, or by being taken over.
    Cut {
        end: u8,
        both: bool,
    },
    Connect {
        end: u8,
    },
    Pass {
        millis: u16,
    },
}

pub(crate) struct Stage {
    now: Duration,
    dice: Dice,
    host: Host,
    ends: Vec<(End, Option<(ConnId, Link)>)>,
    connections: ConnId,
    /// Events that were lost once. Twice would be a runtime that no longer has them: then the client goes on without.
    lost: BTreeSet<(usize, EventSeq)>,
    trace: String,
}

impl Stage {
    pub(crate) fn new(seed: u64, ends: u8) -> Self {
        let mut stage = Self {
            now: Duration::ZERO,
            dice: Dice(seed),
            host: Host::default(),
            ends: (0..ends).map(|number| (End::new(number), None)).collect(),
            connections: 0,
            lost: BTreeSet::new(),
            trace: String::new(),
        };
        (0..usize::from(ends)).for_each(|at| stage.connect(at));
        stage.flow();
        stage
    }

    pub(crate) fn into_trace(self) -> String {
        self.trace
    }

    pub(crate) fn play(&mut self, step: &Step) {
        match *step {
            Step::Submit { end, key } => self.submit(end.into(), key),
            Step::Subscribe { end, job } => self.subscribe(end.into(), job),
            Step::Cancel { end, job } => self.cancel(end.into(), job),
            Step::Work { job, what } => {
                if let Some(job) = self.job(job) {
                    self.host.work(job, what);
                }
            }
            Step::Write { end, frames } => {
                let _all = (0..frames).all(|_| self.write(end.into()));
            }
            Step::Exchange { end } => while self.move_on(end.into()) {},
            Step::Deliver { end, up, frames } => {
                let _all = (0..frames).all(|_| self.deliver(end.into(), up));
            }
            Step::Drop { end, up } => self.lose(end.into(), up),
            Step::Cut { end, both } => self.cut(end.into(), both),
            Step::Connect { end } => self.connect(end.into()),
            Step::Pass { millis } => self.pass(self.now + Duration::from_millis(millis.into())),
        }
    }

    fn job(&self, chosen: u8) -> Option<usize> {
        usize::from(chosen).checked_rem(self.host.jobs.len())
    }

    /// A key is used once by each end, so that what an end sees of a job is one life of it.
    fn submit(&mut self, at: usize, key: Option<u8>) {
        let end = &mut self.ends[at].0;
        if end.id.is_none() || key.is_some_and(|key| !end.keys.insert(key)) {
            return;
        }
        let submit = payload::Submit {
            agent: "model".to_owned(),
            input: None,
            lease_request: None,
            lease_constraints: None,
            idempotency_key: key.map(|key| format!("key {key}")),
            max_runtime_sec: None,
            parent_job_id: None,
            rerun_of: None,
            not_before: None,
            queue: None,
            priority: None,
            notify: None,
            checkpoint: None,
        };
        self.ask(
            at,
            Request::Submit {
                submit: Box::new(submit),
                trace: None,
                span: None,
            },
        );
    }

    fn subscribe(&mut self, at: usize, job: u8) {
        let Some(job) = self.job(job) else { return };
        let job = self.host.jobs[job].id.clone();
        let end = &mut self.ends[at].0;
        if end.id.is_some() && !end.opened.contains_key(&job) {
            self.ask(at, history(job));
        }
    }

    fn cancel(&mut self, at: usize, job: u8) {
        if let Some(job) = self.job(job) {
            let job = self.host.jobs[job].id.clone();
            self.ask(
                at,
                Request::Cancel {
                    job,
                    reason: "enough".to_owned(),
                },
            );
        }
    }

    fn ask(&mut self, at: usize, request: Request) {
        let wishes = self.ends[at].0.ask(request, self.now);
        self.grant(at, wishes);
    }

    fn grant(&mut self, at: usize, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Send(frame) => {
                    self.note('>', at, &frame);
                    if let Some((_, link)) = &mut self.ends[at].1 {
                        link.up.push(*frame, self.now, &mut self.dice);
                    }
                }
                Wish::Hang => self.hang(at, true),
                Wish::Past(job) => self.ask(at, history(job)),
            }
        }
    }

    fn note(&mut self, direction: char, at: usize, frame: &Envelope) {
        let (now, kind, seqs) = (self.now, &frame.kind, (frame.event_seq, frame.job_seq));
        let _ = writeln!(
            self.trace,
            "{now:?} {at}{direction} {kind} {:?} {:?} {seqs:?}",
            frame.id, frame.job_id
        );
    }

    /// The end's connection is gone.
    fn hang(&mut self, at: usize, host_knows: bool) {
        if let Some((connection, _)) = self.ends[at].1.take()
            && host_knows
        {
            self.host.lose(connection);
        }
    }

    fn cut(&mut self, at: usize, both: bool) {
        if self.ends[at].1.is_some() {
            self.hang(at, both);
            let wishes = self.ends[at].0.lose(self.now);
            self.grant(at, wishes);
            self.renew(at);
        }
    }

    /// A client whose first handshake failed is no more; another one begins.
    fn renew(&mut self, at: usize) {
        if self.ends[at].0.session.is_over() {
            self.hang(at, true);
            self.ends[at].0 = End::new(at as u8);
        }
    }

    fn connect(&mut self, at: usize) {
        if self.ends[at].1.is_none() {
            self.connections += 1;
            self.host.accept(self.connections, self.now);
            self.ends[at].1 = Some((self.connections, Link::default()));
            let wishes = self.ends[at].0.connect(self.now);
            self.grant(at, wishes);
        }
    }

    fn write(&mut self, at: usize) -> bool {
        let Some(connection) = self.ends[at].1.as_ref().map(|(connection, _)| *connection) else {
            return false;
        };
        let Some(frame) = self.host.write(connection, self.now) else {
            return false;
        };
        self.note('<', at, &frame);
        if let Some((_, link)) = &mut self.ends[at].1 {
            link.down.push(frame, self.now, &mut self.dice);
        }
        true
    }

    fn deliver(&mut self, at: usize, up: bool) -> bool {
        let Some((connection, link)) = &mut self.ends[at].1 else {
            return false;
        };
        let lane = if up { &mut link.up } else { &mut link.down };
        let Some((due, frame)) = lane.pop() else {
            return false;
        };
        self.now = self.now.max(due);
        if up {
            self.host.receive(*connection, frame, self.now);
        } else {
            let wishes = self.ends[at].0.receive(frame, self.now);
            self.grant(at, wishes);
            self.renew(at);
        }
        true
    }

    fn lose(&mut self, at: usize, up: bool) {
        self.write(at);
        let Some((_, link)) = &mut self.ends[at].1 else {
            return;
        };
        let lane = if up { &mut link.up } else { &mut link.down };
        let Some(frame) = lane.front() else { return };
        // What comes without a welcome before it comes from no runtime.
        if frame.kind == MessageType::SESSION_WELCOME {
            return;
        }
        let seq = frame.event_seq;
        if seq.is_none_or(|seq| self.lost.insert((at, seq))) {
            lane.lose();
        }
    }

    fn pass(&mut self, until: Duration) {
        self.now = until;
        self.host.tick(until);
        for at in 0..self.ends.len() {
            let wishes = self.ends[at].0.tick(until);
            self.grant(at, wishes);
            self.renew(at);
            // What the host has let go of ends here too.
            if self.ends[at]
                .1
                .as_ref()
                .is_some_and(|(connection, _)| !self.host.is_open(*connection))
            {
                self.cut(at, true);
            }
        }
    }

    /// From here on nothing goes wrong: every job ends, and everything arrives.
    pub(crate) fn settle(&mut self) {
        // A lost frame may have been a request's; its client waits for the answer half a minute.
        for _ in 0..8 {
            (0..self.ends.len()).for_each(|at| self.connect(at));
            self.flow();
            self.pass(self.now + Duration::from_secs(9));
        }
        (0..self.host.jobs.len()).for_each(|job| self.host.finish(job));
        for at in 0..self.ends.len() {
            self.cut(at, true);
            self.connect(at);
        }
        self.flow();
    }

    /// Moves frames until there are none.
    fn flow(&mut self) {
        while (0..self.ends.len()).any(|at| self.move_on(at)) {}
    }

    /// Moves a frame of an end, if there is one.
    fn move_on(&mut self, at: usize) -> bool {
        self.write(at) || self.deliver(at, true) || self.deliver(at, false)
    }

    /// Every log is as its machine says.
    pub(crate) fn check_logs(&self) {
        for job in &self.host.jobs {
            assert!(
                job.ends_once(),
                "{}: {:?} {:?}",
                job.id,
                job.machine.status(),
                job.log
            );
        }
    }

    /// Every end has what the host has for it.
    pub(crate) fn check(&self) {
        self.check_logs();
        for (end, _) in &self.ends {
            let Some(session) = end.id.as_ref().and_then(|id| self.host.sessions.get(id)) else {
                panic!("everybody has a session in the end");
            };
            self.check_stream(end, &session.outbox);
            assert_eq!(end.session.counters().skipped, 0);
            for (job, opened) in &end.opened {
                assert_eq!(end.ended.get(job).unwrap_or(&0), opened, "{job}: one end");
                let log = self
                    .host
                    .jobs
                    .iter()
                    .find(|known| known.id == *job)
                    .map_or(0, |known| known.log.len());
                let is_whole = end.events_of(job) == log as u64 - 1;
                assert!(
                    is_whole || end.let_go.contains(job),
                    "{job}: {} of {log}",
                    end.events_of(job)
                );
            }
        }
    }

    fn check_stream(&self, end: &End, outbox: &towline_proto::outbox::Outbox) {
        assert_eq!(end.session.last_event_seq(), outbox.last());
        assert_eq!(
            end.seen.len() as u64,
            outbox.last().value(),
            "every number was seen"
        );
        let mut at = EventSeq::ZERO;
        while let Some(run) = outbox.after(at) {
            for offset in 0..u64::from(run.count) {
                let seen = &end.seen[&run.first.plus(offset)];
                assert_eq!(
                    *seen,
                    (run.job.clone(), JobSeq::new(run.from.value() + offset))
                );
            }
            at = at.plus(run.count.into());
        }
    }
}

fn history(job: JobId) -> Request {
    Request::Subscribe {
        job,
        from: None,
        history: true,
        input: false,
    }
}
