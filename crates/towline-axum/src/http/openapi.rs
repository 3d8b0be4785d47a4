//! `/openapi.json`: what there is, generated from the handlers [ARCP 16-5].

use std::sync::LazyLock;

use axum::{
    extract::Request,
    http::header,
    response::{IntoResponse as _, Response},
};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        RefOr, Response as Described,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    agents, events, job, jobs, problem::Problem, query, questions, result, schedules, webhooks,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "towline",
        description = "Long-lived AI agent jobs: submit, watch, fetch, cancel.",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(
        jobs::submit, jobs::list, job::show, job::cancel, events::read, result::fetch, agents::list,
        questions::answer, questions::speak, questions::inbox,
        schedules::list, schedules::run, schedules::pause, schedules::resume,
        webhooks::list, webhooks::redeliver, describe
    ),
    components(schemas(agents::Agent)),
    modifiers(&Bearer, &Everywhere),
    security(("bearer" = []))
)]
struct Description;

/// Everything but the description itself wants a token.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        description
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// What every request goes through, or every one with a body, is written down once: a handler describes what is its own.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let paths = &mut description.paths.paths;
        let submit = paths.get("/v1/jobs").and_then(|path| path.post.as_ref());
        let problem = submit.and_then(|submit| submit.responses.responses.get("400").cloned());
        let Some(RefOr::T(problem)) = problem else {
            return;
        };
        for (path, item) in paths.iter_mut() {
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                add(operation, &REFUSED, &problem);
                if path == PUBLIC {
                    continue;
                }
                add(operation, &[UNPROVED], &problem);
                let is_document = operation.responses.responses.values().any(is_json);
                if is_document {
                    add(operation, &[NOT_ACCEPTABLE], &problem);
                }
            }
            if let Some(operation) = &mut item.post
                && !path.ends_with("/redeliver")
            {
                add(operation, &BODIES, &problem);
            }
            // A result's size is worth asking for alone.
            if path.ends_with("/result")
                && let Some(mut head) = item.get.clone()
            {
                head.operation_id = Some("headResult".to_owned());
                item.head = Some(head);
            }
        }
    }
}

fn add(operation: &mut Operation, responses: &[(&str, &str)], problem: &Described) {
    for (status, description) in responses {
        let mut response = problem.clone();
        (*description).clone_into(&mut response.description);
        let all = &mut operation.responses.responses;
        all.entry((*status).to_owned())
            .or_insert(RefOr::T(response));
    }
}

fn is_json(response: &RefOr<Described>) -> bool {
    matches!(response, RefOr::T(response) if response.content.len() == 1 && response.content.contains_key("application/json"))
}

/// What the gate, the token and the runtime say of any request.
const REFUSED: [(&str, &str); 4] = [
    ("400", "the request is not right"),
    (
        "403",
        "the Host or the Origin is not let in, or the caller may not do this",
    ),
    ("429", "too much of this address or this principal for now"),
    ("503", "not now, try again"),
];

const UNPROVED: (&str, &str) = (
    "401",
    "the request does not prove who sends it, `WWW-Authenticate` says how",
);

const NOT_ACCEPTABLE: (&str, &str) = ("406", "the client takes no JSON, which is all there is");

const BODIES: [(&str, &str); 2] = [
    ("413", "the body is too long"),
    ("415", "the body is not JSON"),
];

const PUBLIC: &str = "/openapi.json";

/// The text, which never changes.
static TEXT: LazyLock<String> =
    LazyLock::new(|| serde_json::to_string(&Description::openapi()).unwrap_or_default());

/// Describes all of this.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "describe", tag = "description",
    security(()),
    responses((status = 200, description = "this description", content_type = "application/json", body = serde_json::Value))
)]
pub(super) async fn describe(request: Request) -> Result<Response, Problem> {
    query::members(request.uri(), &[])?;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, TEXT.as_str()).into_response())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// [ARCP 16-5] A submit is described with every member that the protocol has, and the trace that an envelope bears.
    #[test]
    fn a_submit_is_described_whole() {
        let submit = r#"{"agent":"a","input":1,"lease_request":{},"lease_constraints":{},"idempotency_key":"k",
            "max_runtime_sec":1,"parent_job_id":"job_1","rerun_of":"job_1","not_before":"2026-01-01T00:00:00Z","queue":"q",
            "priority":1,"notify":{"url":"u","events":["ended"]},"x-vendor.towline.checkpoint":1}"#;
        let towline_wire::payload::Submit {
            agent: _,
            input: _,
            lease_request: _,
            lease_constraints: _,
            idempotency_key: _,
            max_runtime_sec: _,
            parent_job_id: _,
            rerun_of: _,
            not_before: _,
            queue: _,
            priority: _,
            notify: _,
            checkpoint: _,
        } = serde_json::from_str(submit).unwrap();
        let submit: serde_json::Map<_, _> = serde_json::from_str(submit).unwrap();
        let mut members: BTreeSet<String> = submit.keys().cloned().collect();
        members.insert("trace_id".to_owned());
        let description = serde_json::to_value(Description::openapi()).unwrap();
        let schemas = &description["components"]["schemas"];
        let described = schemas["Submit"]["properties"].as_object().unwrap();
        assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), members);
        let notify = schemas["Notify"]["properties"].as_object().unwrap();
        assert_eq!(notify.keys().collect::<Vec<_>>(), ["events", "url"]);
    }

    /// [ARCP 16-5] The description has the routes there are, and no others.
    #[test]
    fn routes_and_description_are_the_same() {
        let description = serde_json::to_value(Description::openapi()).unwrap();
        let described: BTreeSet<String> = description["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, operations)| {
                let methods = operations.as_object().unwrap().keys();
                // Whatever is got can be asked for its head.
                let methods = methods.filter(|method| *method != "head");
                methods.map(move |method| format!("{method} {path}"))
            })
            .collect();
        let source = include_str!("../http.rs");
        let routed: BTreeSet<String> = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix(".route(\"")?.split_once("\", "))
            .filter(|(_, handlers)| !handlers.starts_with("any("))
            .flat_map(|(path, handlers)| {
                let methods = ["get", "post"]
                    .into_iter()
                    .filter(|method| handlers.contains(&format!("{method}(")));
                methods.map(move |method| format!("{method} {path}"))
            })
            .collect();
        assert_eq!(described, routed);
    }
}
