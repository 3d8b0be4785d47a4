//! How the other ARCP SDKs differ from the draft, and how to tell them apart.
//!
//! This is the only place that knows other SDKs. A dialect is chosen once per session from the peer's first message and
//! asked about by name (`dialect.refuses_submit_with_job_error()`); the machines never compare dialects themselves. A
//! wrong guess still leaves basic use working, because everything here is a choice between two forms that a peer which
//! follows the draft reads too.

use std::{fmt, str::FromStr};

use serde::Deserialize;
use towline_wire::{Envelope, Feature, MessageType, payload};

/// Whose reading of the draft a peer follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// The draft as written, and every peer that shows no sign of another.
    #[default]
    Draft,
    /// The Python SDK, 1.1.x.
    Python,
    /// The TypeScript SDK.
    TypeScript,
    /// The Go SDK.
    Go,
    /// The C# SDK and the F# one built on it.
    CSharp,
    /// The Ruby SDK.
    Ruby,
    /// The Java SDK, and the PHP one, which its sources show to read the same.
    Java,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 7] = [
        Self::Draft,
        Self::Python,
        Self::TypeScript,
        Self::Go,
        Self::CSharp,
        Self::Ruby,
        Self::Java,
    ];

    /// The name used in options and in stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Python => "python",
            Self::TypeScript => "typescript",
            Self::Go => "go",
            Self::CSharp => "csharp",
            Self::Ruby => "ruby",
            Self::Java => "java",
        }
    }

    /// Guesses a client's dialect from its `session.hello`.
    pub fn of_hello(envelope: &Envelope, hello: &payload::Hello) -> Self {
        let has_agents = hello
            .capabilities
            .as_ref()
            .is_some_and(|capabilities| capabilities.agents.is_some());
        if has_agents {
            return Self::Python;
        }
        if has_field(envelope, "timestamp") {
            return Self::CSharp;
        }
        if hello.client.is_none() && envelope.payload.as_str().contains("\"client_name\"") {
            return Self::Ruby;
        }
        let Some(id) = envelope.id.as_ref().map(|id| id.as_str()) else {
            return Self::Draft;
        };
        if is_uuid_v7(id) {
            return Self::Go;
        }
        let features = FeatureOrder::of(envelope);
        if is_typescript_id(id) && features.is_typescript() {
            return Self::TypeScript;
        }
        if is_ulid(id) && features.is_alphabetical() {
            return Self::Java;
        }
        Self::Draft
    }

    /// The dialect of the client that sends this as its first frame; [`Dialect::Draft`] for anything but a readable hello.
    pub fn of_first_frame(envelope: &Envelope) -> Self {
        if envelope.kind != MessageType::SESSION_HELLO {
            return Self::Draft;
        }
        envelope
            .decode()
            .map_or(Self::Draft, |hello| Self::of_hello(envelope, &hello))
    }

    /// Guesses a runtime's dialect from its `session.welcome`.
    pub fn of_welcome(envelope: &Envelope, welcome: &payload::Welcome) -> Self {
        let token = welcome
            .resume_token
            .as_ref()
            .map_or("", |token| token.expose());
        if token.starts_with("rtk_") && welcome.session_id.is_some() {
            return Self::Python;
        }
        if has_field(envelope, "timestamp") {
            return Self::CSharp;
        }
        if envelope.payload.as_str().contains("\"runtime_name\"") && welcome.runtime.name.is_empty()
        {
            return Self::Ruby;
        }
        if is_ulid(token) {
            return Self::Go;
        }
        if is_uuid(token) && envelope.id.as_ref().is_some_and(|id| is_ulid(id.as_str())) {
            return Self::Java;
        }
        // Ours has the same token, but says `session_id` and `accepted_at` in the payload too.
        let hex_token = token.strip_prefix("rt_").is_some_and(|hex| hex.len() == 64);
        if hex_token && welcome.session_id.is_none() && welcome.accepted_at.is_none() {
            Self::TypeScript
        } else {
            Self::Draft
        }
    }

    // What a runtime does differently for a client of this dialect.

    /// A refused submit is a `job.error` with a fresh `job_id` instead of a `session.error`.
    pub const fn refuses_submit_with_job_error(self) -> bool {
        matches!(self, Self::TypeScript)
    }

    /// There is no `session.error`: every refusal, also of a hello, is a `job.error` without `job_id` whose envelope has the
    /// id of the request.
    pub const fn refuses_with_the_requests_id(self) -> bool {
        matches!(self, Self::Java)
    }

    /// A refused subscribe is the `job.error` of the job that was asked for: the client waits for the end of that job alone.
    pub const fn refuses_subscribe_with_job_error(self) -> bool {
        matches!(self, Self::Java | Self::Ruby)
    }

    /// Leases are objects of another kind, so the client cannot read ours: they are left out of what it is told.
    pub const fn reads_no_leases(self) -> bool {
        matches!(self, Self::Ruby)
    }

    /// A submit's `lease_request` holds things that are no patterns: `capabilities`, always, and `expires_at`.
    pub const fn asks_for_leases_of_its_own(self) -> bool {
        matches!(self, Self::Ruby)
    }

    /// The welcome names the runtime in `runtime_name` and `runtime_version`.
    pub const fn names_the_runtime_flat(self) -> bool {
        matches!(self, Self::Ruby)
    }

    /// Budgets are strings such as `"USD:5.00"` instead of numbers.
    pub const fn writes_budget_as_text(self) -> bool {
        matches!(self, Self::Python)
    }

    /// A cancelled or timed-out job ends in `job.result` instead of `job.error`.
    pub const fn ends_unfinished_jobs_with_result(self) -> bool {
        matches!(self, Self::Python)
    }

    /// The inline result is also sent as `output`.
    pub const fn repeats_result_as_output(self) -> bool {
        matches!(self, Self::Go)
    }

    /// The client loses events that follow `job.subscribed` within a millisecond.
    pub const fn needs_pause_after_subscribed(self) -> bool {
        matches!(self, Self::Python)
    }

    /// A credential's constraints are also sent as `allowed_models` and `max_spend` (one amount, `{currency, amount}`), and a
    /// credential that is no bearer token is not sent: the client drops the whole message over one.
    pub const fn fits_credentials(self) -> bool {
        matches!(self, Self::TypeScript)
    }

    /// A metric's dimensions are also sent as `dims`.
    pub const fn repeats_dimensions_as_dims(self) -> bool {
        matches!(self, Self::TypeScript)
    }

    /// A metric's dimensions have to be strings.
    pub const fn stringifies_dimensions(self) -> bool {
        matches!(self, Self::CSharp)
    }

    /// A `job.accepted` that answers none of the client's submits would be taken for the answer to its oldest one: those of
    /// children and of a replay are left out, for the client has no use for them.
    pub const fn takes_acceptances_in_order(self) -> bool {
        matches!(
            self,
            Self::Python | Self::TypeScript | Self::Go | Self::CSharp | Self::Java
        )
    }

    /// Every job of the client fails on a `session.error`, so a request whose answer it does not wait for gets none.
    pub const fn fails_every_job_on_an_error(self) -> bool {
        matches!(self, Self::Python | Self::TypeScript)
    }

    /// The client waits for the end of a job it finds by its key to be told once more, and drops numbers that it knows: that
    /// end has none.
    pub const fn waits_for_the_end_of_known_jobs(self) -> bool {
        matches!(self, Self::Python)
    }

    /// The largest frame the client reads, in bytes; `None` when it reads any.
    pub const fn frame_limit(self) -> Option<usize> {
        match self {
            Self::Python | Self::Go => Some(1024 * 1024),
            _ => None,
        }
    }

    /// The longest line the peer reads over stdio, in bytes; `None` when it reads any.
    pub const fn line_limit(self) -> Option<usize> {
        match self {
            Self::Python => Some(64 * 1024),
            _ => self.frame_limit(),
        }
    }

    // What a client does differently for a runtime of this dialect.

    /// The session is closed with `session.bye` instead of `session.close`.
    pub const fn says_bye(self) -> bool {
        matches!(self, Self::Python | Self::TypeScript | Self::Ruby)
    }

    /// A resume of a session that is fully caught up is refused: ask for the last event again and drop the duplicate.
    pub const fn refuses_caught_up_resume(self) -> bool {
        matches!(self, Self::TypeScript)
    }

    /// Refusals name no request: replies are matched by order, with a ping as a fence.
    pub const fn replies_without_request_id(self) -> bool {
        matches!(self, Self::CSharp | Self::TypeScript | Self::Python)
    }

    /// A subscribe, or a cancel, is refused with the `job.error` of the job that was asked for, which is not that job's end.
    pub const fn refuses_watching_with_job_error(self) -> bool {
        matches!(self, Self::TypeScript | Self::Ruby)
    }

    /// A submit that finds a finished job by its key is answered with the acceptance, and nothing else follows.
    pub const fn leaves_repeats_unanswered(self) -> bool {
        matches!(self, Self::TypeScript | Self::Go | Self::Java | Self::Ruby)
    }

    /// There is something to resume only once the runtime saw the end of the old connection; until then the token is unknown.
    pub const fn parks_sessions_late(self) -> bool {
        matches!(self, Self::Java)
    }

    /// A resumed session is sent what it missed, and no event after that.
    pub const fn goes_quiet_after_resume(self) -> bool {
        matches!(self, Self::TypeScript | Self::Python)
    }

    /// A submit that finds another session's job by its key is answered with that session's frames, and sees no events.
    pub const fn answers_with_other_sessions_frames(self) -> bool {
        matches!(self, Self::Python)
    }

    /// A job's events, even its end, come before its `job.accepted`.
    pub const fn sends_events_before_acceptance(self) -> bool {
        matches!(self, Self::Ruby)
    }

    /// A job's past comes before the `job.subscribed` that answers for it.
    pub const fn sends_history_before_subscribed(self) -> bool {
        matches!(self, Self::Python | Self::Ruby)
    }

    /// Events of subscriptions have numbers of their own, beside those of the session's jobs.
    pub const fn numbers_subscriptions_apart(self) -> bool {
        matches!(self, Self::Python)
    }
}

