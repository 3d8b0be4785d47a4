//! Webhooks, as a deployment describes them: where anything may be posted to, and who posts it (16-6).

#[cfg(feature = "webhooks")]
mod http;

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use towline_proto::webhook::{Allowed, Delivery, HookEvent, Line, Post, Receiver, Stand};
use towline_store::{DeliveryRow, DeliveryState};
use towline_wire::{JobId, JobSeq, RawJson, Timestamp};

#[cfg(feature = "webhooks")]
pub use http::{HttpWebhooks, SecretError, WebhookSecret};

/// Posts messages. Which one, where to and when is decided elsewhere; a sender makes one try and says how it went.
///
/// The try is given ten seconds and then dropped. A sender follows no redirects, and connects to no address that is not public
/// unless the receiver [may be at one](Receiver::may_be_private).
pub trait WebhookSender: Send + Sync + 'static {
    /// Makes one try. It has come through when the receiver answered with a status of 200 to 299.
    ///
    /// # Errors
    /// Why it has not, for a person.
    fn send<'a>(&'a self, message: &'a WebhookMessage)
    -> BoxFuture<'a, Result<(), WebhookFailure>>;
}

/// A message to be posted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WebhookMessage {
    /// Its name, the same over all tries: the header `webhook-id`.
    pub id: String,
    /// When this try is made, in seconds since 1970: the header `webhook-timestamp`.
    pub timestamp: i64,
    /// Where to.
    pub receiver: Receiver,
    /// What, in JSON.
    pub body: RawJson,
}

/// Why a try did not come through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WebhookFailure(String);

impl WebhookFailure {
    /// A failure, told to a person in lower case.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// A message as lists show it [ARCP 16-6].
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Webhook))]
#[non_exhaustive]
pub struct WebhookDocument {
    /// Its name, the `webhook-id` of every try.
    pub id: String,
    /// The job it tells of.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub job_id: JobId,
    /// Where to.
    pub url: String,
    /// What it tells: `job.started`, `job.input_request` or `job.ended`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it stands: `pending`, `delivered` or `failed`.
    pub status: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it came to be, with the event that it tells of.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it is tried next; messages before it in its line come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub next_try_at: Option<Timestamp>,
    /// When it came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub delivered_at: Option<Timestamp>,
    /// When it was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub failed_at: Option<Timestamp>,
    /// Why the latest try that failed did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Where anything may be posted to, and who posts it. By default nothing and nobody.
#[derive(Clone, Default)]
pub(crate) struct Webhooks {
    pub(crate) allowed: Allowed,
    pub(crate) sender: Option<Arc<dyn WebhookSender>>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks")
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

/// What a store keeps of a message beside its body.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    url: String,
    kind: String,
    seq: JobSeq,
    delivery: Delivery,
    /// The receiver is the agent's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    by_agent: bool,
}

impl Kept {
    /// A message that nobody has tried to deliver.
    pub(crate) fn new(url: &str, event: HookEvent, seq: JobSeq, now: Timestamp) -> Self {
        Self {
            url: url.to_owned(),
            kind: event.kind().to_owned(),
            seq,
            delivery: Delivery::new(now),
            by_agent: false,
        }
    }

    /// One to a receiver that the job's agent has, and the submit did not name.
    pub(crate) fn by_agent(self, by_agent: bool) -> Self {
        Self { by_agent, ..self }
    }

    /// That of a row; `None` when nobody can read it.
    pub(crate) fn of(row: &DeliveryRow) -> Option<Self> {
        row.data.read().ok()
    }

    pub(crate) fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// The same message, having come so far.
    pub(crate) fn with(&self, delivery: Delivery) -> Self {
        Self {
            delivery,
            ..self.clone()
        }
    }

    pub(crate) fn data(&self) -> RawJson {
        RawJson::of(self).unwrap_or(RawJson::EMPTY_OBJECT)
    }

    /// What becomes durable of how far it came.
    pub(crate) fn state(&self, id: &str) -> DeliveryState {
        DeliveryState {
            id: id.to_owned(),
            pending: self.delivery.due().is_some(),
            data: self.data(),
        }
    }

    /// What waits at the desk.
    pub(crate) fn post(&self, row: &DeliveryRow) -> Post {
        Post {
            id: row.id.as_str().into(),
            owner: row.principal.as_str().into(),
            line: Line {
                job: row.job.clone(),
                url: self.url.as_str().into(),
            },
            seq: self.seq,
            receiver: authority(&self.url).into(),
            delivery: self.delivery.clone(),
        }
    }

    /// As lists show it. Of a receiver that the submit did not name, only administrators see more than the host: such URLs are
    /// secrets of the operator's.
    pub(crate) fn document(&self, row: &DeliveryRow, to_admin: bool) -> WebhookDocument {
        let url = if self.by_agent && !to_admin {
            origin(&self.url)
        } else {
            self.url.clone()
        };
        let (delivered_at, failed_at) = match self.delivery.stand {
            Stand::Waiting(_) => (None, None),
            Stand::Delivered(at) => (Some(at), None),
            Stand::Failed(at) => (None, Some(at)),
        };
        WebhookDocument {
            id: row.id.clone(),
            job_id: row.job.clone(),
            url,
            kind: self.kind.clone(),
            status: self.delivery.status().to_owned(),
            tries: self.delivery.tries,
            created_at: row.created_at,
            next_try_at: self.delivery.due(),
            delivered_at,
            failed_at,
            last_error: self.delivery.last_error.clone(),
        }
    }
}

/// A URL up to its path.
fn origin(url: &str) -> String {
    let parsed = url::Url::parse(url);
    parsed.map_or_else(
        |_| String::new(),
        |url| format!("{}/…", &url[..url::Position::AfterPort]),
    )
}

/// The host and the port of a URL: what shares a fate with other receivers there.
fn authority(url: &str) -> String {
    let parsed = url::Url::parse(url);
    parsed.map_or_else(
        |_| String::new(),
        |url| url[url::Position::BeforeHost..url::Position::AfterPort].to_owned(),
    )
}

/// How many messages of one principal may wait; with as many no further job is accepted that would make more.
pub(crate) const MOST_WAITING: usize = 16_384;
