//! Who did what to whom [ARCP 14-3].
//!
//! An entry is built with [`Audit`], committed to the store with whatever it is about, and, after the commit, written to
//! the `tracing` target [`TARGET`] by [`record`]. Entries hold names and verdicts, never a token, a credential's value,
//! an input or a result, and each text in them is cut at 256 bytes, for much of it comes from peers.

use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::{Map, Value};
use towline_proto::questions::Answered;
use towline_store::{AuditRow, Principal};
use towline_wire::{
    AgentRef, CredentialId, ErrorCode, JobId, QuestionId, RawJson, SessionId, Shown, Timestamp,
    event, write_string,
};

/// The `tracing` target of audit entries. A subscriber that filters on it gets the audit log and nothing else.
pub const TARGET: &str = "towline::audit";

/// The actions entries tell of: their `action`.
pub mod action {
    /// Somebody proved, or failed to prove, who they are.
    pub const AUTH: &str = "auth";
    /// Somebody failed to take up a session.
    pub const RESUME: &str = "resume";
    /// A principal was refused more often than there are entries for.
    pub const REFUSALS: &str = "refusals";
    /// A job was submitted.
    pub const SUBMIT: &str = "submit";
    /// A job was to be cancelled.
    pub const CANCEL: &str = "cancel";
    /// A question of a job was to be answered, or ended without an answer.
    pub const ANSWER: &str = "answer";
    /// Somebody spoke to a job.
    pub const MESSAGE: &str = "message";
    /// Somebody wanted to watch a job.
    pub const SUBSCRIBE: &str = "subscribe";
    /// A lease ran out.
    pub const LEASE_EXPIRED: &str = "lease.expired";
    /// Somebody wanted to end the sessions of a principal.
    pub const SESSIONS_REVOKE: &str = "sessions.revoke";
    /// A credential was issued.
    pub const CREDENTIAL_ISSUE: &str = "credential.issue";
    /// A credential's value was replaced.
    pub const CREDENTIAL_ROTATE: &str = "credential.rotate";
    /// A credential was revoked.
    pub const CREDENTIAL_REVOKE: &str = "credential.revoke";
}

/// How a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It was done.
    Allowed,
    /// It was refused, with this code.
    Refused(&'a ErrorCode),
    /// It was allowed and then failed, for the reason given (revoking at an upstream that does not answer, say).
    Failed(&'a str),
}

/// Who asked: the principal, the session it asked in, and the role that was looked at.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// In which session.
    pub session: &'a SessionId,
    /// Under which role the deployment's policy decided [ARCP 20-2].
    pub role: Option<&'a str>,
}

/// Builds entries of the audit log, one method an action.
///
/// ```
/// use towline_runtime::audit::{self, Actor, Audit, Verdict};
/// use towline_store::Principal;
/// use towline_wire::{JobId, SessionId, Timestamp};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (alice, session) = (Principal::new("alice"), SessionId::parse("sess_1")?);
/// let actor = Actor { principal: &alice, session: &session, role: None };
/// let now: Timestamp = "2026-01-31T12:00:00Z".parse()?;
/// let row = Audit::at(now).cancel(actor, &JobId::parse("job_1")?, Verdict::Allowed);
/// assert_eq!(row.data.as_str(), r#"{"verdict":"allowed","principal":"alice","session":"sess_1","job":"job_1"}"#);
/// // … commit the row, then:
/// audit::record(&row);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Audit {
    at: Timestamp,
}

impl Audit {
    /// Entries of a moment.
    pub const fn at(now: Timestamp) -> Self {
        Self { at: now }
    }

    /// Somebody proved who they are.
    pub fn auth_accepted(self, actor: Actor<'_>, peer: Option<SocketAddr>) -> AuditRow {
        self.entry(action::AUTH)
            .verdict(Verdict::Allowed)
            .actor(actor)
            .peer(peer)
            .row()
    }

    /// Somebody did not. `reason` is what the refusal says; it holds no token. `untold` others from that address were closed
    /// before without a refusal or an entry of their own [ARCP 14-2].
    pub fn auth_refused(self, peer: Option<SocketAddr>, reason: &str, untold: u32) -> AuditRow {
        let verdict = Verdict::Refused(&ErrorCode::UNAUTHENTICATED);
        self.entry(action::AUTH)
            .verdict(verdict)
            .peer(peer)
            .text("reason", reason)
            .more(untold)
            .row()
    }

