//! What may be asked.

use std::{collections::BTreeSet, time::Duration};

use towline_wire::{
    CallId, ErrorCode, QuestionId, RawJson, Timestamp,
    event::{ChoiceOption, InputOperation, InputRequest, QuestionKind},
};

use super::check;

/// A question, being put together.
///
/// ```
/// use std::time::Duration;
/// use towline_proto::questions::Question;
///
/// let question = Question::choice("Which branch?", [("main", "main"), ("dev", "development")])
///     .message("The release is cut from it.")
///     .expires_in(Duration::from_secs(600))
///     .default_answer("main");
/// # let _ = question;
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a question is to be asked"]
pub struct Question {
    kind: QuestionKind,
    title: String,
    message: Option<String>,
    operation: Option<InputOperation>,
    grants: bool,
    pattern: Option<String>,
    call: Option<CallId>,
    options: Option<Vec<ChoiceOption>>,
    schema: Option<RawJson>,
    expires_in: Duration,
    default: Option<RawJson>,
}

/// Why a question cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuestionError {
    /// Something about it cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Too many wait already.
    #[error(
        "the job has {} open questions, the most it may; wait for an answer first",
        super::MAX_OPEN
    )]
    TooManyOpen,
    /// The job has asked more than is kept.
    #[error("the job has asked more questions than are kept for it; use fewer keys")]
    TooMany,
}

impl QuestionError {
    /// How it is told to the peer.
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::INVALID_REQUEST
    }
}

impl Question {
    fn new(kind: QuestionKind, title: String) -> Self {
        Self {
            kind,
            title,
            message: None,
            operation: None,
            grants: false,
            pattern: None,
            call: None,
            options: None,
            schema: None,
            expires_in: DEFAULT_WAIT,
            default: None,
        }
    }

    /// Yes or no. Nobody's answer is no [ARCP 15-3].
    pub fn approval(title: impl Into<String>) -> Self {
        Self {
            default: Some(NO),
            ..Self::new(QuestionKind::APPROVAL, title.into())
        }
    }

    /// One of several: each has an id, which is the answer, and a label for people.
    pub fn choice<I, L>(title: impl Into<String>, options: impl IntoIterator<Item = (I, L)>) -> Self
    where
        I: Into<String>,
        L: Into<String>,
    {
        let option = |(id, label): (I, L)| ChoiceOption {
            id: id.into(),
            label: label.into(),
        };
        Self {
            options: Some(options.into_iter().map(option).collect()),
            ..Self::new(QuestionKind::CHOICE, title.into())
        }
    }

    /// A text.
    pub fn text(title: impl Into<String>) -> Self {
        Self::new(QuestionKind::TEXT, title.into())
    }

    /// An object that fits a JSON Schema (draft 2020-12).
    pub fn form(title: impl Into<String>, schema: impl Into<RawJson>) -> Self {
        Self {
            schema: Some(schema.into()),
            ..Self::new(QuestionKind::FORM, title.into())
        }
    }

    /// More than the title says.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// How long it waits; never beyond the lease. Default: an hour.
    pub const fn expires_in(mut self, wait: Duration) -> Self {
        self.expires_in = wait;
        self
    }

    /// The answer when nobody gives one. Default: none, for an approval *no*, and it cannot be *yes* [ARCP 15-3].
    pub fn default_answer(mut self, answer: impl Into<serde_json::Value>) -> Self {
        self.default = Some(RawJson::from(answer.into())).filter(|answer| !answer.is_null());
        if self.kind == QuestionKind::APPROVAL && self.default.is_none() {
            self.default = Some(NO);
        }
        self
    }

    /// What a yes lets the job do, for people to read.
    pub fn about(mut self, namespace: impl Into<String>, value: impl Into<String>) -> Self {
        self.operation = Some(InputOperation {
            namespace: namespace.into(),
            value: value.into(),
        });
        self
    }

