//! A question to people, as programs and jobs write it down [ARCP 15-9].

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use towline_runtime::{AgentError, Answer, JobContext, Question};
use towline_wire::{ErrorCode, event::ChoiceOption};

/// `{kind, title?, message?, key?, options?, schema?, expires_in_ms?, default?}`.
#[derive(Debug, Clone, Deserialize)]
pub struct AskInput {
    kind: String,
    title: Option<String>,
    message: Option<String>,
    key: Option<String>,
    #[serde(default)]
    options: Vec<ChoiceOption>,
    schema: Option<Value>,
    expires_in_ms: Option<u64>,
    default: Option<Value>,
}

impl AskInput {
    /// What names the question within its job. Default: `ask`.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or("ask")
    }

    /// Asks, and waits for what becomes of it. Cancel safe: a question whose future is dropped stays open.
    ///
    /// # Errors
    /// INVALID_REQUEST when it is no question; the job has to end.
    pub async fn ask(self, ctx: &JobContext) -> Result<Answer, AgentError> {
        let key = self.key().to_owned();
        let question = self.question()?;
        Ok(ctx.ask(&key, question).await?)
    }

    fn question(self) -> Result<Question, AgentError> {
        let title = self.title.unwrap_or_else(|| self.kind.clone());
        let options = self.options.into_iter();
        let options = options.map(|option| (option.id, option.label));
        let mut question = match self.kind.as_str() {
            "approval" => Question::approval(title),
            "choice" => Question::choice(title, options),
            "text" => Question::text(title),
            "form" => Question::form(title, self.schema.unwrap_or_else(|| json!({}))),
            other => {
                let message = format!(
                    "`kind` is `{other}`; a question is an approval, a choice, a text or a form"
                );
                return Err(AgentError::new(ErrorCode::INVALID_REQUEST, message));
            }
        };
        if let Some(message) = self.message {
            question = question.message(message);
        }
        if let Some(wait) = self.expires_in_ms {
            question = question.expires_in(Duration::from_millis(wait));
        }
        if let Some(default) = self.default {
            question = question.default_answer(default);
        }
        Ok(question)
    }
}