    /// Somebody tried to take up a session and was refused: the token was not good, or not this principal's. As with
    /// [`auth_refused`](Self::auth_refused), `untold` others were closed before.
    pub fn resume_refused(
        self,
        peer: Option<SocketAddr>,
        principal: Option<&Principal>,
        code: &ErrorCode,
        untold: u32,
    ) -> AuditRow {
        let entry = self.entry(action::RESUME).verdict(Verdict::Refused(code));
        entry
            .optional("principal", principal.map(Principal::as_str))
            .peer(peer)
            .more(untold)
            .row()
    }

    /// What had proved somebody proves nothing any more [ARCP 14-7].
    pub fn access_ended(self, actor: Actor<'_>) -> AuditRow {
        let verdict = Verdict::Refused(&ErrorCode::UNAUTHENTICATED);
        self.entry(action::AUTH)
            .verdict(verdict)
            .actor(actor)
            .text("reason", "what proved the session holds no more")
            .row()
    }

    /// A job was submitted; it has an id when it was accepted.
    pub fn submit(
        self,
        actor: Actor<'_>,
        agent: &str,
        job: Option<&JobId>,
        verdict: Verdict<'_>,
    ) -> AuditRow {
        let entry = self.entry(action::SUBMIT).verdict(verdict).actor(actor);
        entry
            .optional("job", job.map(JobId::as_str))
            .text("agent", agent)
            .row()
    }

    /// A running job delegated to a child. The actor is the one whose job it is.
    pub fn delegate(
        self,
        actor: Actor<'_>,
        parent: &JobId,
        agent: &AgentRef,
        child: &JobId,
    ) -> AuditRow {
        let entry = self
            .entry(action::SUBMIT)
            .verdict(Verdict::Allowed)
            .actor(actor);
        entry
            .text("job", child.as_str())
            .text("agent", &agent.to_string())
            .text("parent", parent.as_str())
            .row()
    }

    /// A job was to be cancelled.
    pub fn cancel(self, actor: Actor<'_>, job: &JobId, verdict: Verdict<'_>) -> AuditRow {
        self.entry(action::CANCEL)
            .verdict(verdict)
            .actor(actor)
            .text("job", job.as_str())
            .row()
    }

    /// A question was to be answered; `outcome` and `remembered` say what it came to [ARCP 15-2].
    pub fn answer(
        self,
        actor: Actor<'_>,
        job: &JobId,
        question: &QuestionId,
        answered: Option<&Answered>,
        verdict: Verdict<'_>,
    ) -> AuditRow {
        let entry = self
            .entry(action::ANSWER)
            .verdict(verdict)
            .actor(actor)
            .text("job", job.as_str())
            .text("question", question.as_str());
        let resolved = answered.map(|answered| &answered.resolved);
        let answer = resolved.and_then(|resolved| resolved.answer.as_ref());
        // A text or a form may be anything; a yes, a no and a choice are what somebody has to stand for.
        let yes_or_no = answer.filter(|answer| ["true", "false"].contains(&answer.as_str()));
        let grant = answered.and_then(|answered| answered.grant.as_ref());
        let grant = grant.map(|(namespace, pattern)| format!("{namespace}={pattern}"));
        entry
            .optional(
                "outcome",
                resolved.map(|resolved| resolved.outcome.as_str()),
            )
            .optional("answer", yes_or_no.map(RawJson::as_str))
            .optional("grant", grant.as_deref())
            .row()
    }

    /// A question ended without an answer: nobody was there in time, or the job ended.
    pub fn unanswered(
        self,
        owner: &Principal,
        job: &JobId,
        resolved: &event::InputResolved,
    ) -> AuditRow {
        self.entry(action::ANSWER)
            .text("job", job.as_str())
            .text("owner", owner.as_str())
            .text("question", resolved.question_id.as_str())
            .text("outcome", resolved.outcome.as_str())
            .row()
    }

