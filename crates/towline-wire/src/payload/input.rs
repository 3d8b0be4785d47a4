//! Requests about questions to people [ARCP 15-2, 15-7].

use super::*;
use crate::{QuestionId, event::InputRequest};

/// `x-vendor.towline.answer`. The job may also stand on the envelope.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The job that asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// Its question.
    pub question_id: QuestionId,
    /// `true` or `false`, an option's id, a text, or what a schema wants: as the question's kind says.
    pub answer: RawJson,
    /// A word beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether a yes to an operation holds for everything the ask pattern covers, for the rest of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remember: Option<bool>,
}

readable!(Answer {
    job_id: opt,
    question_id: req,
    answer: or(|| RawJson::NULL),
    note: opt,
    remember: opt,
});

/// `x-vendor.towline.answered`: the answer is durable.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answered {
    /// The request this answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<MessageId>,
    /// The job.
    pub job_id: JobId,
    /// The question.
    pub question_id: QuestionId,
}

readable!(Answered {
    request_id: opt,
    job_id: req,
    question_id: req,
});

/// `x-vendor.towline.message`: tells a running job something. The job may also stand on the envelope.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Speak {
    /// The job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// What to tell it.
    pub body: RawJson,
}

readable!(Speak {
    job_id: opt,
    body: or(|| RawJson::NULL),
});

/// `x-vendor.towline.message_accepted`: what was said is durable, and the job will hear it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MessageAccepted {
    /// The request this answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<MessageId>,
    /// The job.
    pub job_id: JobId,
    /// Where it stands in the job's log.
    pub job_seq: JobSeq,
}

readable!(MessageAccepted {
    request_id: opt,
    job_id: req,
    job_seq: req,
});

/// `x-vendor.towline.inbox`: asks for every open question that the asker may answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Inbox {
    /// Only those of this job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
}

readable!(Inbox { job_id: opt });

/// `x-vendor.towline.questions`: the answer to [`Inbox`], the oldest question first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Questions {
    /// The request this answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<MessageId>,
    /// The open questions.
    pub questions: Vec<OpenQuestion>,
}

readable!(Questions {
    request_id: opt,
    questions: req,
});

/// A question that waits for its answer. Written as one object: the job, its agent, and the members of the request.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenQuestion {
    /// The job that asks.
    pub job_id: JobId,
    /// Its agent.
    pub agent: String,
    /// What it asks.
    pub request: InputRequest,
}

impl Serialize for OpenQuestion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let request = RawJson::of(&self.request).map_err(serde::ser::Error::custom)?;
        request
            .with_member("job_id", &self.job_id)
            .with_member("agent", &self.agent)
            .serialize(serializer)
    }
}

struct Asker {
    job_id: JobId,
    agent: String,
}

readable!(Asker {
    job_id: req,
    agent: def
});

impl<'de> Deserialize<'de> for OpenQuestion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawJson::deserialize(deserializer)?;
        let asker: Asker = raw.read().map_err(D::Error::custom)?;
        let request = raw.read().map_err(D::Error::custom)?;
        Ok(Self {
            job_id: asker.job_id,
            agent: asker.agent,
            request,
        })
    }
}
