//! The bodies of events about questions to people [ARCP 15-1 to 15-7].

use serde::Serialize;

use crate::{CallId, QuestionId, RawJson, Timestamp, open_enum::open_enum, read::readable};

open_enum! {
    /// What an answer to a question is.
    QuestionKind {
        /// Yes or no.
        APPROVAL = "approval",
        /// The id of one of the options.
        CHOICE = "choice",
        /// A text.
        TEXT = "text",
        /// A JSON value that fits a schema.
        FORM = "form",
    }
}

open_enum! {
    /// What became of a question.
    QuestionOutcome {
        /// Somebody answered.
        ANSWERED = "answered",
        /// Nobody did in time; the default holds.
        EXPIRED = "expired",
        /// The job ended, or was ended, before anybody did.
        WITHDRAWN = "withdrawn",
    }
}

/// `x-vendor.towline.input_request`: the job asks a person [ARCP 15-1].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InputRequest {
    /// Names the question.
    pub question_id: QuestionId,
    /// What an answer is.
    pub kind: QuestionKind,
    /// The question in a line.
    pub title: String,
    /// More of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What a yes lets the job do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<InputOperation>,
    /// The tool call that waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<CallId>,
    /// What a choice is between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Vec<ChoiceOption>>,
    /// What a form's answer has to fit: JSON Schema, draft 2020-12.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<RawJson>,
    /// When the default holds.
    pub expires_at: Timestamp,
    /// The answer when nobody gives one; null when there is none.
    pub default: Option<RawJson>,
    /// `false` for an observer whose answer would be refused [ARCP 15-5]; absent for one who may answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub may_answer: Option<bool>,
}

readable!(InputRequest {
    question_id: req,
    kind: req,
    title: req,
    message: opt,
    operation: opt,
    call_id: opt,
    options: opt,
    schema: opt,
    expires_at: req,
    default: opt,
    may_answer: opt,
});

/// An operation that needs a person's yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputOperation {
    /// The namespace, as in a lease.
    pub namespace: String,
    /// What of it, normalised.
    pub value: String,
}

readable!(InputOperation {
    namespace: req,
    value: req
});

/// One of the options of a choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChoiceOption {
    /// What an answer says.
    pub id: String,
    /// What a person reads.
    pub label: String,
}

readable!(ChoiceOption {
    id: req,
    label: req
});

/// `x-vendor.towline.input_resolved`: a question is settled [ARCP 15-2].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InputResolved {
    /// Which.
    pub question_id: QuestionId,
    /// What became of it.
    pub outcome: QuestionOutcome,
    /// The answer, or the default where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<RawJson>,
    /// What whoever answered wrote beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Who answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

readable!(InputResolved {
    question_id: req,
    outcome: req,
    answer: raw,
    note: opt,
    by: opt,
});

/// `x-vendor.towline.grant`: what the job may do from now on, beside its lease [ARCP 15-6, 15-8].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// The namespace; `cost.budget` for more of a budget.
    pub namespace: String,
    /// The pattern, or the amount.
    pub pattern: String,
    /// The question that was answered with yes.
    pub question_id: QuestionId,
    /// Who said so.
    pub by: String,
}

readable!(Grant {
    namespace: req,
    pattern: req,
    question_id: req,
    by: req,
});

/// `x-vendor.towline.message`: a person spoke to the job, unasked [ARCP 15-7].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// What was said.
    pub body: RawJson,
    /// Who said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

readable!(Message {
    body: or(|| RawJson::NULL),
    by: opt,
});

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 15-1] a request says `"default":null` where there is none, and leaves out what it has not.
    #[test]
    fn a_request_has_a_default_that_may_be_null() {
        let json = r#"{"question_id":"q_1","kind":"text","title":"Name?","expires_at":"2030-01-01T00:00:00.000Z","default":null}"#;
        let request: InputRequest = serde_json::from_str(json).unwrap();
        assert_eq!(request.default, None);
        assert_eq!(serde_json::to_string(&request).unwrap(), json);
    }
}