    /// Somebody spoke to a job.
    pub fn message(self, actor: Actor<'_>, job: &JobId, verdict: Verdict<'_>) -> AuditRow {
        self.entry(action::MESSAGE)
            .verdict(verdict)
            .actor(actor)
            .text("job", job.as_str())
            .row()
    }

    /// Somebody wanted to watch a job. There is no owner when there is no such job [ARCP 7.6-5].
    pub fn subscribe(
        self,
        actor: Actor<'_>,
        job: &JobId,
        owner: Option<&Principal>,
        verdict: Verdict<'_>,
    ) -> AuditRow {
        let entry = self
            .entry(action::SUBSCRIBE)
            .verdict(verdict)
            .actor(actor)
            .text("job", job.as_str());
        entry.optional("owner", owner.map(Principal::as_str)).row()
    }

    /// Somebody wanted to end the sessions of a principal [ARCP 14-7].
    pub fn sessions_revoked(
        self,
        actor: Actor<'_>,
        owner: &Principal,
        verdict: Verdict<'_>,
    ) -> AuditRow {
        self.entry(action::SESSIONS_REVOKE)
            .verdict(verdict)
            .actor(actor)
            .text("owner", owner.as_str())
            .row()
    }

    /// A job's lease ran out [ARCP 9.5-2].
    pub fn lease_expired(self, owner: &Principal, job: &JobId, expires_at: &str) -> AuditRow {
        let entry = self.entry(action::LEASE_EXPIRED).text("job", job.as_str());
        entry
            .text("owner", owner.as_str())
            .text("expires_at", expires_at)
            .row()
    }

    /// A credential was issued for a job, or could not be.
    pub fn credential_issued(
        self,
        owner: &Principal,
        job: &JobId,
        id: &CredentialId,
        verdict: Verdict<'_>,
    ) -> AuditRow {
        self.credential(action::CREDENTIAL_ISSUE, owner, job, id, verdict)
    }

    /// A credential's value was replaced, or could not be.
    pub fn credential_rotated(
        self,
        owner: &Principal,
        job: &JobId,
        id: &CredentialId,
        verdict: Verdict<'_>,
    ) -> AuditRow {
        self.credential(action::CREDENTIAL_ROTATE, owner, job, id, verdict)
    }

    /// A credential was revoked, or could not be.
    pub fn credential_revoked(
        self,
        owner: &Principal,
        job: &JobId,
        id: &CredentialId,
        verdict: Verdict<'_>,
    ) -> AuditRow {
        self.credential(action::CREDENTIAL_REVOKE, owner, job, id, verdict)
    }

    fn credential(
        self,
        action: &'static str,
        owner: &Principal,
        job: &JobId,
        id: &CredentialId,
        verdict: Verdict<'_>,
    ) -> AuditRow {
        let entry = self
            .entry(action)
            .verdict(verdict)
            .text("job", job.as_str());
        entry
            .text("owner", owner.as_str())
            .text("credential", id.as_str())
            .row()
    }

    /// A principal was refused so many more times than there are entries for [ARCP 14-6].
    pub fn refusals(self, principal: &Principal, count: u32) -> AuditRow {
        self.entry(action::REFUSALS)
            .text("verdict", "refused")
            .text("principal", principal.as_str())
            .more(count)
            .row()
    }

    fn entry(self, action: &'static str) -> Entry {
        Entry {
            at: self.at,
            action,
            data: Vec::with_capacity(USUAL_BYTES),
        }
    }
}

/// An entry being written: there is one for each job, so its JSON is written as it is told.
struct Entry {
    at: Timestamp,
    action: &'static str,
    data: Vec<u8>,
}

impl Entry {
    fn verdict(self, verdict: Verdict<'_>) -> Self {
        match verdict {
            Verdict::Allowed => self.text("verdict", "allowed"),
            Verdict::Refused(code) => self.text("verdict", "refused").text("code", code.as_str()),
            Verdict::Failed(reason) => self.text("verdict", "failed").text("reason", reason),
        }
    }

    fn actor(self, actor: Actor<'_>) -> Self {
        self.text("principal", actor.principal.as_str())
            .text("session", actor.session.as_str())
            .optional("role", actor.role)
    }

