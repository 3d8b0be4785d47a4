//! A child's questions, asked of people by the job it works for [ARCP 10-1, 15-1].

use std::collections::BTreeMap;

use tokio::task::JoinSet;
use towline_client::Client;
use towline_env::{Clock as _, SystemClock};
use towline_runtime::{JobContext, Question};
use towline_wire::{
    JobId,
    event::{InputRequest, QuestionKind},
};

/// Asks for a child, and hands it the answers. What still waits ends with this.
pub(super) struct Asking {
    ctx: JobContext,
    client: Client,
    job: JobId,
    /// How often the child asked the same. It names its questions anew in every run, so the words are the key.
    asked: BTreeMap<String, u32>,
    waiting: JoinSet<()>,
}

impl Asking {
    pub(super) fn new(ctx: &JobContext, client: Client, job: JobId) -> Self {
        Self {
            ctx: ctx.clone(),
            client,
            job,
            asked: BTreeMap::new(),
            waiting: JoinSet::new(),
        }
    }

    /// Asks, beside what else the child does. What the job may not ask is left to the child's own default.
    pub(super) fn ask(&mut self, request: InputRequest) {
        while self.waiting.try_join_next().is_some() {}
        if self.waiting.len() >= MOST_AT_ONCE || self.asked.len() >= MOST {
            return;
        }
        let words = format!("{} {}", request.kind, request.title);
        let times = self.asked.entry(words.clone()).or_default();
        *times += 1;
        let key = format!("{words}#{times}");
        let (ctx, client, job) = (self.ctx.clone(), self.client.clone(), self.job.clone());
        self.waiting.spawn(async move {
            let id = request.question_id.clone();
            let answer = match question(request) {
                Some(question) => ctx.ask(&key, question).await,
                None => return,
            };
            match answer {
                Ok(answer) => {
                    let Some(value) = answer.value().cloned() else {
                        return;
                    };
                    let mut given = client.answer(job, id, value);
                    if let Some(note) = answer.note() {
                        given = given.note(note);
                    }
                    // A child that has ended needs no answer.
                    drop(given.await);
                }
                Err(error) => {
                    let text = format!("the agent's process asked what cannot be asked: {error}");
                    drop(ctx.log("warn", text).await);
                }
            }
        });
    }
}

/// How many questions of a child wait at once.
const MOST_AT_ONCE: usize = 64;
/// How many different ones it may ask.
const MOST: usize = 1024;

/// The question as the job asks it. What a child says of operations is for people to read; it grants nothing.
fn question(request: InputRequest) -> Option<Question> {
    let options = request.options.unwrap_or_default();
    let options = options.into_iter().map(|option| (option.id, option.label));
    let mut question = match request.kind {
        kind if kind == QuestionKind::APPROVAL => Question::approval(request.title),
        kind if kind == QuestionKind::CHOICE => Question::choice(request.title, options),
        kind if kind == QuestionKind::TEXT => Question::text(request.title),
        kind if kind == QuestionKind::FORM => Question::form(request.title, request.schema?),
        _ => return None,
    };
    if let Some(message) = request.message {
        question = question.message(message);
    }
    if let Some(operation) = request.operation {
        question = question.about(operation.namespace, operation.value);
    }
    if let Some(default) = request.default.and_then(|default| default.read().ok()) {
        let default: serde_json::Value = default;
        question = question.default_answer(default);
    }
    let left = request.expires_at.since(SystemClock.now());
    Some(question.expires_in(left))
}