    /// A yes grants something: the amount, when it is about money, or, when it is to be remembered, this ask pattern. For
    /// whoever enforces leases, and nobody else.
    pub fn granting(mut self, pattern: Option<String>) -> Self {
        (self.grants, self.pattern) = (true, pattern);
        self
    }

    /// A yes grants nothing, whatever was said before: it is up to whoever asks what to make of it.
    pub fn granting_nothing(mut self) -> Self {
        (self.grants, self.pattern) = (false, None);
        self
    }

    pub(super) const fn grants(&self) -> bool {
        self.grants
    }

    /// The tool call that waits for the answer.
    pub fn of_call(mut self, call: CallId) -> Self {
        self.call = Some(call);
        self
    }

    pub(super) fn pattern(&self) -> Option<&str> {
        self.pattern.as_deref()
    }

    /// Whether it can be asked at all.
    pub(super) fn check(&self, key: &str) -> Result<(), QuestionError> {
        let invalid = |why: String| Err(QuestionError::Invalid(why));
        if key.is_empty() || key.len() > MAX_KEY {
            return invalid(format!("`key` has from 1 to {MAX_KEY} bytes"));
        }
        let schema = self
            .schema
            .as_ref()
            .map_or(0, |schema| schema.as_str().len());
        let texts = self.title.len() + self.message.as_ref().map_or(0, String::len) + schema;
        if texts > MAX_TEXT {
            return invalid(format!("a question has at most {MAX_TEXT} bytes"));
        }
        if let Some(options) = &self.options {
            self.check_options(options)?;
        }
        if let Some(schema) = &self.schema {
            check::compiles(schema)
                .map_err(|why| QuestionError::Invalid(format!("`schema`: {why}")))?;
        }
        let Some(default) = &self.default else {
            return Ok(());
        };
        if self.kind == QuestionKind::APPROVAL && *default != NO {
            return invalid("`default`: an approval nobody gives is no; leave it out".to_owned());
        }
        let options = self.options.as_deref();
        check::fits_kind(&self.kind, options, self.schema.as_ref(), default)
            .map_err(|why| QuestionError::Invalid(format!("`default`: {why}")))
    }

    fn check_options(&self, options: &[ChoiceOption]) -> Result<(), QuestionError> {
        let invalid = |why: String| Err(QuestionError::Invalid(format!("`options`: {why}")));
        if options.is_empty() {
            return invalid("a choice needs at least one".to_owned());
        }
        if options.len() > MAX_OPTIONS {
            return invalid(format!("a choice has at most {MAX_OPTIONS}"));
        }
        let mut seen = BTreeSet::new();
        for option in options {
            if option.id.len() + option.label.len() > MAX_TEXT / MAX_OPTIONS {
                let most = MAX_TEXT / MAX_OPTIONS;
                return invalid(format!("an option has at most {most} bytes"));
            }
            if option.id.is_empty() {
                return invalid("an id must not be empty".to_owned());
            }
            if !seen.insert(&option.id) {
                return invalid(format!("the id `{}` is there twice", option.id));
            }
        }
        Ok(())
    }

    pub(super) fn into_request(
        self,
        id: QuestionId,
        now: Timestamp,
        lease_expires: Option<Timestamp>,
    ) -> InputRequest {
        let expires_at = now.plus(self.expires_in);
        InputRequest {
            question_id: id,
            kind: self.kind,
            title: self.title,
            message: self.message,
            operation: self.operation,
            call_id: self.call,
            options: self.options,
            schema: self.schema,
            expires_at: lease_expires.map_or(expires_at, |lease| lease.min(expires_at)),
            default: self.default,
            may_answer: None,
        }
    }
}

/// The answer of nobody to an approval.
const NO: RawJson = RawJson::FALSE;
/// How long a question waits when its agent does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(60 * 60);
/// The longest key, in bytes.
const MAX_KEY: usize = 8192;
/// How many bytes of text a question has at most.
const MAX_TEXT: usize = 64 * 1024;
/// How many options a choice has at most.
const MAX_OPTIONS: usize = 256;
