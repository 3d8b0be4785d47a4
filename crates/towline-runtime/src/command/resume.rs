//! Taking a session up again (§6.3).

use std::sync::Arc;

use tokio::sync::oneshot;
use towline_proto::{
    Dialect, limits,
    outbox::ReplayError,
    refusal::Refusal,
    server::{ResumeTarget, TokenHash},
};
use towline_store::{Change, StoreError};
use towline_transport::TransportKind;
use towline_wire::{ErrorCode, Feature, FeatureSet};

use super::{
    asker::{shutting_down, store_refusal},
    open::{CountGuard, Opened, too_many_sessions},
};
use crate::{
    auth::Proven,
    hub::{Command, Hub, Tx, hash_token},
    session::{Attachment, DetachReason, SessionEntry},
};

/// What a peer asks for.
pub(crate) struct ResumeRequest {
    pub(crate) target: ResumeTarget,
    /// Who asks; `None` for a bare `session.resume`, which its token alone proves.
    pub(crate) proven: Option<Proven>,
    /// `None` keeps what the session has.
    pub(crate) features: Option<FeatureSet>,
    /// `None` keeps what the session has.
    pub(crate) dialect: Option<Dialect>,
    pub(crate) kind: TransportKind,
    /// Whether nobody else can read the connection.
    pub(crate) confidential: bool,
}

/// Takes a session up. A failed try consumes nothing [ARCP 6.3-7]; a live connection of the session is taken over
/// without waiting for it [ARCP 6.3-8].
pub(crate) async fn resume(hub: &Arc<Hub>, request: ResumeRequest) -> Result<Opened, Refusal> {
    let session = hub.books.sessions.of_token(&request.target.token);
    let session = session.ok_or_else(expired)?;
    if request
        .target
        .session
        .as_ref()
        .is_some_and(|named| *named != session.id)
    {
        return Err(expired());
    }
    let presented = hash_token(&request.target.token);
    let (done, resumed) = oneshot::channel();
    let token = hub.services.ids.resume_token();
    let attachment = Attachment::new(request.kind, request.confidential);
    let position = request.target.last_event_seq;
    hub.command(ResumeSession {
        session: Arc::clone(&session),
        request,
        presented,
        new_hash: hash_token(&token),
        attachment: Arc::clone(&attachment),
        decision: None,
        done,
    });
    resumed.await.map_err(|_| shutting_down())??;
    Ok(Opened {
        session,
        attachment,
        token,
        position,
    })
}

/// One text for every reason, so that a guess learns nothing [ARCP 6.3-5].
fn expired() -> Refusal {
    let message =
        "`resume_token` is unknown, or the session's resume window has passed; open a new session";
    Refusal::new(ErrorCode::RESUME_WINDOW_EXPIRED, message)
}

/// Access that was taken away does not go on by a resume token [ARCP 14-7].
pub(crate) fn unproved() -> Refusal {
    let message = "what proved this session has expired or is not known here any more; say hello with a token that is";
    Refusal::unauthenticated(message)
}

struct ResumeSession {
    session: Arc<SessionEntry>,
    request: ResumeRequest,
    presented: TokenHash,
    new_hash: TokenHash,
    attachment: Arc<Attachment>,
    decision: Option<Result<Decided, Refusal>>,
    done: oneshot::Sender<Result<(), Refusal>>,
}

struct Decided {
    features: FeatureSet,
    dialect: Dialect,
    counted: Option<CountGuard>,
}

impl ResumeSession {
    /// Everything is checked here, in the committer, where no other resume of the session can come between.
    fn check(&self, hub: &Arc<Hub>) -> Result<Decided, Refusal> {
        let state = self.session.lock();
        if state.gone || !state.tokens.accept(&self.presented) {
            return Err(expired());
        }
        if self
            .request
            .proven
            .as_ref()
            .is_some_and(|proven| proven.principal != self.session.principal)
        {
            let message = "the session belongs to another principal";
            return Err(Refusal::new(ErrorCode::PERMISSION_DENIED, message));
        }
        let principal = &self.session.principal;
        let proved =
            self.request.proven.is_some() || hub.services.still_proved(principal, &state.proof);
        // A good token opens another session; this one was ended by name.
        if !proved || state.proof.is_revoked() {
            return Err(unproved());
        }
        let window = hub.services.options.resume_window;
        if !limits::in_resume_window(state.detached_at, hub.now(), window) {
            return Err(expired());
        }
        state
            .stream
            .may_resume(self.request.target.last_event_seq)
            .map_err(|error| match error {
                ReplayError::Ahead { .. } => Refusal::invalid(error.to_string()),
                ReplayError::Gone { .. } => {
                    Refusal::new(ErrorCode::RESUME_WINDOW_EXPIRED, error.to_string())
                }
            })?;
        Ok(Decided {
            features: self.request.features.unwrap_or(state.features),
            dialect: self.request.dialect.unwrap_or(state.dialect),
            counted: None,
        })
    }

