//! A session in memory: its stream, and the connection it has at the moment.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use towline_proto::{
    Dialect,
    outbox::{Outbox, ReplayError},
    refusal::Refusal,
};
use towline_store::{Principal, SessionRow};
use towline_transport::{CloseFrame, TransportKind};
use towline_wire::{Envelope, EventSeq, Feature, FeatureSet, JobId, SessionId, Timestamp};

use super::replies::{Reply, ReplyQueue, SlotId};

/// A session that can be, or is, attached to a connection.
pub(crate) struct SessionEntry {
    pub(crate) id: SessionId,
    pub(crate) principal: Principal,
    pub(crate) created_at: Timestamp,
    state: Mutex<SessionState>,
}

/// What changes about a session, under one lock that is held briefly.
pub(crate) struct SessionState {
    pub(crate) outbox: Outbox,
    pub(crate) token_hash: [u8; 32],
    pub(crate) features: FeatureSet,
    pub(crate) dialect: Dialect,
    pub(crate) attachment: Option<Arc<Attachment>>,
    pub(crate) detached_at: Option<Timestamp>,
    pub(crate) subscriptions: HashSet<JobId>,
    /// The highest number that is durable: what the outbox does not have of it yet, it gets at once.
    pub(crate) durable: EventSeq,
    /// The highest number that a transport took and flushed.
    pub(crate) sent: EventSeq,
    /// The highest number that a peer may have seen: it was handed to a transport, or is about to be.
    pub(crate) offered: EventSeq,
    pub(crate) ever_acked: bool,
    pressure: Pressure,
    /// Whether the committer was told to end the session.
    pub(crate) ending: bool,
    /// Whether the session can never be resumed again.
    pub(crate) gone: bool,
}

/// Whether the lag has been reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pressure {
    Armed,
    Reported,
}

/// One connection of a session.
pub(crate) struct Attachment {
    pub(crate) kind: TransportKind,
    /// Whether nobody else can read it [ARCP 9.8-1].
    pub(crate) confidential: bool,
    pub(crate) replies: Mutex<ReplyQueue>,
    /// Told when the stream or the replies have something new for the writer.
    pub(crate) wake: Notify,
    /// Set when another connection took the session over, or the session has to end.
    pub(crate) detach: CancellationToken,
    pub(crate) why: Mutex<Option<DetachReason>>,
    /// Told when a reply went out and another request may be read.
    pub(crate) room: Notify,
    /// Set when something came up that does not wait for the run of events being sent.
    interrupt: AtomicBool,
    /// When the writer last sent something, in milliseconds since the connection's start.
    pub(crate) sent_at: AtomicU64,
    closing: Mutex<Option<Closing>>,
}

/// The goodbye of a connection.
pub(crate) struct Closing {
    /// The last envelope, without id and session.
    pub(crate) last: Envelope,
    /// The transport's own goodbye.
    pub(crate) frame: CloseFrame,
    /// Whether owed replies, and what they brought into the stream, go out first.
    pub(crate) drain: bool,
}

/// Why a connection loses its session.
#[derive(Debug, Clone)]
pub(crate) enum DetachReason {
    /// A later connection resumed the session [ARCP 6.3-8].
    Superseded,
    /// The runtime shuts down [ARCP 6.7-3].
    Shutdown,
    /// The stream cannot go on.
    Broken(Refusal),
}

impl SessionEntry {
    pub(crate) fn new(row: &SessionRow, outbox: Outbox, dialect: Dialect) -> Arc<Self> {
        let state = SessionState {
            sent: outbox.last(),
            durable: outbox.last(),
            offered: outbox.last(),
            outbox,
            token_hash: row.token_hash,
            features: row.features,
            dialect,
            attachment: None,
            detached_at: row.detached_at,
            subscriptions: HashSet::new(),
            ever_acked: row.acked > EventSeq::ZERO,
            pressure: Pressure::Armed,
            ending: false,
            gone: false,
        };
        Arc::new(Self {
            id: row.id.clone(),
            principal: row.principal.clone(),
            created_at: row.created_at,
            state: Mutex::new(state),
        })
    }

