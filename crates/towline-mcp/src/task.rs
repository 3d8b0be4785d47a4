//! Jobs as tasks of the extension of 2026-07-28: the task's name is the job's, and nothing is kept beside it [ARCP 19-1].

use rmcp::{
    ErrorData,
    model::{
        CreateTaskResult, DetailedTask, ElicitRequest, GetTaskResult, InputRequest, InputRequests,
        InputResponses, JsonObject, Task, TaskPayload, TaskStatus,
    },
};
use serde_json::Value;
use towline_runtime::policy::Refusal;
use towline_wire::{ErrorCode, JobId, JobStatus, Timestamp};

use crate::{
    desk::{Desk, JobView},
    elicit::{self, Said},
    shown,
    wait::may_answer,
};

/// The task of a job that was just submitted.
pub(crate) fn created(view: &JobView) -> CreateTaskResult {
    CreateTaskResult::new(task(view))
}

/// A task as it stands. `asks`: the client can ask its user.
pub(crate) async fn get(
    desk: &dyn Desk,
    job: &JobId,
    asks: bool,
) -> Result<GetTaskResult, ErrorData> {
    let view = desk.job(job).await.map_err(|refusal| error(&refusal))?;
    let task = task(&view);
    let payload = match view.status {
        JobStatus::Cancelled => TaskPayload::Cancelled,
        status if status.is_terminal() => {
            let result = shown::job(desk, view, true).await;
            let result = result.map_err(|refusal| error(&refusal))?;
            let result = object(serde_json::to_value(result).ok());
            TaskPayload::Completed { result }
        }
        _ if asks && view.questions.iter().any(may_answer) => TaskPayload::InputRequired {
            input_requests: requests(&view),
        },
        _ => TaskPayload::Working,
    };
    Ok(GetTaskResult::new(DetailedTask::new(task, payload)))
}

/// What a job asks, by the questions' names, which are never used twice.
pub(crate) fn requests(view: &JobView) -> InputRequests {
    let open = view
        .questions
        .iter()
        .filter(|question| may_answer(question));
    open.filter_map(|question| {
        let request = elicit::request(&view.id, question)?;
        let request = InputRequest::Elicitation(ElicitRequest::new(request));
        Some((question.question_id.to_string(), request))
    })
    .collect()
}

/// Tells a job what the client's user said. What is of no open question is passed over; gives how many questions the user left
/// unanswered.
pub(crate) async fn answer(
    desk: &dyn Desk,
    view: &JobView,
    responses: &InputResponses,
) -> Result<usize, Refusal> {
    let mut unanswered = 0;
    for question in &view.questions {
        let Some(reply) = responses.get(question.question_id.as_str()) else {
            continue;
        };
        let reply = serde_json::from_value(reply.clone()).map_err(|_| {
            let id = &question.question_id;
            Refusal::invalid(format!(
                "the response to `{id}` is no result of an elicitation"
            ))
        })?;
        match elicit::said(&view.id, question, &reply) {
            Said::Answer(answer) => desk.answer(&view.id, answer).await?,
            Said::Nothing => unanswered += 1,
        }
    }
    Ok(unanswered)
}

/// A refusal of a request about a task: what is unknown is a wrong parameter, by the extension's own rule.
pub(crate) fn error(refusal: &Refusal) -> ErrorData {
    let data = serde_json::json!({"code": refusal.code, "retryable": refusal.code.is_retryable()});
    if refusal.code == ErrorCode::INTERNAL_ERROR {
        return ErrorData::internal_error(refusal.message.clone(), Some(data));
    }
    ErrorData::invalid_params(refusal.message.clone(), Some(data))
}

fn task(view: &JobView) -> Task {
    let status = match view.status {
        JobStatus::Cancelled => TaskStatus::Cancelled,
        status if status.is_terminal() => TaskStatus::Completed,
        _ => TaskStatus::Working,
    };
    let created = view
        .created_at
        .unwrap_or_else(|| Timestamp::from_unix_micros(0));
    let started = view.document.get("started_at").and_then(Value::as_str);
    let updated = match (view.completed_at, started) {
        (Some(ended), _) => ended.to_string(),
        (None, Some(started)) => started.to_owned(),
        (None, None) => created.to_string(),
    };
    Task::new(view.id.as_str(), status, created.to_string(), updated)
        .with_status_message(format!(
            "job {} of {} is {}",
            view.id, view.agent, view.status
        ))
        .with_poll_interval_ms(POLL_MS)
}

fn object(value: Option<Value>) -> JsonObject {
    match value {
        Some(Value::Object(object)) => object,
        _ => JsonObject::new(),
    }
}

/// How often clients should look.
const POLL_MS: u64 = 1000;