    /// A session that is not attached takes a place among those that are.
    fn count(&self, hub: &Arc<Hub>) -> Result<Option<CountGuard>, Refusal> {
        if self.session.attachment().is_some() {
            return Ok(None);
        }
        if !hub.books.sessions.count_attached(&self.session.principal) {
            return Err(too_many_sessions(hub));
        }
        Ok(Some(CountGuard {
            hub: Arc::clone(hub),
            principal: self.session.principal.clone(),
            armed: true,
        }))
    }

    fn decision(&self, tx: &mut Tx<'_>) -> Result<Decided, Refusal> {
        let decided = self.check(tx.hub)?;
        let counted = self.count(tx.hub)?;
        tx.take_up(&self.session.id);
        Ok(Decided { counted, ..decided })
    }

    fn apply(&self, hub: &Hub, decided: &Decided) -> Option<Arc<Attachment>> {
        let (before, superseded) = {
            let mut state = self.session.lock();
            let tokens = state.tokens.rotated(self.presented, self.new_hash);
            let before = std::mem::replace(&mut state.tokens, tokens);
            state.features = decided.features;
            state.dialect = decided.dialect;
            if let Some(proven) = &self.request.proven {
                state.proof = proven.proof.clone();
            }
            state.detached_at = None;
            let acknowledges = decided.features.has(Feature::Ack);
            let position = self.request.target.last_event_seq;
            state.stream.taken_up(position, acknowledges);
            let attachment = Arc::clone(&self.attachment);
            (before, state.attachment.replace(attachment))
        };
        hub.books.sessions.insert(&self.session, Some(&before));
        superseded
    }
}

impl Command for ResumeSession {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        let decision = self.decision(tx);
        if let Ok(decided) = &decision {
            let mut row = self.session.row();
            let tokens = self.session.lock().tokens.clone();
            let tokens = tokens.rotated(self.presented, self.new_hash);
            row.token_hash = *tokens.current();
            row.previous_token_hash = tokens.previous().copied();
            row.skipped_token_hash = tokens.skipped().copied();
            row.features = decided.features;
            row.dialect = decided.dialect.as_str().to_owned();
            row.detached_at = None;
            if let Some(proven) = &self.request.proven {
                row.proof = proven.proof.text();
            }
            tx.push(Change::Session(Box::new(row)));
        }
        self.decision = Some(decision);
    }

    /// The place among the attached sessions is given back.
    fn undo(&mut self) {
        self.decision = None;
    }

    fn done(mut self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        let decision = match (self.decision.take(), result) {
            // Nothing of the transaction counts, so nobody rotated the token.
            (_, Err(error)) => Err(store_refusal(error)),
            // Another runtime on the same store took the session up first.
            (Some(Ok(_)), Ok(())) if self.session.lock().gone => Err(expired()),
            (Some(decision), Ok(())) => decision,
            (None, Ok(())) => Err(expired()),
        };
        let answer = match decision {
            Err(refusal) => Err(refusal),
            Ok(mut decided) => {
                let superseded = self.apply(hub, &decided);
                match (&mut decided.counted, &superseded) {
                    (Some(counted), None) => counted.armed = false,
                    // The old connection went while this was being committed, and was counted out.
                    (None, None) => hub
                        .books
                        .sessions
                        .count_attached_anyway(&self.session.principal),
                    // The place of the connection that is taken over; a second one is given back.
                    (_, Some(_)) => {}
                }
                if let Some(old) = superseded {
                    old.detach(DetachReason::Superseded);
                }
                Ok(())
            }
        };
        let stands = answer.is_ok();
        let taken = self.done.send(answer).is_ok();
        if stands && !taken {
            hub.detach(&self.session, &self.attachment);
        }
    }
}