    pub(crate) fn lock(&self) -> parking_lot::MutexGuard<'_, SessionState> {
        self.state.lock()
    }

    /// The session's row as it stands.
    pub(crate) fn row(&self) -> SessionRow {
        let state = self.state.lock();
        SessionRow {
            id: self.id.clone(),
            principal: self.principal.clone(),
            token_hash: state.token_hash,
            features: state.features,
            dialect: state.dialect.as_str().to_owned(),
            created_at: self.created_at,
            detached_at: state.detached_at,
            acked: state.outbox.acked(),
            evicted: state.outbox.evicted(),
        }
    }

    /// The connection the session has now.
    pub(crate) fn attachment(&self) -> Option<Arc<Attachment>> {
        self.state.lock().attachment.clone()
    }
}

impl SessionState {
    /// Whether the stream can go on after `position`, which the peer claims to have [ARCP 6.3-5].
    pub(crate) fn check_replay(&self, position: EventSeq) -> Result<(), ReplayError> {
        match position > self.offered {
            true => Err(ReplayError::Ahead {
                asked: position,
                last: self.offered,
            }),
            false => self.outbox.check_replay(position),
        }
    }

    /// How many events the peer is behind: acknowledged, or, where it never acknowledges, sent [ARCP 6.5-3].
    pub(crate) fn lag(&self) -> u64 {
        match self.ever_acked && self.features.has(Feature::Ack) {
            true => self.sent.since(self.outbox.acked()),
            false => self.outbox.last().since(self.sent),
        }
    }

    /// The lag to report, once, when it has passed `threshold` [ARCP 6.5-3].
    ///
    /// For a peer that acknowledges, that is what was sent and not acknowledged; for one that never does, what could not
    /// be sent.
    pub(crate) fn pressure(&mut self, threshold: u64) -> Option<u64> {
        self.attachment.as_ref()?;
        let lag = self.lag();
        match self.pressure {
            Pressure::Armed if lag > threshold => {
                self.pressure = Pressure::Reported;
                Some(lag)
            }
            Pressure::Reported if lag < threshold / 2 => {
                self.pressure = Pressure::Armed;
                None
            }
            Pressure::Armed | Pressure::Reported => None,
        }
    }
}

impl Attachment {
    pub(crate) fn new(kind: TransportKind, confidential: bool) -> Arc<Self> {
        Arc::new(Self {
            kind,
            confidential,
            replies: Mutex::new(ReplyQueue::default()),
            wake: Notify::new(),
            detach: CancellationToken::new(),
            why: Mutex::new(None),
            room: Notify::new(),
            interrupt: AtomicBool::new(false),
            sent_at: AtomicU64::new(0),
            closing: Mutex::new(None),
        })
    }

    /// Answers a request.
    pub(crate) fn fill(&self, slot: SlotId, reply: Reply) {
        self.replies.lock().fill(slot, reply);
        self.wake.notify_one();
    }

    /// Sends something before everything else.
    pub(crate) fn push_urgent(&self, envelope: Envelope) {
        self.replies.lock().push_urgent(envelope);
        self.interrupt.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Tells the writer to say goodbye. The first goodbye stays.
    pub(crate) fn close(&self, closing: Closing) {
        self.closing.lock().get_or_insert(closing);
        self.interrupt.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether the writer has to look up from what it is sending.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Acquire)
    }

    /// The writer looks up.
    pub(crate) fn look_up(&self) {
        self.interrupt.store(false, Ordering::Release);
    }

    /// Whether the goodbye has been decided.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.lock().is_some()
    }

    /// Whether what is queued goes out before the goodbye; `None` without one.
    pub(crate) fn drains(&self) -> Option<bool> {
        self.closing.lock().as_ref().map(|closing| closing.drain)
    }

    /// The goodbye itself, to be said now.
    pub(crate) fn take_closing(&self) -> Option<(Envelope, CloseFrame)> {
        self.closing
            .lock()
            .as_ref()
            .map(|closing| (closing.last.clone(), closing.frame.clone()))
    }

    /// Takes the session from this connection. The first reason stays.
    pub(crate) fn detach(&self, why: DetachReason) {
        self.why.lock().get_or_insert(why);
        self.detach.cancel();
    }
}
