//! `session.hello`: a new session.

use std::sync::Arc;

use tokio::sync::oneshot;
use towline_proto::{Dialect, outbox::Outbox, refusal::Refusal};
use towline_store::{Change, Principal, SessionRow, StoreError};
use towline_transport::TransportKind;
use towline_wire::{EventSeq, FeatureSet, Secret};

use super::asker::{shutting_down, store_refusal};
use crate::{
    hub::{Command, Hub, Tx, hash_token},
    session::{Attachment, SessionEntry},
};

/// A session that stands, attached to a connection.
pub(crate) struct Opened {
    pub(crate) session: Arc<SessionEntry>,
    pub(crate) attachment: Arc<Attachment>,
    pub(crate) token: Secret,
    /// The stream goes on after this number.
    pub(crate) position: EventSeq,
}

/// What a peer asks for.
pub(crate) struct OpenRequest {
    pub(crate) principal: Principal,
    pub(crate) features: FeatureSet,
    pub(crate) dialect: Dialect,
    pub(crate) kind: TransportKind,
    /// Whether nobody else can read the connection.
    pub(crate) confidential: bool,
}

/// Opens a session. Cancel safe: a session that nobody took is detached and goes with its window.
pub(crate) async fn open(hub: &Arc<Hub>, request: OpenRequest) -> Result<Opened, Refusal> {
    let OpenRequest {
        principal,
        features,
        dialect,
        kind,
        confidential,
    } = request;
    let token = hub.services.ids.resume_token();
    let row = SessionRow {
        id: hub.services.ids.session(),
        principal: principal.clone(),
        token_hash: hash_token(&token),
        previous_token_hash: None,
        skipped_token_hash: None,
        features,
        dialect: dialect.as_str().to_owned(),
        created_at: hub.now(),
        detached_at: None,
        acked: EventSeq::ZERO,
        evicted: EventSeq::ZERO,
    };
    if !hub.books.sessions.count_attached(&principal) {
        return Err(too_many_sessions(hub));
    }
    let session = SessionEntry::new(&row, Outbox::default(), dialect);
    let attachment = Attachment::new(kind, confidential);
    session.lock().attachment = Some(Arc::clone(&attachment));
    let (done, opened) = oneshot::channel();
    let counted = CountGuard {
        hub: Arc::clone(hub),
        principal,
        armed: true,
    };
    hub.command(OpenSession {
        session: Arc::clone(&session),
        row,
        done,
        counted,
    });
    opened.await.map_err(|_| shutting_down())??;
    Ok(Opened {
        session,
        attachment,
        token,
        position: EventSeq::ZERO,
    })
}

/// The session cap was reached [ARCP 14-1].
pub(super) fn too_many_sessions(hub: &Hub) -> Refusal {
    let limit = hub.services.options.sessions_per_principal;
    Refusal::internal(format!(
        "this principal has {limit} sessions attached, the most it may have; close one and try again"
    ))
}

/// Counts an attached session out again unless it came to stand.
pub(super) struct CountGuard {
    pub(super) hub: Arc<Hub>,
    pub(super) principal: Principal,
    pub(super) armed: bool,
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        if self.armed {
            self.hub.books.sessions.count_detached(&self.principal);
        }
    }
}

struct OpenSession {
    session: Arc<SessionEntry>,
    row: SessionRow,
    done: oneshot::Sender<Result<(), Refusal>>,
    counted: CountGuard,
}

impl Command for OpenSession {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        tx.push(Change::Session(Box::new(self.row.clone())));
    }

    fn done(mut self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        if result.is_ok() {
            self.counted.armed = false;
            hub.books.sessions.insert(&self.session, None);
        }
        let taken = self.done.send(result.map_err(store_refusal)).is_ok();
        if !taken && let Some(attachment) = self.session.attachment() {
            hub.detach(&self.session, &attachment);
        }
    }
}
