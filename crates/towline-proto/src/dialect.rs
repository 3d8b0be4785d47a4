//! How the other ARCP SDKs differ from the draft, and how to tell them apart.
//!
//! This is the only place that knows other SDKs. A dialect is chosen once per session from the peer's first message and
//! asked about by name (`dialect.refuses_submit_with_job_error()`); the machines never compare dialects themselves. A
//! wrong guess still leaves basic use working, because everything here is a choice between two forms that a peer which
//! follows the draft reads too.

use std::{fmt, str::FromStr};

use towline_wire::{Envelope, payload};

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
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 6] = [
        Self::Draft,
        Self::Python,
        Self::TypeScript,
        Self::Go,
        Self::CSharp,
        Self::Ruby,
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
        match envelope.id.as_ref().map(|id| id.as_str()) {
            Some(id) if is_uuid_v7(id) => Self::Go,
            Some(id) if is_typescript_id(id) && writes_features_first(envelope) => Self::TypeScript,
            _ => Self::Draft,
        }
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
        if is_ulid(token) {
            return Self::Go;
        }
        // Ours has the same token, but says `session_id` and `accepted_at` in the payload too.
        let hex_token = token.strip_prefix("rt_").is_some_and(|hex| hex.len() == 64);
        match hex_token && welcome.session_id.is_none() && welcome.accepted_at.is_none() {
            true => Self::TypeScript,
            false => Self::Draft,
        }
    }

    // What a runtime does differently for a client of this dialect.

    /// A refused submit is a `job.error` with a fresh `job_id` instead of a `session.error`.
    pub const fn refuses_submit_with_job_error(self) -> bool {
        matches!(self, Self::TypeScript)
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

    /// A credential's constraints are also sent as `allowed_models` and `max_spend`.
    pub const fn repeats_credential_constraints(self) -> bool {
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
            Self::Python | Self::TypeScript | Self::Go | Self::CSharp
        )
    }

    /// Every job of the client fails on a `session.error`, so a request whose answer it does not wait for gets none.
    pub const fn fails_every_job_on_an_error(self) -> bool {
        matches!(self, Self::Python)
    }

    /// The client waits for the end of a job it finds by its key to be told once more.
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
        matches!(self, Self::Python | Self::TypeScript)
    }

    /// A resume of a session that is fully caught up is refused: ask for the last event again and drop the duplicate.
    pub const fn refuses_caught_up_resume(self) -> bool {
        matches!(self, Self::TypeScript)
    }

    /// Refusals name no request: replies are matched by order, with a ping as a fence.
    pub const fn replies_without_request_id(self) -> bool {
        matches!(self, Self::CSharp | Self::TypeScript | Self::Python)
    }

    /// A submit that finds another session's job by its key is answered with that session's frames, and sees no events.
    pub const fn answers_with_other_sessions_frames(self) -> bool {
        matches!(self, Self::Python)
    }

    /// A job's past comes before the `job.subscribed` that answers for it.
    pub const fn sends_history_before_subscribed(self) -> bool {
        matches!(self, Self::Python)
    }

    /// Events of subscriptions have numbers of their own, beside those of the session's jobs.
    pub const fn numbers_subscriptions_apart(self) -> bool {
        matches!(self, Self::Python)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not the name of a dialect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a dialect (draft, python, typescript, go, csharp, ruby)")]
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

/// The TypeScript SDK writes `features` before `encodings`. Its ids are those the draft shows, so the id alone would take
/// any client that follows the draft for it.
fn writes_features_first(envelope: &Envelope) -> bool {
    let payload = envelope.payload.as_str();
    match (payload.find("\"features\""), payload.find("\"encodings\"")) {
        (Some(features), Some(encodings)) => features < encodings,
        _ => false,
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

fn is_uuid_v7(text: &str) -> bool {
    let hyphens = [8, 13, 18, 23]
        .iter()
        .all(|at| text.as_bytes().get(*at) == Some(&b'-'));
    text.len() == 36 && hyphens && text.as_bytes()[14] == b'7'
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
                r#"{"id":"msg_01M81RHBQWDCM0GB23B97PVM9C","type":"session.hello","payload":{"capabilities":{"features":["ack"],"encodings":["json"]}}}"#,
                Dialect::TypeScript,
            ),
            (
                r#"{"id":"msg_01M81RHBQWDCM0GB23B97PVM9C","type":"session.hello","payload":{"capabilities":{"encodings":["json"],"features":["ack"]}}}"#,
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
