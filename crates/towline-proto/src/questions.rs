//! What a job asks people, and what becomes of it [ARCP 15-1 to 15-4].
//!
//! ```text
//!          ask                    answer        "answered"
//! nothing ─────▶ open ───┬──────────────────────────────────▶ settled
//!                        ├─ expire, at `expires_at` "expired" ───▶ ▲
//!                        └─ withdraw, the job ends  "withdrawn" ──┘
//! ```
//!
//! A question has a key of its agent's making. Whoever asks with a key that is open waits for the same question, and with one
//! that is settled has the answer at once: that is what makes an agent restartable that asks. Whichever end of a question is
//! recorded first counts, once.

mod check;
mod question;
#[cfg(feature = "schema")]
mod steps;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use towline_wire::{
    QuestionId, RawJson, Timestamp,
    event::{InputRequest, InputResolved, QuestionOutcome},
};

use crate::refusal::Refusal;

pub use question::{Question, QuestionError};

/// The questions of one job. Drive it with one call for each thing that happens; each gives what goes into the log, and what it
/// holds is kept in the same commit. It may be stored with serde and read back.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Questions {
    open: Vec<Open>,
    /// By the key of whoever asked.
    settled: BTreeMap<String, Settled>,
    /// Settled ones that nobody asks for again, the oldest first: only for telling a late answer who was earlier.
    past: Vec<Settled>,
}

/// A question that waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Open {
    /// Its agent's name for it.
    pub key: String,
    /// As the log has it.
    pub request: InputRequest,
    /// Whether a yes grants something.
    grants: bool,
    /// What is granted for the rest of the job by a yes with `remember`: the ask pattern, without its namespace.
    pattern: Option<String>,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// As the log has it.
    pub resolved: InputResolved,
    /// When.
    pub at: Timestamp,
}

/// What asking comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// It is a new question, to be put into the log.
    New(InputRequest),
    /// It is open already.
    Waiting(QuestionId),
    /// It was settled before.
    Settled(Settled),
}

/// A person's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Which question.
    pub question: QuestionId,
    /// The answer.
    pub answer: RawJson,
    /// A word beside it.
    pub note: Option<String>,
    /// Whether a yes to an operation holds for the ask pattern.
    pub remember: bool,
    /// Who answers.
    pub by: String,
}

/// What an answer comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// What the log says.
    pub resolved: InputResolved,
    /// What the job may do from now on: a namespace, and a pattern or an amount.
    pub grant: Option<(String, String)>,
    /// Whether the same principal gave the same answer before; then nothing goes into the log.
    pub repeated: bool,
}

