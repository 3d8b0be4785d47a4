//! `x-vendor.towline.sessions.revoke`: an administrator ends the sessions of a principal [ARCP 14-7].

use std::sync::Arc;

use serde_json::json;
use towline_proto::{refusal::Refusal, server::SESSIONS_REVOKED};
use towline_store::Principal;
use towline_wire::ErrorCode;

use super::asker::Asker;
use crate::{
    audit::{Audit, Verdict},
    hub::Hub,
    life,
};

/// Ends them, and answers once that is durable.
pub(super) async fn revoke(hub: &Arc<Hub>, asker: Asker, principal: &str) {
    let whose = Principal::new(principal);
    let role = asker.role(hub);
    let actor = asker.actor(role.as_deref());
    if !hub.services.is_admin(&asker.session.principal) {
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
    let answer = json!({ "principal": principal, "sessions": sessions });
    asker.answer(SESSIONS_REVOKED, Ok(answer));
    // The asker may be one of them, and is answered first.
    life::end_unproved_sessions(hub);
}
