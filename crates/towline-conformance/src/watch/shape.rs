//! What a frame has to look like, whatever came before it.

use serde_json::{Map, Value};
use towline_wire::ErrorCode;

/// A member that is null where the draft has nothing. What agents make (results, inputs, arguments) may be null.
pub(super) fn null_in(kind: &str, payload: &Value) -> Option<String> {
    let allowed = |name: &str| {
        let free = [
            "parent_job_id",
            "next_cursor",
            "result",
            "input",
            "args",
            "default",
            "value",
        ];
        free.contains(&name)
    };
    let in_members = |place: &str, members: &Map<String, Value>| {
        let null = members
            .iter()
            .find(|(name, value)| value.is_null() && !allowed(name));
        null.map(|(name, _)| format!("`{place}` has `{name}: null`"))
    };
    let top = payload
        .as_object()
        .and_then(|members| in_members(kind, members));
    let body = payload["body"].as_object();
    let jobs = payload["jobs"].as_array().into_iter().flatten();
    top.or_else(|| body.and_then(|body| in_members("body", body)))
        .or_else(|| {
            jobs.filter_map(Value::as_object)
                .find_map(|job| in_members("jobs[]", job))
        })
}

pub(super) fn error_fault(error: &Value) -> Option<String> {
    let code = error["code"].as_str().unwrap_or_default();
    if code.is_empty() {
        return Some("an error has no code".to_owned());
    }
    if error["message"].as_str().is_none_or(str::is_empty) {
        return Some(format!("{code} has no message"));
    }
    let Some(retryable) = error["retryable"].as_bool() else {
        return Some(format!("{code} does not say whether it is retryable"));
    };
    let code = ErrorCode::new(code);
    let wrong = code.is_known() && retryable != code.is_retryable();
    wrong.then(|| format!("{code} has retryable:{retryable}"))
}

pub(super) fn end_fault(kind: &str, end: &Value) -> Option<String> {
    let status = end["final_status"].as_str().unwrap_or_default();
    if kind == "job.error" {
        let fits = ["error", "cancelled", "timed_out"].contains(&status);
        return (!fits).then(|| format!("job.error has final_status `{status}`"));
    }
    if status != "success" {
        return Some(format!("job.result has final_status `{status}`"));
    }
    let both =
        end.get("result").is_some_and(|result| !result.is_null()) && end["result_id"].is_string();
    both.then(|| "job.result has both `result` and `result_id`".to_owned())
}

pub(super) fn event_fault(payload: &Value) -> Option<String> {
    let kind = payload["kind"].as_str().unwrap_or_default();
    if kind.is_empty() || !payload["body"].is_object() {
        return Some("an event lacks its kind or its body".to_owned());
    }
    if !payload["ts"].is_string() {
        return Some(format!("an event `{kind}` has no `ts`"));
    }
    let needed: &[&str] = match kind {
        "log" => &["level", "message"],
        "thought" => &["text"],
        "tool_call" => &["tool", "call_id"],
        "tool_result" => &["call_id"],
        "status" => &["phase"],
        "metric" => &["name", "value"],
        "artifact_ref" => &["uri", "content_type"],
        "delegate" => &["child_job_id", "agent"],
        "progress" => &["current"],
        "result_chunk" => &["result_id", "chunk_seq", "data", "encoding", "more"],
        _ => &[],
    };
    let missing = needed.iter().find(|name| payload["body"][**name].is_null());
    missing.map(|name| format!("an event `{kind}` has no `{name}`"))
}
