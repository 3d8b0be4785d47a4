//! Jobs and refusals as results of calls.

use std::fmt::Write as _;

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Value, json};
use towline_runtime::policy::Refusal;
use towline_wire::{ErrorCode, JobId, JobStatus, event::InputRequest};

use crate::desk::{Desk, JobView, Output};

/// A job as a call's result: the document beside a text, which is what the job gave, why it failed, or how to go on
/// [ARCP 19-1]. `is_verdict`: the call is about the job's end, and a failure is the call's.
pub(crate) async fn job(
    desk: &dyn Desk,
    view: JobView,
    is_verdict: bool,
) -> Result<CallToolResult, Refusal> {
    let text = match view.status {
        JobStatus::Success => given(desk, &view).await?,
        _ if view.status.is_terminal() => failure(&view),
        _ if view.questions.is_empty() => format!(
            "job {} of {} is {}: call job_wait with this job_id for its end, job_events for what it did",
            view.id, view.agent, view.status
        ),
        _ => asks(&view),
    };
    let is_error = is_verdict && view.status.is_terminal() && view.status != JobStatus::Success;
    Ok(result(text, Value::Object(view.document), is_error))
}

/// A job after what was done with it. Who may do that need not be one who may look at it: then it is named and no more.
pub(crate) async fn done(desk: &dyn Desk, id: &JobId) -> Result<CallToolResult, Refusal> {
    match desk.job(id).await {
        Ok(view) => job(desk, view, false).await,
        Err(refusal) if is_hidden(&refusal) => {
            let text = format!("done; what becomes of {id} is not shown to you");
            Ok(result(text, json!({"job_id": id}), false))
        }
        Err(refusal) => Err(refusal),
    }
}

/// Whether a job is not there for whoever asks, who may still answer and end it.
pub(crate) fn is_hidden(refusal: &Refusal) -> bool {
    [ErrorCode::JOB_NOT_FOUND, ErrorCode::PERMISSION_DENIED].contains(&refusal.code)
}

/// A value as a call's result.
pub(crate) fn value(value: Value) -> CallToolResult {
    result(value.to_string(), value, false)
}

/// A refusal as a call's result [ARCP 19-1].
pub(crate) fn refusal(refusal: &Refusal) -> CallToolResult {
    let mut told = json!({
        "code": refusal.code,
        "message": refusal.message,
        "retryable": refusal.code.is_retryable(),
    });
    if let Some(details) = &refusal.details {
        told["details"] = details.to_value();
    }
    if let Some(job) = &refusal.job_id {
        told["job_id"] = json!(job);
    }
    result(refusal.to_string(), told, true)
}

/// A job that was submitted, and could not be waited for: not one to submit again.
pub(crate) fn left(job: &JobId, refusal: &Refusal) -> CallToolResult {
    let message = format!(
        "job {job} was submitted and is not lost, call job_wait with this job_id instead of this tool again: {refusal}"
    );
    let told = json!({
        "job_id": job,
        "code": refusal.code,
        "message": message,
        "retryable": false,
    });
    result(message, told, true)
}

fn result(text: String, structured: Value, is_error: bool) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = Some(structured);
    result.is_error = Some(is_error);
    result
}

/// What a job gave: a text as it is, any other value as JSON, and as much of it as a model can use.
async fn given(desk: &dyn Desk, view: &JobView) -> Result<String, Refusal> {
    let inline = view.document.get("result");
    if let Some(inline) = inline {
        let text = match inline {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let size = text.len() as u64;
        return Ok(cut(text, size));
    }
    if !view.document.contains_key("result_id") {
        return Ok("null".to_owned());
    }
    Ok(match desk.output(&view.id, TEXT_BYTES).await? {
        Output::Text { text, size } => cut(text, size),
        Output::Bytes { size } => {
            format!(
                "the result is {size} bytes that are no text: towline result {}",
                view.id
            )
        }
    })
}

fn cut(mut text: String, size: u64) -> String {
    if size <= TEXT_BYTES as u64 {
        return text;
    }
    let end = (0..=TEXT_BYTES.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    // Writing to a string cannot fail.
    let _ = write!(text, "\n… (the beginning of {size} bytes)");
    text
}

fn failure(view: &JobView) -> String {
    let error = view.document.get("error");
    let text = |name: &str| {
        error
            .and_then(|error| error.get(name))
            .and_then(Value::as_str)
    };
    let code = text("code").unwrap_or_else(|| view.status.as_str());
    match text("message") {
        Some(message) => format!("{code}: {message}"),
        None => code.to_owned(),
    }
}

/// What a job asks, for a model that may know the answer, or tells its user.
fn asks(view: &JobView) -> String {
    let mut text = format!("job {} waits for an answer:", view.id);
    for question in &view.questions {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n- {}", line(question));
    }
    text.push_str(
        "\nAn approval is for a person, who gives it with `towline approve` or on the dashboard; answer anything else with \
         job_answer. Then call job_wait.",
    );
    text
}

fn line(question: &InputRequest) -> String {
    let mut line = format!(
        "{} ({}): {}",
        question.question_id, question.kind, question.title
    );
    if let Some(operation) = &question.operation {
        let _ = write!(line, " [{} {}]", operation.namespace, operation.value);
    }
    for option in question.options.iter().flatten() {
        let _ = write!(line, "\n    {}: {}", option.id, option.label);
    }
    line
}

/// How much of a result is given as text; the document has an inline one whole.
const TEXT_BYTES: usize = 64 * 1024;
