//! `/openapi.json`: what there is, generated from the handlers [ARCP 16-5].

use std::sync::LazyLock;

use axum::{
    extract::Request,
    http::header,
    response::{IntoResponse as _, Response},
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
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
    modifiers(&Bearer),
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
