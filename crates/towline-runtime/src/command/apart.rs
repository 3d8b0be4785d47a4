//! A session for those who have no connection.

use std::sync::Arc;

use towline_proto::{Dialect, outbox::Outbox};
use towline_store::{Principal, SessionRow};
use towline_transport::TransportKind;
use towline_wire::{EventSeq, FeatureSet, SessionId};

use crate::{
    hub::Hub,
    session::{Attachment, SessionEntry},
};

/// The virtual session of a principal under its name, and what stands for its connection. It is in no book and in no store:
/// nothing can take it up, and nothing is sent to it.
pub(crate) fn virtual_session(
    hub: &Hub,
    id: SessionId,
    principal: Principal,
    features: FeatureSet,
    confidential: bool,
) -> (Arc<SessionEntry>, Arc<Attachment>) {
    let row = SessionRow {
        id,
        principal,
        token_hash: [0; 32],
        previous_token_hash: None,
        skipped_token_hash: None,
        features,
        dialect: Dialect::Draft.as_str().to_owned(),
        created_at: hub.now(),
        detached_at: None,
        acked: EventSeq::ZERO,
        evicted: EventSeq::ZERO,
        proof: None,
    };
    let session = SessionEntry::new(&row, Outbox::default(), Dialect::Draft);
    let attachment = Attachment::new(TransportKind::Other, confidential);
    session.lock().attachment = Some(Arc::clone(&attachment));
    (session, attachment)
}
