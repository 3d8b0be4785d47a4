//! What people are asked, answer, grant and say, as a job decides it: the questions' machine, the log, what follows for the lease
//! (chapter 15).

use serde::Serialize;
use towline_proto::{
    questions::{Answer, Answered, Asked, Question, QuestionError, Settled},
    refusal::Refusal,
    span::RecordKind,
};
use towline_wire::{
    Amount, EventKind, JobSeq, Lease, QuestionId, RawJson, Timestamp,
    event::{self, InputResolved},
    namespace,
};

use super::entry::JobCore;

/// Why a job cannot ask.
pub(crate) enum CannotAsk {
    /// It has ended, or is about to.
    Ended,
    /// The question is none.
    Question(QuestionError),
}

impl JobCore {
    /// The agent asks. A new question goes into the log, behind the word that the job waits [ARCP 15-1].
    pub(crate) fn ask(
        &mut self,
        key: &str,
        question: Question,
        id: QuestionId,
        now: Timestamp,
    ) -> Result<Asked, CannotAsk> {
        if !self.is_open() || self.machine.ending().is_some() {
            return Err(CannotAsk::Ended);
        }
        let lease = self.authority.expires_at();
        let asked = self
            .talk
            .kept
            .questions
            .ask(key, question, id, now, lease)
            .map_err(CannotAsk::Question)?;
        if let Asked::New(request) = &asked {
            self.tell_phase(AWAITING_INPUT, now);
            self.tell(&EventKind::INPUT_REQUEST, request, now);
            self.talk.changed = true;
        }
        Ok(asked)
    }

    /// What became of a question, once that is durable.
    pub(crate) fn settled(&self, key: &str) -> Option<Settled> {
        let settled = self.talk.kept.questions.settled(key)?;
        let recorded = self.talk.recorded.get(&settled.resolved.question_id);
        let is_durable = recorded.is_none_or(|seq| *seq <= self.log.last_committed());
        is_durable.then(|| settled.clone())
    }

    /// Takes an answer that holds for once. `false` when somebody else has.
    pub(crate) fn use_up(&mut self, key: &str, question: &QuestionId) -> bool {
        let questions = &mut self.talk.kept.questions;
        let is_there = questions
            .settled(key)
            .is_some_and(|settled| settled.resolved.question_id == *question);
        if is_there {
            questions.take(key);
            self.talk.changed = true;
        }
        is_there
    }

    /// A person answers [ARCP 15-2].
    pub(crate) fn answer(
        &mut self,
        answer: &Answer,
        repeats: bool,
        now: Timestamp,
    ) -> Result<Answered, Refusal> {
        let answered = self.talk.kept.questions.answer(answer, repeats, now)?;
        if answered.repeated {
            return Ok(answered);
        }
        self.record(&answered.resolved, now);
        if let Some((namespace, pattern)) = &answered.grant {
            let grant = event::Grant {
                namespace: namespace.clone(),
                pattern: pattern.clone(),
                question_id: answer.question.clone(),
                by: answer.by.clone(),
            };
            self.tell(&EventKind::GRANT, &grant, now);
            self.grant(namespace, pattern, now);
        }
        self.go_on(now);
        Ok(answered)
    }

    /// Nobody answered in time [ARCP 15-3]. `false` when the question is settled.
    pub(crate) fn expire_question(&mut self, question: &QuestionId, now: Timestamp) -> bool {
        let Some(resolved) = self.talk.kept.questions.expire(question, now) else {
            return false;
        };
        self.record(&resolved, now);
        self.talk.unanswered.push(resolved);
        self.go_on(now);
        true
    }

    /// Whether a question waits as long as the lease holds: then the lease's end is what ends it [ARCP 15-3].
    pub(crate) fn waits_for_the_lease(&self, question: &QuestionId) -> bool {
        let Some(lease) = self.authority.expires_at() else {
            return false;
        };
        self.talk
            .open()
            .any(|open| open.request.question_id == *question && open.request.expires_at >= lease)
    }

    /// The job ends, or is about to: whoever was asked is asked no more [ARCP 15-4].
    pub(super) fn withdraw_questions(&mut self, now: Timestamp) {
        for resolved in self.talk.kept.questions.withdraw(now) {
            self.record(&resolved, now);
            self.talk.unanswered.push(resolved);
        }
    }

