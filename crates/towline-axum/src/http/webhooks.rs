//! `/v1/webhooks`: messages that are or were to be delivered, and one once more [ARCP 16-6].

use axum::{
    Extension,
    extract::Request,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use towline_runtime::{Caller, WebhookDocument};

use super::{
    accept,
    document::document,
    problem::{Problem, ProblemDocument},
    query,
    segment::Segment,
};
use crate::refusal::shown;

/// Messages to receivers.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Webhooks)]
pub(super) struct WebhooksPage {
    /// The messages, the latest first.
    webhooks: Vec<WebhookDocument>,
}

/// Lists the messages of the caller's jobs; an administrator is shown those of all.
#[utoipa::path(
    get, path = "/v1/webhooks", operation_id = "listWebhooks", tag = "webhooks",
    params(("limit" = Option<u32>, Query, description = "at most so many, 1 to 1000; 100 when nobody says")),
    responses(
        (status = 200, description = "the messages, the latest first", body = WebhooksPage),
        (status = 400, description = "the query is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    accept::json(request.headers())?;
    let members = query::members(request.uri(), &["limit"])?;
    let limit = query::single(&members, "limit")?;
    let limit = limit.map(|limit| {
        let parsed = limit.parse::<usize>();
        parsed.map_err(|_| {
            Problem::bad_request(format!("`limit` is {}, which is no number", shown(&limit)))
        })
    });
    let page = WebhooksPage {
        webhooks: caller.webhooks(limit.transpose()?).await?,
    };
    Ok(document(&page)?.into_response())
}

/// Has a message delivered once more, whatever became of it, under the name it has.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/redeliver", operation_id = "redeliverWebhook", tag = "webhooks",
    params(("id" = String, Path, description = "the message")),
    responses(
        (status = 202, description = "it is tried again", body = WebhookDocument),
        (status = 403, description = "there is no such message, or none the caller may know of", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(super) async fn redeliver(
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, Problem> {
    accept::json(request.headers())?;
    query::members(request.uri(), &[])?;
    let again = caller.redeliver(&id).await?;
    Ok((StatusCode::ACCEPTED, document(&again)?).into_response())
}
