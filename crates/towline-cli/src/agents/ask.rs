//! `ask`: asks one question and tells what became of it [ARCP 15-9].

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use towline::{
    ErrorCode,
    runtime::{AgentError, JobContext, Question},
    wire::event::ChoiceOption,
};

#[derive(Deserialize)]
pub(super) struct Input {
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

pub(super) async fn run(ctx: JobContext, input: Input) -> Result<Value, AgentError> {
    let title = input.title.unwrap_or_else(|| input.kind.clone());
    let options = input
        .options
        .into_iter()
        .map(|option| (option.id, option.label));
    let mut question = match input.kind.as_str() {
        "approval" => Question::approval(title),
        "choice" => Question::choice(title, options),
        "text" => Question::text(title),
        "form" => Question::form(title, input.schema.unwrap_or_else(|| json!({}))),
        other => {
            let message = format!(
                "`kind` is `{other}`; a question is an approval, a choice, a text or a form"
            );
            return Err(AgentError::new(ErrorCode::INVALID_REQUEST, message));
        }
    };
    if let Some(message) = input.message {
        question = question.message(message);
    }
    if let Some(wait) = input.expires_in_ms {
        question = question.expires_in(Duration::from_millis(wait));
    }
    if let Some(default) = input.default {
        question = question.default_answer(default);
    }
    let key = input.key.as_deref().unwrap_or("ask");
    let answer = ctx.ask(key, question).await?;
    Ok(json!({"outcome": answer.outcome(), "answer": answer.value()}))
}
