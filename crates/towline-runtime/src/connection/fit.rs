//! The last change to a frame: where an SDK reads the draft in its own way, its clients get the form they read.
//!
//! Which form that is, [`Dialect`] says; a client that follows the draft gets frames as they are.

use serde_json::{Map, Value, json};
use towline_proto::Dialect;
use towline_wire::{Envelope, JobStatus, MessageType, RawJson};

/// Fits a frame to a dialect. To every dialect a terminal names its job in its payload too, which one SDK asks of it.
pub(super) fn fit(mut envelope: Envelope, dialect: Dialect) -> Envelope {
    if envelope.kind.is_terminal()
        && let Some(job) = &envelope.job_id
    {
        let payload = std::mem::replace(&mut envelope.payload, RawJson::EMPTY_OBJECT);
        envelope.payload = payload.with_member("job_id", job);
    }
    if dialect == Dialect::Draft {
        return envelope;
    }
    fit_to(envelope, dialect)
}

/// Reads a frame as the dialect means it.
pub(super) fn unfit(mut envelope: Envelope, dialect: Dialect) -> Envelope {
    if dialect.asks_for_leases_of_its_own() && envelope.kind == MessageType::JOB_SUBMIT {
        edit(&mut envelope, ask_for_our_lease);
    }
    envelope
}

/// Whether a `job.event` stays as it is.
pub(super) fn leaves_event(dialect: Dialect, payload: &RawJson) -> bool {
    let fits_metrics = dialect.repeats_dimensions_as_dims() || dialect.stringifies_dimensions();
    !(fits_metrics && payload.as_str().contains("\"dimensions\"")
        || dialect.reads_no_leases() && payload.as_str().contains("\"delegate\""))
}

fn fit_to(mut envelope: Envelope, dialect: Dialect) -> Envelope {
    let kind = envelope.kind.clone();
    let tells_of_jobs = [
        MessageType::JOB_ACCEPTED,
        MessageType::JOB_SUBSCRIBED,
        MessageType::SESSION_JOBS,
    ]
    .contains(&kind);
    if tells_of_jobs {
        fit_job(&mut envelope, dialect);
    } else if kind == MessageType::JOB_EVENT {
        if !leaves_event(dialect, &envelope.payload) {
            edit(&mut envelope, |payload| fit_event(payload, dialect));
        }
    } else if kind == MessageType::JOB_RESULT && dialect.repeats_result_as_output() {
        edit(&mut envelope, |payload| {
            if let Some(result) = payload.get("result").cloned() {
                payload.insert("output".to_owned(), result);
            }
        });
    } else if kind == MessageType::JOB_ERROR && dialect.ends_unfinished_jobs_with_result() {
        end_with_result(&mut envelope);
    } else if kind == MessageType::SESSION_ERROR && dialect.refuses_with_the_requests_id() {
        refuse_by_id(&mut envelope);
    } else if kind == MessageType::SESSION_WELCOME && dialect.names_the_runtime_flat() {
        edit(&mut envelope, name_runtime_flat);
    }
    envelope
}

/// What tells of jobs: `job.accepted`, `job.subscribed`, `session.jobs`.
fn fit_job(envelope: &mut Envelope, dialect: Dialect) {
    if dialect.writes_budget_as_text() {
        edit(envelope, budgets_as_text);
    }
    if dialect.fits_credentials() && envelope.payload.as_str().contains("\"credentials\"") {
        edit(envelope, fit_credentials);
    }
    if dialect.reads_no_leases() && envelope.kind != MessageType::SESSION_JOBS {
        edit(envelope, |payload| {
            payload.remove("lease");
        });
    }
}

fn fit_event(payload: &mut Map<String, Value>, dialect: Dialect) {
    match payload.get("kind").and_then(Value::as_str) {
        Some("metric") => fit_dimensions(payload, dialect),
        Some("delegate") if dialect.reads_no_leases() => {
            if let Some(Value::Object(body)) = payload.get_mut("body") {
                body.remove("lease");
            }
        }
        _ => {}
    }
}

/// A `session.error` as a `job.error` of no job, found by the request's id.
fn refuse_by_id(envelope: &mut Envelope) {
    if let Ok(error) = envelope.decode::<towline_wire::payload::SessionError>()
        && error.request_id.is_some()
    {
        envelope.id = error.request_id;
    }
    envelope.kind = MessageType::JOB_ERROR;
    envelope.job_id = None;
    edit(envelope, |payload| {
        payload.remove("job_id");
        payload.insert("final_status".to_owned(), json!("error"));
    });
}

fn name_runtime_flat(payload: &mut Map<String, Value>) {
    let Some(Value::Object(runtime)) = payload.get("runtime").cloned() else {
        return;
    };
    for (member, value) in runtime {
        payload.insert(format!("runtime_{member}"), value);
    }
}