/// Whether a message is of the vocabulary that came before `session.hello` and `job.submit`: the Rust crate `arcp`, the
/// Kotlin and the Swift SDKs speak it, under the same `"arcp":"1.1"`.
pub fn is_old_vocabulary(kind: &str) -> bool {
    OLD_TYPES.contains(&kind) || kind.starts_with("tool.")
}

/// What tells a peer, or its user, that it speaks the older vocabulary.
pub fn old_vocabulary(seen: &str) -> String {
    let seen: String = seen.chars().take(64).collect();
    format!(
        "`{seen}` is of the older protocol (session.open, tool.invoke) that the Rust crate `arcp` 2.0, the Kotlin and the Swift \
         SDKs speak under the same name; this peer speaks ARCP v1.1, which begins with `session.hello` and runs jobs with \
         `job.submit`"
    )
}

/// What a peer of the older vocabulary may send first.
const OLD_TYPES: [&str; 8] = [
    "session.open",
    "session.accepted",
    "session.challenge",
    "session.authenticate",
    "session.rejected",
    "session.unauthenticated",
    "session.evicted",
    "nack",
];

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not the name of a dialect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a dialect (draft, python, typescript, go, csharp, ruby, java)")]
pub struct UnknownDialect(String);

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(text: &str) -> Result<Self, UnknownDialect> {
        let found = Self::ALL
            .into_iter()
            .find(|dialect| dialect.as_str() == text);
        found.ok_or_else(|| UnknownDialect(text.to_owned()))
    }
}

