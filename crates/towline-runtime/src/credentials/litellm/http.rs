//! Asking the proxy.

use std::{fmt, time::Duration};

use reqwest::{
    StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};
use towline_wire::Secret;

use super::{super::ProvisionError, LiteLlmConfigError, checked_url};
use crate::web;

/// A proxy, and the right to manage its keys.
pub(super) struct Proxy {
    url: Url,
    key: Secret,
    client: reqwest::Client,
}

/// What it said.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Vec<u8>,
}

impl Proxy {
    pub(super) fn new(
        url: &str,
        key: &Secret,
        timeout: Duration,
    ) -> Result<Self, LiteLlmConfigError> {
        let url = checked_url(url)?;
        let bearer = HeaderValue::try_from(format!("Bearer {}", key.expose()));
        let mut bearer = bearer.map_err(|_| LiteLlmConfigError::Key)?;
        bearer.set_sensitive(true);
        let client = web::client(&[])
            .map_err(|cause| LiteLlmConfigError::Client(cause.to_string()))?
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
            .timeout(timeout)
            .no_proxy()
            .build()
            .map_err(|cause| LiteLlmConfigError::Client(cause.to_string()))?;
        Ok(Self {
            url,
            key: key.clone(),
            client,
        })
    }

    /// Where it is.
    pub(super) fn url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Posts, and wants to hear that it worked.
    pub(super) async fn post(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer, ProvisionError> {
        self.ask(path, body).await?.accepted()
    }

    /// Posts, and takes any answer.
    pub(super) async fn ask(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer, ProvisionError> {
        let failed = |cause: reqwest::Error| {
            let what = if cause.is_timeout() {
                "did not answer in time"
            } else {
                "could not be reached"
            };
            ProvisionError::unavailable(format!(
                "the proxy {what}: {}",
                deepest(&cause.without_url())
            ))
        };
        let url = self
            .url
            .join(path)
            .map_err(|cause| ProvisionError::refused(cause.to_string()))?;
        let mut response = self
            .client
            .post(url)
            .json(body)
            .send()
            .await
            .map_err(failed)?;
        let (status, mut body) = (response.status(), Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(ProvisionError::unavailable(
                    "the proxy's answer is too long",
                ));
            }
            body.extend_from_slice(&chunk);
        }
        let text = String::from_utf8_lossy(&body).replace(self.key.expose(), "[redacted]");
        Ok(Answer {
            status,
            body: text.into_bytes(),
        })
    }
}

impl Answer {
    /// The answer, when it says that it worked.
    pub(super) fn accepted(self) -> Result<Self, ProvisionError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let message = format!(
            "the proxy answered {}: {}",
            self.status.as_u16(),
            self.reason()
        );
        match self.status {
            // Somebody on the way may have sent the request twice, so that a key was made all the same.
            StatusCode::BAD_REQUEST if self.says("alias") => {
                Err(ProvisionError::unavailable(message))
            }
            // The request itself is at fault, and nothing was made.
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY => {
                Err(ProvisionError::refused(message))
            }
            _ => Err(ProvisionError::unavailable(message)),
        }
    }

    /// What it holds. The error does not quote it, for it may hold a key.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ProvisionError> {
        let unreadable = |cause: serde_json::Error| {
            let place = format!("line {}, column {}", cause.line(), cause.column());
            ProvisionError::unavailable(format!(
                "the proxy's answer has another form than expected ({place})"
            ))
        };
        serde_json::from_slice(&self.body).map_err(unreadable)
    }

    /// Whether it holds some words, given in lower case.
    pub(super) fn says(&self, words: &str) -> bool {
        String::from_utf8_lossy(&self.body)
            .to_ascii_lowercase()
            .contains(words)
    }

    /// Its error message, kept short.
    fn reason(&self) -> String {
        let text = serde_json::from_slice::<serde_json::Value>(&self.body).ok();
        let text = text.and_then(|body| {
            let places = ["/error/message", "/detail/error", "/detail", "/error"];
            places
                .iter()
                .find_map(|place| body.pointer(place)?.as_str().map(str::to_owned))
        });
        text.map_or_else(
            || "no reason given".to_owned(),
            |text| text.chars().take(200).collect(),
        )
    }
}

/// The innermost cause; the outer ones say next to nothing.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes
        .take(16)
        .last()
        .map_or_else(String::new, ToString::to_string)
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

const MAX_ANSWER: usize = 256 * 1024;
