//! The last change to a frame: where an SDK reads the draft in its own way, its clients get the form they read.
//!
//! Which form that is, [`Dialect`] says; a client that follows the draft gets frames as they are.

use serde_json::{Map, Value, json};
use towline_proto::Dialect;
use towline_wire::{Envelope, JobStatus, MessageType, RawJson};

/// Fits a frame to a dialect.
pub(super) fn fit(envelope: Envelope, dialect: Dialect) -> Envelope {
    if dialect == Dialect::Draft {
        return envelope;
    }
    fit_to(envelope, dialect)
}

/// Whether a `job.event` stays as it is whatever it tells.
pub(super) fn leaves_events(dialect: Dialect) -> bool {
    !(dialect.repeats_dimensions_as_dims() || dialect.stringifies_dimensions())
}

fn fit_to(mut envelope: Envelope, dialect: Dialect) -> Envelope {
    let kind = envelope.kind.clone();
    let has_budget = [
        MessageType::JOB_ACCEPTED,
        MessageType::JOB_SUBSCRIBED,
        MessageType::SESSION_JOBS,
    ];
    if dialect.writes_budget_as_text() && has_budget.contains(&kind) {
        edit(&mut envelope, budgets_as_text);
    }
    if dialect.repeats_credential_constraints() && has_budget.contains(&kind) {
        edit(&mut envelope, repeat_constraints);
    }
    if dialect.repeats_result_as_output() && kind == MessageType::JOB_RESULT {
        edit(&mut envelope, |payload| {
            if let Some(result) = payload.get("result").cloned() {
                payload.insert("output".to_owned(), result);
            }
        });
    }
    if dialect.ends_unfinished_jobs_with_result() && kind == MessageType::JOB_ERROR {
        end_with_result(&mut envelope);
    }
    let is_metric =
        kind == MessageType::JOB_EVENT && envelope.payload.as_str().contains("\"dimensions\"");
    if is_metric && !leaves_events(dialect) {
        edit(&mut envelope, |payload| fit_dimensions(payload, dialect));
    }
    envelope
}

/// Rewrites the payload; one that is no object stays as it is.
fn edit(envelope: &mut Envelope, change: impl FnOnce(&mut Map<String, Value>)) {
    if let Ok(mut payload) = envelope.payload.read::<Map<String, Value>>() {
        change(&mut payload);
        envelope.payload = RawJson::from(Value::Object(payload));
    }
}

/// `{"USD": 5.00}` becomes `{"USD": "USD:5.00"}`, in the payload and in each listed job.
fn budgets_as_text(payload: &mut Map<String, Value>) {
    if let Some(Value::Object(budget)) = payload.get_mut("budget") {
        for (currency, amount) in budget.iter_mut() {
            *amount = Value::String(format!("{currency}:{amount}"));
        }
    }
    if let Some(Value::Array(jobs)) = payload.get_mut("jobs") {
        jobs.iter_mut()
            .filter_map(Value::as_object_mut)
            .for_each(budgets_as_text);
    }
}

/// `allowed_models` and `max_spend` beside the draft's own names.
fn repeat_constraints(payload: &mut Map<String, Value>) {
    let Some(Value::Array(credentials)) = payload.get_mut("credentials") else {
        return;
    };
    for constraints in credentials
        .iter_mut()
        .filter_map(|credential| credential.get_mut("constraints"))
    {
        let Some(constraints) = constraints.as_object_mut() else {
            continue;
        };
        for (from, to) in [
            ("model.use", "allowed_models"),
            ("cost.budget", "max_spend"),
        ] {
            if let Some(value) = constraints.get(from).cloned() {
                constraints.insert(to.to_owned(), value);
            }
        }
    }
}

/// A cancelled or timed-out job as a `job.result` with that status.
fn end_with_result(envelope: &mut Envelope) {
    let status = envelope
        .payload
        .read::<towline_wire::payload::JobError>()
        .map(|error| error.final_status);
    if matches!(status, Ok(JobStatus::Cancelled | JobStatus::TimedOut)) {
        envelope.kind = MessageType::JOB_RESULT;
        edit(envelope, |payload| {
            let kept = ["final_status", "completed_at"];
            let message = payload.get("message").cloned();
            payload.retain(|name, _| kept.contains(&name.as_str()));
            payload.insert("result".to_owned(), Value::Null);
            if let Some(message) = message {
                payload.insert("summary".to_owned(), message);
            }
        });
    }
}

fn fit_dimensions(payload: &mut Map<String, Value>, dialect: Dialect) {
    if payload.get("kind") != Some(&json!("metric")) {
        return;
    }
    let Some(body) = payload.get_mut("body").and_then(Value::as_object_mut) else {
        return;
    };
    let Some(Value::Object(mut dimensions)) = body.get("dimensions").cloned() else {
        return;
    };
    if dialect.stringifies_dimensions() {
        for value in dimensions.values_mut().filter(|value| !value.is_string()) {
            *value = Value::String(value.to_string());
        }
        body.insert("dimensions".to_owned(), Value::Object(dimensions.clone()));
    }
    if dialect.repeats_dimensions_as_dims() {
        body.insert("dims".to_owned(), Value::Object(dimensions));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(kind: MessageType, payload: Value, dialect: Dialect) -> (MessageType, Value) {
        let envelope = Envelope {
            payload: payload.into(),
            ..Envelope::new(kind)
        };
        let fitted = fit(envelope, dialect);
        (fitted.kind, fitted.payload.read().unwrap())
    }

    #[test]
    fn a_draft_client_gets_frames_as_they_are() {
        let payload = json!({"budget": {"USD": 5}, "credentials": []});
        assert_eq!(
            fitted(MessageType::JOB_ACCEPTED, payload.clone(), Dialect::Draft).1,
            payload
        );
    }

    #[test]
    fn python_reads_budgets_as_text() {
        let payload = json!({"jobs": [{"budget": {"USD": 5}}]});
        let (_, fitted) = fitted(MessageType::SESSION_JOBS, payload, Dialect::Python);
        assert_eq!(fitted, json!({"jobs": [{"budget": {"USD": "USD:5"}}]}));
    }

    #[test]
    fn python_reads_a_cancelled_job_as_a_result() {
        let payload = json!({"final_status": "cancelled", "code": "CANCELLED", "message": "m", "retryable": false});
        let (kind, payload) = fitted(MessageType::JOB_ERROR, payload, Dialect::Python);
        assert_eq!(kind, MessageType::JOB_RESULT);
        assert_eq!(
            payload,
            json!({"final_status": "cancelled", "result": null, "summary": "m"})
        );
        let failed = json!({"final_status": "error", "code": "INTERNAL_ERROR", "message": "m", "retryable": true});
        assert_eq!(
            fitted(MessageType::JOB_ERROR, failed, Dialect::Python).0,
            MessageType::JOB_ERROR
        );
    }

    #[test]
    fn go_reads_output_and_typescript_reads_dims() {
        let (_, result) = fitted(MessageType::JOB_RESULT, json!({"result": 1}), Dialect::Go);
        assert_eq!(result, json!({"result": 1, "output": 1}));
        let metric = json!({"kind": "metric", "body": {"name": "n", "dimensions": {"a": 1}}});
        let (_, typescript) = fitted(MessageType::JOB_EVENT, metric.clone(), Dialect::TypeScript);
        assert_eq!(typescript["body"]["dims"], json!({"a": 1}));
        let (_, csharp) = fitted(MessageType::JOB_EVENT, metric, Dialect::CSharp);
        assert_eq!(csharp["body"]["dimensions"], json!({"a": "1"}));
    }
}