/// `lease_request` without what is no pattern: a list of `capabilities`, which says nothing that a lease could grant, and
/// `expires_at`, which belongs to the constraints.
fn ask_for_our_lease(payload: &mut Map<String, Value>) {
    let Some(Value::Object(lease)) = payload.get_mut("lease_request") else {
        return;
    };
    lease.remove("capabilities");
    let Some(expires_at) = lease.remove("expires_at").filter(|at| !at.is_null()) else {
        return;
    };
    let constraints = payload
        .entry("lease_constraints")
        .or_insert_with(|| json!({}));
    if constraints.is_null() {
        *constraints = json!({});
    }
    if let Value::Object(constraints) = constraints {
        constraints.entry("expires_at").or_insert(expires_at);
    }
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

/// Bearer tokens alone, with `allowed_models` and `max_spend` beside the draft's own names, in the payload and in each listed
/// job.
fn fit_credentials(payload: &mut Map<String, Value>) {
    if let Some(Value::Array(jobs)) = payload.get_mut("jobs") {
        jobs.iter_mut()
            .filter_map(Value::as_object_mut)
            .for_each(fit_credentials);
    }
    let Some(Value::Array(credentials)) = payload.get_mut("credentials") else {
        return;
    };
    credentials.retain(|credential| credential.get("scheme") == Some(&json!("bearer")));
    for constraints in credentials
        .iter_mut()
        .filter_map(|credential| credential.get_mut("constraints")?.as_object_mut())
    {
        if let Some(models) = constraints.get("model.use").cloned() {
            constraints.insert("allowed_models".to_owned(), models);
        }
        if let Some(spend) = constraints.get("cost.budget").and_then(one_amount) {
            constraints.insert("max_spend".to_owned(), spend);
        }
    }
}

/// `["USD:1.00"]` as `{"currency": "USD", "amount": 1.00}`. There is no such form for several currencies.
fn one_amount(budget: &Value) -> Option<Value> {
    let [only] = budget.as_array()?.as_slice() else {
        return None;
    };
    let (currency, amount) = only.as_str()?.split_once(':')?;
    let amount: serde_json::Number = serde_json::from_str(amount).ok()?;
    Some(json!({ "currency": currency, "amount": amount }))
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

    fn framed(kind: MessageType, payload: Value) -> Envelope {
        Envelope {
            payload: payload.into(),
            ..Envelope::new(kind)
        }
    }

    fn read(envelope: &Envelope) -> Value {
        envelope.payload.read().unwrap()
    }

    #[test]
    fn terminals_name_their_job_to_everybody() {
        for dialect in Dialect::ALL {
            let job = towline_wire::JobId::parse("job_1").unwrap();
            let end = framed(MessageType::JOB_RESULT, json!({"final_status": "success"}));
            let fitted = fit(end.with_job(job), dialect);
            assert_eq!(read(&fitted)["job_id"], "job_1", "{dialect}");
        }
    }

    #[test]
    fn typescript_reads_one_amount_and_bearer_tokens() {
        let credential = |scheme: &str, budget: Value| json!({"id": "c", "scheme": scheme, "constraints": {"cost.budget": budget, "model.use": ["m"]}});
        let payload = json!({"credentials": [credential("bearer", json!(["USD:1.50"])), credential("basic", json!([]))]});
        let (_, accepted) = fitted(MessageType::JOB_ACCEPTED, payload, Dialect::TypeScript);
        let credentials = accepted["credentials"].as_array().unwrap();
        assert_eq!(credentials.len(), 1, "{accepted}");
        let constraints = &credentials[0]["constraints"];
        let amount: Value = serde_json::from_str("1.50").unwrap();
        assert_eq!(
            constraints["max_spend"],
            json!({"currency": "USD", "amount": amount})
        );
        assert_eq!(constraints["allowed_models"], json!(["m"]));
        let several = json!({"credentials": [credential("bearer", json!(["USD:1", "EUR:1"]))]});
        let (_, accepted) = fitted(MessageType::JOB_ACCEPTED, several, Dialect::TypeScript);
        let constraints = &accepted["credentials"][0]["constraints"];
        assert_eq!(constraints.get("max_spend"), None, "{accepted}");
    }

    #[test]
    fn java_finds_refusals_by_the_requests_id() {
        let error = json!({"code": "JOB_NOT_FOUND", "message": "m", "retryable": false, "request_id": "r1", "job_id": "j"});
        let refused = fit(framed(MessageType::SESSION_ERROR, error), Dialect::Java);
        assert_eq!(refused.kind, MessageType::JOB_ERROR);
        assert_eq!(refused.id.as_ref().unwrap().as_str(), "r1");
        assert_eq!(refused.job_id, None);
        let payload = read(&refused);
        assert_eq!(
            (&payload["code"], &payload["final_status"]),
            (&json!("JOB_NOT_FOUND"), &json!("error"))
        );
        assert_eq!(payload.get("job_id"), None);
    }

    #[test]
    fn ruby_is_told_no_leases_and_asks_for_its_own() {
        let ruby = Dialect::Ruby;
        for kind in [MessageType::JOB_ACCEPTED, MessageType::JOB_SUBSCRIBED] {
            let (_, told) = fitted(kind, json!({"job_id": "j", "lease": {}}), ruby);
            assert_eq!(told, json!({"job_id": "j"}));
        }
        let delegate =
            json!({"kind": "delegate", "body": {"child_job_id": "c", "agent": "a", "lease": {}}});
        let (_, told) = fitted(MessageType::JOB_EVENT, delegate, ruby);
        assert_eq!(told["body"], json!({"child_job_id": "c", "agent": "a"}));
        let welcome = json!({"runtime": {"name": "towline", "version": "1"}});
        let (_, welcome) = fitted(MessageType::SESSION_WELCOME, welcome, ruby);
        assert_eq!(
            (&welcome["runtime_name"], &welcome["runtime_version"]),
            (&json!("towline"), &json!("1"))
        );
        let submit = json!({"agent": "a", "lease_request": {"capabilities": [], "cost.budget": ["USD:1.0"], "expires_at": "t"}});
        let asked = read(&unfit(framed(MessageType::JOB_SUBMIT, submit), ruby));
        assert_eq!(asked["lease_request"], json!({"cost.budget": ["USD:1.0"]}));
        assert_eq!(asked["lease_constraints"], json!({"expires_at": "t"}));
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
