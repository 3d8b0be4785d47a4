//! `x-vendor.towline.sessions.revoke`: an administrator ends the sessions of a principal [ARCP 14-7].

use std::sync::Arc;

use serde_json::json;
use towline_proto::{refusal::Refusal, server::SESSIONS_REVOKED};
use towline_store::Principal;
use towline_wire::{Envelope, ErrorCode, MessageType};

use super::asker::Asker;
use crate::{
    audit::{Audit, Verdict},
    hub::Hub,
    life,
    session::Reply,
};

/// Ends them, and answers once that is durable.
pub(super) async fn revoke(hub: &Arc<Hub>, asker: Asker, principal: &str) {
    let whose = Principal::new(principal);
    let role = asker.role(hub);
    let actor = asker.actor(role.as_deref());
    let policy = hub.services.access.as_ref();
    if !policy.is_some_and(|policy| policy.is_admin(&asker.session.principal)) {
        let refusal = Refusal::new(
            ErrorCode::PERMISSION_DENIED,
            "ending the sessions of others needs a role with `admin`",
        );
        let verdict = Verdict::Refused(&refusal.code);
        hub.audit(Audit::at(hub.now()).sessions_revoked(actor, &whose, verdict));
        return asker.refuse(&refusal);
    }
    let sessions = life::revoke_sessions(hub, &whose);
    hub.audit(Audit::at(hub.now()).sessions_revoked(actor, &whose, Verdict::Allowed));
    hub.barrier().await;
    let mut envelope = Envelope::new(MessageType::new(SESSIONS_REVOKED));
    envelope.payload = json!({
        "request_id": asker.request,
        "principal": principal,
        "sessions": sessions,
    })
    .into();
    asker.reply(Reply::plain(envelope));
    // The asker may be one of them, and is answered first.
    life::end_unproved_sessions(hub);
}