fn has_field(envelope: &Envelope, name: &str) -> bool {
    envelope.unknown.iter().any(|field| field.name == name)
}

/// The features of a hello, in the order in which they were written. A wire set has no order; what an SDK writes has one.
#[derive(Default)]
struct FeatureOrder(Vec<String>);

impl FeatureOrder {
    fn of(envelope: &Envelope) -> Self {
        #[derive(Default, Deserialize)]
        struct Capabilities {
            #[serde(default)]
            features: Vec<String>,
        }
        #[derive(Deserialize)]
        struct Payload {
            #[serde(default)]
            capabilities: Capabilities,
        }
        let read = envelope.payload.read::<Payload>();
        Self(read.map_or_else(|_| Vec::new(), |payload| payload.capabilities.features))
    }

    fn place(&self, feature: Feature) -> Option<usize> {
        self.0.iter().position(|name| name == feature.as_str())
    }

    /// The TypeScript SDK has what came last to it, `model.use` and `provisioned_credentials`, behind what the draft lists
    /// last. Its ids are those the draft shows, so without both groups it cannot be told from a client of the draft.
    fn is_typescript(&self) -> bool {
        let last = [Feature::ModelUse, Feature::ProvisionedCredentials];
        let before = [
            Feature::Progress,
            Feature::ResultChunk,
            Feature::AgentVersions,
        ];
        let first_of_last = last.into_iter().filter_map(|f| self.place(f)).min();
        let last_of_before = before.into_iter().filter_map(|f| self.place(f)).max();
        matches!((last_of_before, first_of_last), (Some(before), Some(last)) if before < last)
    }

    /// One name or none is in any order.
    fn is_alphabetical(&self) -> bool {
        self.0.len() > 1 && self.0.is_sorted()
    }
}

/// The name our client gives itself unless told otherwise.
pub const OUR_CLIENT: &str = "towline";

fn is_ulid(text: &str) -> bool {
    text.len() == 26
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'Z'))
}

fn is_typescript_id(text: &str) -> bool {
    text.strip_prefix("msg_").is_some_and(is_ulid)
}

fn is_uuid(text: &str) -> bool {
    let hyphens = [8, 13, 18, 23]
        .iter()
        .all(|at| text.as_bytes().get(*at) == Some(&b'-'));
    text.len() == 36 && hyphens
}