    /// Somebody speaks to the job [ARCP 15-7]. Gives where that stands in the log.
    pub(crate) fn speak(
        &mut self,
        body: &RawJson,
        by: &str,
        now: Timestamp,
    ) -> Result<JobSeq, Refusal> {
        if !self.is_open() || self.machine.ending().is_some() {
            let status = self.machine.status();
            let details = serde_json::json!({ "status": status });
            let message =
                format!("the job is `{status}` and does not listen, it has to be running");
            return Err(Refusal::invalid(message).with_details(details));
        }
        if !self.rules.options.listens {
            return Err(Refusal::invalid(
                "the job's agent does not listen to messages",
            ));
        }
        if body.as_str().len() > MAX_MESSAGE {
            let message = format!("`body` has more than {MAX_MESSAGE} bytes");
            return Err(Refusal::invalid(message));
        }
        if self.talk.kept.messages.len() >= MAX_MESSAGES {
            let message = format!("the job was told {MAX_MESSAGES} messages, the most it may be");
            return Err(Refusal::invalid(message));
        }
        let message = event::Message {
            body: body.clone(),
            by: Some(by.to_owned()),
        };
        self.tell(&EventKind::MESSAGE, &message, now);
        let seq = self.log.last_appended();
        self.talk.kept.messages.push(seq);
        self.talk.changed = true;
        Ok(seq)
    }

    /// Takes up what an earlier run of the runtime kept.
    pub(crate) fn restore_talk(&mut self, talk: &RawJson) -> Result<(), serde_json::Error> {
        self.talk.kept = talk.read()?;
        self.extend_authority();
        Ok(())
    }

    /// What a person approved holds from now on. Money is counted where the budget is, and kept there.
    fn grant(&mut self, namespace: &str, pattern: &str, now: Timestamp) {
        if namespace != namespace::COST_BUDGET {
            let grant = (namespace.to_owned(), pattern.to_owned());
            if !self.talk.kept.grants.contains(&grant) {
                self.talk.kept.grants.push(grant);
            }
            self.extend_authority();
            return;
        }
        let Some((currency, Ok(amount))) = pattern
            .split_once(':')
            .map(|(currency, amount)| (currency, amount.parse::<Amount>()))
        else {
            return;
        };
        if let Some(report) = self.authority.budget_mut().raise(currency, amount) {
            self.log.touch();
            self.report_remaining(&report, now);
        }
    }

    fn extend_authority(&mut self) {
        let grants = self.talk.kept.grants.iter();
        let granted: Lease = grants
            .map(|(namespace, pattern)| (namespace.clone(), pattern.clone()))
            .collect();
        if !granted.is_empty() {
            // Each is a pattern of the job's own lease, which was found well formed.
            let extended = self.authority.set_granted(&granted);
            debug_assert_eq!(extended, Ok(()));
        }
    }

    /// A question is settled: the log says so, and its timer is of no use any more.
    fn record(&mut self, resolved: &InputResolved, now: Timestamp) {
        self.tell(&EventKind::INPUT_RESOLVED, resolved, now);
        let durable = self.log.last_committed();
        let talk = &mut self.talk;
        talk.recorded.retain(|_, seq| *seq > durable);
        let question = &resolved.question_id;
        talk.recorded
            .insert(question.clone(), self.log.last_appended());
        if let Some(timer) = talk.timers.remove(question) {
            timer.cancel();
        }
        talk.changed = true;
    }

    /// Nobody is asked any more: the job says that it goes on.
    fn go_on(&mut self, now: Timestamp) {
        if self.talk.open().len() == 0 && self.is_open() {
            self.tell_phase(RUNNING, now);
        }
    }

    fn tell_phase(&mut self, phase: &str, now: Timestamp) {
        let status = event::Status {
            phase: phase.to_owned(),
            message: None,
        };
        // Whoever tells has looked whether the job is open.
        let _ = self.append_event(RecordKind::Event, &EventKind::STATUS, now, |out| {
            serde_json::to_writer(out, &status)
        });
    }

    /// Adds to the log of a job that may be about to end: what was asked is withdrawn behind the decision.
    fn tell<B: Serialize>(&mut self, kind: &EventKind, body: &B, now: Timestamp) {
        let told = self
            .log
            .append_event(RecordKind::Input, kind.as_str(), now, |out| {
                serde_json::to_writer(out, body)
            });
        debug_assert_eq!(told, Ok(()), "a body of ours has a JSON form");
    }
}

/// The phase of a job that waits for a person.
const AWAITING_INPUT: &str = "awaiting_input";
/// The phase of one that does not any more.
const RUNNING: &str = "running";
/// The longest message, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;
/// How many messages a job is told at most.
const MAX_MESSAGES: usize = 10_000;