impl Questions {
    /// Whether nothing was ever asked.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.settled.is_empty() && self.past.is_empty()
    }

    /// The questions that wait, the oldest first.
    pub fn open(&self) -> impl ExactSizeIterator<Item = &Open> {
        self.open.iter()
    }

    /// What became of a question.
    pub fn settled(&self, key: &str) -> Option<&Settled> {
        self.settled.get(key)
    }

    /// An agent asks. `lease_expires` bounds how long the question waits [ARCP 15-3].
    ///
    /// # Errors
    /// [`QuestionError`] for a question that cannot be asked, or that is one too many.
    pub fn ask(
        &mut self,
        key: &str,
        question: Question,
        id: QuestionId,
        now: Timestamp,
        lease_expires: Option<Timestamp>,
    ) -> Result<Asked, QuestionError> {
        if let Some(settled) = self.settled.get(key) {
            return Ok(Asked::Settled(settled.clone()));
        }
        if let Some(open) = self.open.iter().find(|open| open.key == key) {
            return Ok(Asked::Waiting(open.request.question_id.clone()));
        }
        question.check(key)?;
        if self.open.len() >= MAX_OPEN {
            return Err(QuestionError::TooManyOpen);
        }
        if self.settled.len() >= MAX_SETTLED || self.kept_bytes() >= MAX_KEPT_BYTES {
            return Err(QuestionError::TooMany);
        }
        let (grants, pattern) = (question.grants(), question.pattern().map(str::to_owned));
        let request = question.into_request(id, now, lease_expires);
        self.open.push(Open {
            key: key.to_owned(),
            request: request.clone(),
            grants,
            pattern,
        });
        Ok(Asked::New(request))
    }

    /// A person answers. The first answer counts [ARCP 15-2].
    ///
    /// # Errors
    /// INVALID_REQUEST for an unknown question, an answer that does not fit it, and, with `details{by,at}`, for one that is
    /// settled. With `repeats` the same answer of the same principal is no error.
    pub fn answer(
        &mut self,
        answer: &Answer,
        repeats: bool,
        now: Timestamp,
    ) -> Result<Answered, Refusal> {
        let id = &answer.question;
        let Some(at) = self
            .open
            .iter()
            .position(|open| open.request.question_id == *id)
        else {
            return self.too_late(answer, repeats);
        };
        let open = &self.open[at];
        check::fits(&open.request, &answer.answer)
            .map_err(|why| Refusal::invalid(format!("`answer`: {why}")))?;
        if answer
            .note
            .as_ref()
            .is_some_and(|note| note.len() > MAX_NOTE)
        {
            let why = format!("`note`: it has more than {MAX_NOTE} bytes");
            return Err(Refusal::invalid(why));
        }
        let grant = open.grant(answer);
        let resolved = InputResolved {
            question_id: id.clone(),
            outcome: QuestionOutcome::ANSWERED,
            answer: Some(answer.answer.clone()),
            note: answer.note.clone(),
            by: Some(answer.by.clone()),
        };
        let open = self.open.remove(at);
        self.settle(open.key, resolved.clone(), now);
        Ok(Answered {
            resolved,
            grant,
            repeated: false,
        })
    }

    /// A question's time is over: its default holds [ARCP 15-3]. `None` when it is settled.
    pub fn expire(&mut self, id: &QuestionId, now: Timestamp) -> Option<InputResolved> {
        self.close(
            QuestionOutcome::EXPIRED,
            |request| request.question_id == *id,
            now,
        )
        .pop()
    }

    /// The job ends: nobody is asked any more [ARCP 15-4].
    pub fn withdraw(&mut self, now: Timestamp) -> Vec<InputResolved> {
        self.close(QuestionOutcome::WITHDRAWN, |_| true, now)
    }

    /// Forgets the answer to a key, so that the same key asks anew: what was let through once is let through once.
    pub fn take(&mut self, key: &str) -> Option<Settled> {
        let settled = self.settled.remove(key)?;
        if self.past.len() >= MAX_PAST {
            self.past.remove(0);
        }
        self.past.push(settled.clone());
        Some(settled)
    }

    fn close(
        &mut self,
        outcome: QuestionOutcome,
        due: impl Fn(&InputRequest) -> bool,
        now: Timestamp,
    ) -> Vec<InputResolved> {
        let (due, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|open| due(&open.request));
        self.open = open;
        let close = |open: Open| {
            let holds = outcome == QuestionOutcome::EXPIRED;
            let resolved = InputResolved {
                question_id: open.request.question_id,
                outcome: outcome.clone(),
                answer: open.request.default.filter(|_| holds),
                note: None,
                by: None,
            };
            self.settle(open.key, resolved.clone(), now);
            resolved
        };
        due.into_iter().map(close).collect()
    }

    fn settle(&mut self, key: String, resolved: InputResolved, at: Timestamp) {
        self.settled.insert(key, Settled { resolved, at });
    }

    /// Why nobody can answer a question that is not open.
    fn too_late(&self, answer: &Answer, repeats: bool) -> Result<Answered, Refusal> {
        let id = &answer.question;
        let settled = self.settled.values().chain(&self.past);
        let Some(settled) = settled
            .into_iter()
            .find(|settled| settled.resolved.question_id == *id)
        else {
            return Err(Refusal::invalid(format!(
                "`question_id`: the job has no open question `{id}`"
            )));
        };
        let resolved = &settled.resolved;
        let same = resolved.by.as_ref() == Some(&answer.by)
            && resolved
                .answer
                .as_ref()
                .is_some_and(|given| check::same(given, &answer.answer));
        if same && repeats {
            return Ok(Answered {
                resolved: resolved.clone(),
                grant: None,
                repeated: true,
            });
        }
        let details = serde_json::json!({
            "by": resolved.by,
            "at": settled.at,
            "outcome": resolved.outcome,
        });
        let message = format!("question `{id}` is settled already ({})", resolved.outcome);
        Err(Refusal::invalid(message).with_details(details))
    }

    fn kept_bytes(&self) -> usize {
        let of = |settled: &Settled| {
            let answer = settled.resolved.answer.as_ref();
            let note = settled.resolved.note.as_ref();
            answer.map_or(0, |answer| answer.as_str().len()) + note.map_or(0, String::len)
        };
        self.settled.values().chain(&self.past).map(of).sum()
    }
}

impl Open {
    /// What a yes grants for the rest of the job: an amount always, a pattern when it is to be remembered [ARCP 15-6, 15-8].
    fn grant(&self, answer: &Answer) -> Option<(String, String)> {
        let operation = self.request.operation.as_ref().filter(|_| self.grants)?;
        let yes = answer.answer.as_str() == "true";
        if operation.namespace == towline_wire::namespace::COST_BUDGET {
            return yes.then(|| (operation.namespace.clone(), operation.value.clone()));
        }
        let pattern = self.pattern.clone().filter(|_| yes && answer.remember)?;
        Some((operation.namespace.clone(), pattern))
    }
}

impl Settled {
    /// Whether the answer is yes. A default of an approval is no.
    pub fn is_yes(&self) -> bool {
        let answer = self.resolved.answer.as_ref();
        self.resolved.outcome == QuestionOutcome::ANSWERED
            && answer.is_some_and(|answer| answer.as_str() == "true")
    }
}

/// How many questions of a job wait at once.
pub const MAX_OPEN: usize = 64;
/// How many answers a job may come back for.
const MAX_SETTLED: usize = 1024;
/// The longest note beside an answer, in bytes.
const MAX_NOTE: usize = 4096;
/// How many bytes answers and notes have together, about.
const MAX_KEPT_BYTES: usize = 1024 * 1024;
/// How many settled ones are remembered for late answers alone.
const MAX_PAST: usize = 64;

#[cfg(test)]
mod tests;