fn is_uuid_v7(text: &str) -> bool {
    is_uuid(text) && text.as_bytes().get(14) == Some(&b'7')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(frame: &str) -> Dialect {
        let envelope = Envelope::decode_text(frame).unwrap();
        Dialect::of_hello(&envelope, &envelope.decode().unwrap())
    }

    fn welcome(frame: &str) -> Dialect {
        let envelope = Envelope::decode_text(frame).unwrap();
        Dialect::of_welcome(&envelope, &envelope.decode().unwrap())
    }

    #[test]
    fn hellos_tell_their_sdk() {
        let table = [
            (
                r#"{"id":"01M81RC4HK8JK6ABXKM25FRQAX","type":"session.hello","payload":{"capabilities":{"agents":[]}}}"#,
                Dialect::Python,
            ),
            (
                r#"{"id":"0192f7c0-1111-7abc-8def-0123456789ab","type":"session.hello","payload":{"client":{"name":"x"}}}"#,
                Dialect::Go,
            ),
            (
                r#"{"id":"abc","type":"session.hello","timestamp":"2026-01-01T00:00:00Z","payload":{}}"#,
                Dialect::CSharp,
            ),
            (
                r#"{"id":"msg_01M81RHBQWDCM0GB23B97PVM9C","type":"session.hello","payload":{"capabilities":{"encodings":["json"],"features":["ack","progress","agent_versions","model.use","provisioned_credentials"]}}}"#,
                Dialect::TypeScript,
            ),
            (
                r#"{"id":"msg_01M81RHBQWDCM0GB23B97PVM9C","type":"session.hello","payload":{"capabilities":{"features":["ack","model.use","progress"],"encodings":["json"]}}}"#,
                Dialect::Draft,
            ),
            (
                r#"{"id":"msg_01M81RHBQWDCM0GB23B97PVM9C","type":"session.hello","payload":{"capabilities":{"features":["ack"],"encodings":["json"]}}}"#,
                Dialect::Draft,
            ),
            (
                r#"{"id":"01M81RC4HK8JK6ABXKM25FRQAX","type":"session.hello","payload":{"capabilities":{"encodings":["json"],"features":["ack","heartbeat","progress"]}}}"#,
                Dialect::Java,
            ),
            (
                r#"{"id":"01M81RC4HK8JK6ABXKM25FRQAX","type":"session.hello","payload":{"capabilities":{"encodings":["json"],"features":["ack"]}}}"#,
                Dialect::Draft,
            ),
            (
                r#"{"id":"01M81RC4HK8JK6ABXKM25FRQAX","type":"session.hello","payload":{"capabilities":{"encodings":["json"],"features":["heartbeat","ack"]}}}"#,
                Dialect::Draft,
            ),
            (
                r#"{"id":"x","type":"session.hello","payload":{"client_name":"rb"}}"#,
                Dialect::Ruby,
            ),
            (
                r#"{"id":"x","type":"session.hello","payload":{}}"#,
                Dialect::Draft,
            ),
        ];
        for (frame, expected) in table {
            assert_eq!(hello(frame), expected, "{frame}");
        }
    }

    #[test]
    fn welcomes_tell_their_sdk() {
        let hex = "ab".repeat(32);
        let table = [
            (r#"{"type":"session.welcome","payload":{"session_id":"s","resume_token":"rtk_1"}}"#.to_owned(), Dialect::Python),
            (r#"{"type":"session.welcome","payload":{"resume_token":"01M81RC4HK8JK6ABXKM25FRQAX"}}"#.to_owned(), Dialect::Go),
            (r#"{"id":"01M8FBSK9EB05V20NGDFHJXPPJ","type":"session.welcome","payload":{"resume_token":"08775c1c-610d-4c92-9f87-5be4501283c7"}}"#.to_owned(), Dialect::Java),
            (r#"{"type":"session.welcome","payload":{"runtime_name":"rb","resume_token":"rt_1"}}"#.to_owned(), Dialect::Ruby),
            (r#"{"type":"session.welcome","timestamp":"x","payload":{}}"#.to_owned(), Dialect::CSharp),
            (format!(r#"{{"type":"session.welcome","payload":{{"resume_token":"rt_{hex}"}}}}"#), Dialect::TypeScript),
            (format!(r#"{{"type":"session.welcome","payload":{{"session_id":"s","resume_token":"rt_{hex}"}}}}"#), Dialect::Draft),
        ];
        for (frame, expected) in table {
            assert_eq!(welcome(&frame), expected, "{frame}");
        }
    }

    #[test]
    fn names_go_both_ways() {
        for dialect in Dialect::ALL {
            assert_eq!(dialect.as_str().parse(), Ok(dialect));
        }
        assert!("cobol".parse::<Dialect>().is_err());
    }
}
