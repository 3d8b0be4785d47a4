//! Revoking, until it is done.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use towline_store::{Change, StoreError};

use super::{
    CredentialProvisioner, Revocation,
    entry::Due,
    ledger::{Credential, State},
};
use crate::{
    audit::{Audit, Verdict},
    hub::Hub,
};

/// Has whatever is due of a credential revoked. One task a credential; does nothing when there is one, or nothing is due.
pub(super) fn begin(hub: &Arc<Hub>, credential: &Arc<Credential>) {
    let wanted = |state: &State| (state.dirty || !state.entry.due().is_empty()) && !state.revoking;
    if !wanted(&credential.lock()) {
        return;
    }
    let Some(provisioner) = provisioner(hub, credential) else {
        return;
    };
    {
        let mut state = credential.lock();
        if !wanted(&state) {
            return;
        }
        state.revoking = true;
    }
    hub.services.credentials.count_pending(true);
    let (hub, credential) = (Arc::clone(hub), Arc::clone(credential));
    hub.scope.tasks.clone().spawn(async move {
        tokio::select! {
            () = run(&hub, &credential, provisioner.as_ref()) => {}
            // What is left is taken up by the next start.
            () = hub.scope.stopping.cancelled() => {}
        }
        hub.services.credentials.count_pending(false);
    });
}

/// The provisioner that made a credential. Nobody else can revoke it, so without it the operator has to be told.
fn provisioner(hub: &Hub, credential: &Credential) -> Option<Arc<dyn CredentialProvisioner>> {
    let found = hub.services.credentials.provisioner.as_ref();
    let state = credential.lock();
    let own = found.filter(|provisioner| provisioner.name() == state.entry.provisioner);
    if own.is_none() {
        tracing::error!(
            target: "towline::credentials", credential = %state.entry.id, job = %state.entry.job,
            provisioner = state.entry.provisioner,
            "a credential is out and cannot be revoked: its provisioner is not configured"
        );
    }
    own.cloned()
}

/// Tries until nothing is due. Pauses grow; tries never end.
async fn run(
    hub: &Arc<Hub>,
    credential: &Arc<Credential>,
    provisioner: &dyn CredentialProvisioner,
) {
    let mut failures = 0;
    loop {
        let pause = {
            let _turn = credential.busy.lock().await;
            match pass(hub, credential, provisioner).await {
                Pass::Done => None,
                Pass::TooEarly(pause) => Some(pause),
                Pass::Failed(reason) => {
                    failures += 1;
                    report(hub, credential, &reason, failures);
                    Some(backoff(hub, failures))
                }
            }
        };
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        } else if rests(hub, credential) {
            return;
        }
    }
}

/// Whether nothing is left to do; then the task is over, and another one may be begun.
fn rests(hub: &Hub, credential: &Arc<Credential>) -> bool {
    let outstanding = {
        let mut state = credential.lock();
        if state.dirty || !state.entry.due().is_empty() {
            return false;
        }
        state.revoking = false;
        state.entry.is_outstanding()
    };
    if !outstanding {
        hub.services.credentials.remove(credential);
    }
    true
}

enum Pass {
    Done,
    /// It is too early to believe that there is nothing.
    TooEarly(Duration),
    Failed(String),
}

/// Tries once to revoke each value that is due, and keeps what came of it.
async fn pass(
    hub: &Arc<Hub>,
    credential: &Credential,
    provisioner: &dyn CredentialProvisioner,
) -> Pass {
    let due = credential.lock().entry.due();
    let mut result = Pass::Done;
    for due in due {
        match revoke(hub, provisioner, &due).await {
            Pass::Done => {
                let mut state = credential.lock();
                state.entry.revoked(due.number);
                state.dirty = true;
            }
            // A failure is worth more than a wait.
            other if !matches!(result, Pass::Failed(_)) => result = other,
            _ => {}
        }
    }
    if let Pass::Failed(_) = result {
        let mut state = credential.lock();
        state.entry.failures += 1;
        state.dirty = true;
    }
    match keep(hub, credential).await {
        Ok(()) => result,
        Err(error) => Pass::Failed(error.to_string()),
    }
}

async fn revoke(hub: &Hub, provisioner: &dyn CredentialProvisioner, due: &Due) -> Pass {
    let options = &hub.services.credentials.options;
    hub.sound_footing().await;
    match timeout(options.timeout, provisioner.revoke(&due.value)).await {
        Ok(Ok(Revocation::Revoked)) => Pass::Done,
        Ok(Ok(Revocation::NotFound)) => {
            // A call that was given up may still be on its way, and come true after this.
            let left = options
                .unknown_for
                .saturating_sub(hub.now().since(due.asked_at));
            if due.is_unknown && !left.is_zero() {
                Pass::TooEarly(left)
            } else {
                Pass::Done
            }
        }
        Ok(Err(error)) => Pass::Failed(error.to_string()),
        Err(_) => Pass::Failed("the upstream did not answer in time".to_owned()),
    }
}

/// Writes the entry as it stands, when it has changed.
async fn keep(hub: &Arc<Hub>, credential: &Credential) -> Result<(), StoreError> {
    let (row, audit) = {
        let mut state = credential.lock();
        if !std::mem::take(&mut state.dirty) {
            return Ok(());
        }
        let entry = &state.entry;
        let audit = (!entry.is_outstanding()).then(|| {
            Audit::at(hub.now()).credential_revoked(
                &entry.principal(),
                &entry.job,
                &entry.id,
                Verdict::Allowed,
            )
        });
        (entry.row(), audit)
    };
    let audits = audit.into_iter().collect();
    let written = hub.write(vec![Change::Credential(row)], audits).await;
    if written.is_err() {
        credential.lock().dirty = true;
    }
    written
}

/// Tells the operator, loudly once it has failed often.
fn report(hub: &Arc<Hub>, credential: &Credential, reason: &str, failures: u32) {
    metrics::counter!("towline_revocation_failures_total").increment(1);
    let state = credential.lock();
    let entry = &state.entry;
    let reason = entry.scrub(reason);
    if failures < hub.services.credentials.options.alarm_after {
        tracing::warn!(
            target: "towline::credentials", credential = %entry.id, job = %entry.job, failures,
            reason = %towline_wire::Shown::new(&reason),
            "revoking failed, trying again"
        );
        return;
    }
    tracing::error!(
        target: "towline::credentials", credential = %entry.id, job = %entry.job, failures,
            reason = %towline_wire::Shown::new(&reason),
        "a credential cannot be revoked; it stays good at the upstream until it is"
    );
    if failures == hub.services.credentials.options.alarm_after {
        let audit = Audit::at(hub.now());
        hub.audit(audit.credential_revoked(
            &entry.principal(),
            &entry.job,
            &entry.id,
            Verdict::Failed(&reason),
        ));
    }
}

/// Twice as long with every failure, up to a bound, less up to a half, so that many do not come at once.
fn backoff(hub: &Hub, failures: u32) -> Duration {
    let options = &hub.services.credentials.options;
    let doubled = 1u32
        .checked_shl(failures.saturating_sub(1))
        .unwrap_or(u32::MAX);
    let pause = options
        .first_pause
        .saturating_mul(doubled)
        .min(options.longest_pause);
    let share = (hub.services.ids.random() % 1024) as u32;
    pause - pause / 2 * share / 1024
}
