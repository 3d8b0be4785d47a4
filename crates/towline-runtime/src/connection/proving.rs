//! Who somebody is, and how long a wrong guess waits for its answer.

use std::net::SocketAddr;

use tokio::time::{Instant, timeout};
use towline_proto::refusal::Refusal;
use towline_store::AuditRow;
use towline_wire::{Shown, payload, stands_as_it_is};

use crate::{
    audit::Audit,
    auth::{AuthRefusal, Credentials, Penalty, Proven},
    hub::{Hub, Services},
};

/// Why nobody was proved.
pub(crate) enum Unproven {
    /// What is shown is not good. Whoever guesses has waited for this already.
    Refused(Refusal),
    /// From this address too many refusals wait to be told already; this one is not told.
    TooMany,
}

/// Asks the authenticator who somebody is. A good token goes on at once.
pub(crate) async fn prove(
    hub: &Hub,
    auth: &payload::Auth,
    peer: Option<SocketAddr>,
) -> Result<Proven, Unproven> {
    let services = &hub.services;
    let refusal = match authenticate(services, auth, peer).await {
        Ok(proven) => {
            services.limiter.succeeded(peer);
            return Ok(proven);
        }
        Err(refusal) => refusal,
    };
    metrics::counter!("towline_auth_refused_total").increment(1);
    if let Some(cause) = refusal.cause() {
        tracing::warn!(target: "towline::auth", ?peer, cause = %Shown::new(&cause), "authentication refused");
    }
    let now = hub.now();
    let audit = |untold| Audit::at(now).auth_refused(peer, refusal.message(), untold);
    hold_back(hub, peer, audit).await?;
    Err(Unproven::Refused(Refusal::unauthenticated(
        refusal.message(),
    )))
}

/// Waits before a refusal that a guess may have earned: whoever guesses is told later and later, and from an address
/// where one refusal waits already nobody is told at all [ARCP 14-2]. What is told is audited, with the number of those
/// that were not, so that guessing does not fill the audit log.
///
/// # Errors
/// [`Unproven::TooMany`] when the refusal is not to be told.
pub(super) async fn hold_back(
    hub: &Hub,
    peer: Option<SocketAddr>,
    audit: impl FnOnce(u32) -> AuditRow,
) -> Result<(), Unproven> {
    match hub.services.limiter.refused(peer, Instant::now()) {
        Penalty::None => hub.audit(audit(0)),
        Penalty::Wait(delay, pending) => {
            hub.audit(audit(pending.untold));
            tokio::time::sleep(delay).await;
        }
        Penalty::Close => {
            metrics::counter!("towline_auth_untold_total").increment(1);
            return Err(Unproven::TooMany);
        }
    }
    Ok(())
}

/// Whatever authenticator an operator brings, no principal is shown as another one is [ARCP 14-8].
async fn authenticate(
    services: &Services,
    auth: &payload::Auth,
    peer: Option<SocketAddr>,
) -> Result<Proven, AuthRefusal> {
    let credentials = Credentials::from_hello(Some(auth), peer)?;
    let authenticating = services.authenticator.prove(&credentials);
    let proven = timeout(services.options.auth_timeout, authenticating)
        .await
        .unwrap_or_else(|_| Err(AuthRefusal::new("the token could not be verified in time")))?;
    if !stands_as_it_is(proven.principal.as_str()) {
        return Err(AuthRefusal::new(
            "the principal of this token has control characters, or turns text around",
        ));
    }
    Ok(proven)
}
