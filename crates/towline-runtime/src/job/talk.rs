//! What a job and people have to say to each other, as it is kept (chapter 15).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use towline_proto::questions::{Open, Questions};
use towline_wire::{JobSeq, QuestionId, RawJson, event::InputResolved};

/// A job's part of the conversation. It becomes durable in the commit of the events that tell of it.
#[derive(Default)]
pub(crate) struct Talk {
    pub(super) kept: Kept,
    /// Whether it differs from what was last taken by a commit.
    pub(super) changed: bool,
    /// Where the end of a question stands in the log, until that is durable: nobody hears an answer before.
    pub(super) recorded: HashMap<QuestionId, JobSeq>,
    /// The timers of open questions.
    pub(super) timers: HashMap<QuestionId, CancellationToken>,
    /// Questions that ended without an answer, for the audit log.
    pub(super) unanswered: Vec<InputResolved>,
}

/// What a restart has to know.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) questions: Questions,
    /// Namespaces and patterns that were granted beside the lease.
    pub(super) grants: Vec<(String, String)>,
    /// Where the messages stand in the log.
    pub(super) messages: Vec<JobSeq>,
}

impl Talk {
    /// What a commit writes, when that is news.
    pub(super) fn take(&mut self) -> (Option<RawJson>, Vec<InputResolved>) {
        let changed = std::mem::take(&mut self.changed);
        let row = changed.then(|| RawJson::of(&self.kept).ok()).flatten();
        (row, std::mem::take(&mut self.unanswered))
    }

    /// What was taken has to be taken again.
    pub(super) fn failed(&mut self) {
        let kept = &self.kept;
        self.changed = !kept.questions.is_empty() || !kept.messages.is_empty();
    }

    /// The questions that wait, the oldest first.
    pub(crate) fn open(&self) -> impl ExactSizeIterator<Item = &Open> {
        self.kept.questions.open()
    }

    /// Where the message after the first `heard` ones stands in the log.
    pub(crate) fn message(&self, heard: usize) -> Option<JobSeq> {
        self.kept.messages.get(heard).copied()
    }

    /// A token that is cancelled when the question is settled; `None` when it has one.
    pub(crate) fn timer(&mut self, question: &QuestionId) -> Option<CancellationToken> {
        if self.timers.contains_key(question) {
            return None;
        }
        let token = CancellationToken::new();
        self.timers.insert(question.clone(), token.clone());
        Some(token)
    }
}
