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
    outbox::Outbox,
    refusal::Refusal,
    server::{Farewell, Replies, Reply, Slot, Stream, Tokens},
};
use towline_store::{Principal, SessionRow};
use towline_transport::TransportKind;
use towline_wire::{Envelope, FeatureSet, JobId, SessionId, Timestamp};

use crate::auth::Proof;

/// A session that can be, or is, attached to a connection.
pub(crate) struct SessionEntry {
    pub(crate) id: SessionId,
    pub(crate) principal: Principal,
    pub(crate) created_at: Timestamp,
    state: Mutex<SessionState>,
}

/// What changes about a session, under one lock that is held briefly.
pub(crate) struct SessionState {
    pub(crate) stream: Stream,
    pub(crate) tokens: Tokens,
    pub(crate) features: FeatureSet,
    pub(crate) dialect: Dialect,
    /// What proved the principal, last [ARCP 14-7].
    pub(crate) proof: Proof,
    pub(crate) attachment: Option<Arc<Attachment>>,
    pub(crate) detached_at: Option<Timestamp>,
    pub(crate) subscriptions: HashSet<JobId>,
    /// Whether the committer was told to end the session.
    pub(crate) ending: bool,
    /// Whether the session can never be resumed again.
    pub(crate) gone: bool,
}

/// One connection of a session.
pub(crate) struct Attachment {
    pub(crate) kind: TransportKind,
    /// Whether nobody else can read it [ARCP 9.8-1].
    pub(crate) confidential: bool,
    pub(crate) replies: Mutex<Replies>,
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
    /// Whether the peer said anything here yet.
    heard: AtomicBool,
}

/// Why a connection loses its session.
#[derive(Debug, Clone)]
pub(crate) enum DetachReason {
    /// A later connection resumed the session [ARCP 6.3-8].
    Superseded,
    /// The runtime shuts down [ARCP 6.7-3].
    Shutdown,
    /// What proved the session proves nothing any more [ARCP 14-7].
    Unproved,
    /// The stream cannot go on.
    Broken(Refusal),
}

impl SessionEntry {
    pub(crate) fn new(row: &SessionRow, outbox: Outbox, dialect: Dialect) -> Arc<Self> {
        let state = SessionState {
            stream: Stream::new(outbox),
            tokens: Tokens::restored(
                row.token_hash,
                row.previous_token_hash,
                row.skipped_token_hash,
            ),
            features: row.features,
            dialect,
            proof: Proof::kept(row.proof.as_deref()),
            attachment: None,
            detached_at: row.detached_at,
            subscriptions: HashSet::new(),
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
            token_hash: *state.tokens.current(),
            previous_token_hash: state.tokens.previous().copied(),
            skipped_token_hash: state.tokens.skipped().copied(),
            features: state.features,
            dialect: state.dialect.as_str().to_owned(),
            created_at: self.created_at,
            detached_at: state.detached_at,
            acked: state.stream.acked(),
            evicted: state.stream.evicted(),
            proof: state.proof.text(),
        }
    }

    /// The connection the session has now.
    pub(crate) fn attachment(&self) -> Option<Arc<Attachment>> {
        self.state.lock().attachment.clone()
    }
}

impl SessionState {
    /// The lag to report, once, when it has passed `threshold`. A session without a connection is not told that it lags
    /// [ARCP 6.5-3].
    pub(crate) fn pressure(&mut self, threshold: u64) -> Option<u64> {
        self.attachment.as_ref()?;
        self.stream.pressure(threshold)
    }

    /// Whether this is the connection the session has now.
    pub(crate) fn is_attached(&self, attachment: &Arc<Attachment>) -> bool {
        self.attachment
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, attachment))
    }
}

impl Attachment {
    pub(crate) fn new(kind: TransportKind, confidential: bool) -> Arc<Self> {
        Arc::new(Self {
            kind,
            confidential,
            replies: Mutex::default(),
            wake: Notify::new(),
            detach: CancellationToken::new(),
            why: Mutex::new(None),
            room: Notify::new(),
            interrupt: AtomicBool::new(false),
            sent_at: AtomicU64::new(0),
            heard: AtomicBool::new(false),
        })
    }

    /// Answers a request.
    pub(crate) fn fill(&self, slot: Slot, reply: Reply) {
        self.replies.lock().fill(slot, reply);
        self.wake.notify_one();
    }

    /// Lets the answers to later requests go before that to one which waits for somebody else.
    pub(crate) fn postpone(&self, slot: Slot) {
        self.replies.lock().postpone(slot);
        self.wake.notify_one();
    }

    /// Sends something before everything else.
    pub(crate) fn push_urgent(&self, envelope: Envelope) {
        self.replies.lock().push_urgent(envelope);
        self.interrupt.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Tells the writer to say goodbye. The first goodbye stays.
    pub(crate) fn close(&self, farewell: Farewell) {
        self.replies.lock().close(farewell);
        self.interrupt.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// The peer said something; whether that was the first time.
    pub(crate) fn hear(&self) -> bool {
        !self.heard.swap(true, Ordering::Relaxed)
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
        self.replies.lock().is_closing()
    }

    /// Takes the session from this connection. The first reason stays.
    pub(crate) fn detach(&self, why: DetachReason) {
        self.why.lock().get_or_insert(why);
        self.detach.cancel();
    }
}