    fn peer(self, peer: Option<SocketAddr>) -> Self {
        let peer = peer.map(|peer| peer.to_string());
        self.optional("peer", peer.as_deref())
    }

    /// How many others of its kind an entry stands for.
    fn more(mut self, count: u32) -> Self {
        if count > 0 {
            self.name("more");
            self.data.extend_from_slice(count.to_string().as_bytes());
        }
        self
    }

    fn optional(self, field: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(field, value),
            None => self,
        }
    }

    fn text(mut self, field: &'static str, value: &str) -> Self {
        self.name(field);
        if is_shown_as_it_is(value) {
            write_string(&mut self.data, value);
        } else {
            write_string(&mut self.data, &shown(value));
        }
        self
    }

    /// Begins a field.
    fn name(&mut self, field: &str) {
        self.data
            .push(if self.data.is_empty() { b'{' } else { b',' });
        write_string(&mut self.data, field);
        self.data.push(b':');
    }

    fn row(mut self) -> AuditRow {
        self.data.push(b'}');
        // Made of texts, so it is one.
        let text = String::from_utf8(self.data);
        AuditRow {
            at: self.at,
            action: self.action.to_owned(),
            data: text.map_or(RawJson::EMPTY_OBJECT, |text| {
                RawJson::from_checked(text.into())
            }),
        }
    }
}

/// A text as people may be shown it, and at most [`MAX_TEXT_BYTES`] of it, with a sign that there was more [ARCP 14-8].
fn shown(text: &str) -> String {
    Shown::new(text).at_most(MAX_TEXT_BYTES).to_string()
}

/// Whether that changes nothing of a text, as of most.
fn is_shown_as_it_is(text: &str) -> bool {
    text.len() <= MAX_TEXT_BYTES && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

const MAX_TEXT_BYTES: usize = 256;

/// Entries about jobs are about as long.
const USUAL_BYTES: usize = 224;

/// The fields [`record`] gives to `tracing`: those an entry of ours can have.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fields {
    verdict: Option<String>,
    code: Option<String>,
    principal: Option<String>,
    session: Option<String>,
    role: Option<String>,
    peer: Option<String>,
    job: Option<String>,
    parent: Option<String>,
    agent: Option<String>,
    owner: Option<String>,
    credential: Option<String>,
    expires_at: Option<String>,
    reason: Option<String>,
    more: Option<u32>,
}

/// Writes an entry to the `tracing` target [`TARGET`], at `INFO`, one field for each of the entry's. Call it after the
/// entry is committed.
pub fn record(row: &AuditRow) {
    if !is_heard() {
        return;
    }
    let fields = fields(&row.data);
    tracing::info!(
        target: TARGET,
        action = row.action.as_str(),
        at = %row.at,
        verdict = fields.verdict,
        code = fields.code,
        principal = fields.principal,
        session = fields.session,
        role = fields.role,
        peer = fields.peer,
        job = fields.job,
        parent = fields.parent,
        agent = fields.agent,
        owner = fields.owner,
        credential = fields.credential,
        expires_at = fields.expires_at,
        reason = fields.reason,
        more = fields.more,
        "audit"
    );
}

/// Whose refusal an entry tells of; `None` when it tells of something else, or of somebody unknown.
pub(crate) fn refused_principal(row: &AuditRow) -> Option<Principal> {
    // The verdict comes first in an entry of ours, so that most need not be read.
    let is_refusal = row.data.as_str().starts_with(r#"{"verdict":"refused""#);
    let principal = is_refusal.then(|| fields(&row.data).principal)?;
    principal.map(Principal::new)
}

/// An entry that stands for `count` others too.
pub(crate) fn with_more(row: AuditRow, count: u32) -> AuditRow {
    if count == 0 {
        return row;
    }
    let mut data: Map<String, Value> = row.data.read().unwrap_or_default();
    data.insert("more".to_owned(), count.into());
    AuditRow {
        data: Value::Object(data).into(),
        ..row
    }
}

/// Whether anybody listens to [`record`].
pub(crate) fn is_heard() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::INFO)
}

/// An entry of a store that a later version wrote may have other fields; what cannot be read is left out.
fn fields(data: &RawJson) -> Fields {
    data.read().unwrap_or_default()
}

#[cfg(test)]
mod tests;
