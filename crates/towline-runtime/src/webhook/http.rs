//! Posting over HTTP, signed as Standard Webhooks.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use ring::hmac;
use towline_wire::Secret;

use super::{WebhookFailure, WebhookMessage, WebhookSender};
use crate::web::{self, PrivateAddress, PublicOnly, WebError};

/// Posts messages over HTTP, signed with each of its secrets [ARCP 16-6]: the headers `webhook-id`, `webhook-timestamp` and
/// `webhook-signature` are those of Standard Webhooks, `v1`. Nothing is posted through a proxy of the environment's.
#[derive(Debug)]
pub struct HttpWebhooks {
    secrets: Vec<WebhookSecret>,
    /// Connects to public addresses only.
    guarded: reqwest::Client,
    /// For receivers that may be anywhere. The two share no connections.
    open: reqwest::Client,
}

/// What messages are signed with.
pub struct WebhookSecret(hmac::Key);

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// A text that is no secret for webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It is not written as secrets are.
    #[error("a webhook secret is `whsec_` and the secret in base64")]
    Form,
    /// It can be guessed.
    #[error(
        "a webhook secret has {LEAST_SECRET} to {MOST_SECRET} bytes, this one has {bytes}; make one with `openssl rand -base64 32`"
    )]
    Length {
        /// How many bytes it has.
        bytes: usize,
    },
}

impl WebhookSecret {
    /// A secret as it is written: `whsec_` and at least 16 bytes in base64.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn parse(text: &Secret) -> Result<Self, SecretError> {
        let encoded = text.expose().trim().strip_prefix("whsec_");
        let encoded = encoded.ok_or(SecretError::Form)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| SecretError::Form)?;
        if !(LEAST_SECRET..=MOST_SECRET).contains(&bytes.len()) {
            let bytes = bytes.len();
            return Err(SecretError::Length { bytes });
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    fn sign(&self, message: &WebhookMessage) -> String {
        let (id, timestamp) = (&message.id, message.timestamp);
        let signed = format!("{id}.{timestamp}.{}", message.body.as_str());
        let tag = hmac::sign(&self.0, signed.as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }
}

impl HttpWebhooks {
    /// A sender that signs with these secrets: with one, or for as long as receivers change from one to another with both.
    ///
    /// # Errors
    /// [`WebError`] when no client can be made.
    pub fn new(secrets: Vec<WebhookSecret>) -> Result<Self, WebError> {
        Self::trusting(secrets, &[])
    }

    /// [`HttpWebhooks::new`], trusting these authorities (PEM) besides those of the system.
    ///
    /// # Errors
    /// [`WebError`] when no client can be made, or an authority is none.
    pub fn trusting(secrets: Vec<WebhookSecret>, authorities: &[String]) -> Result<Self, WebError> {
        let client =
            || -> Result<_, WebError> { Ok(web::client(authorities)?.referer(false).no_proxy()) };
        let build = |builder: reqwest::ClientBuilder| builder.build().map_err(WebError::Client);
        let guarded = client()?.dns_resolver(Arc::new(PublicOnly));
        Ok(Self {
            secrets,
            guarded: build(guarded)?,
            open: build(client()?)?,
        })
    }

    async fn post(&self, message: &WebhookMessage) -> Result<(), WebhookFailure> {
        let client = if message.receiver.may_be_private {
            &self.open
        } else {
            &self.guarded
        };
        let signatures: Vec<String> = self.secrets.iter().map(|key| key.sign(message)).collect();
        let request = client
            .post(message.receiver.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("webhook-id", message.id.as_str())
            .header("webhook-timestamp", message.timestamp.to_string())
            .header("webhook-signature", signatures.join(" "))
            .body(message.body.as_str().to_owned());
        // The headers say all: nobody reads what a receiver has to tell.
        let status = match request.send().await {
            Ok(response) => response.status(),
            Err(error) => return Err(failure(error)),
        };
        if status.is_success() {
            return Ok(());
        }
        let status = status.as_u16();
        Err(WebhookFailure::new(if (300..400).contains(&status) {
            format!("the receiver answered {status}; redirects are not followed")
        } else {
            format!("the receiver answered {status}")
        }))
    }
}

impl WebhookSender for HttpWebhooks {
    fn send<'a>(
        &'a self,
        message: &'a WebhookMessage,
    ) -> BoxFuture<'a, Result<(), WebhookFailure>> {
        Box::pin(self.post(message))
    }
}

/// What went wrong, without the URL, whose query may hold a secret.
fn failure(error: reqwest::Error) -> WebhookFailure {
    WebhookFailure::new(match PrivateAddress::behind(&error) {
        Some(private) => {
            format!("{private}, which no pattern of `[webhooks] allow` names the host of")
        }
        None => web::describe(&error.without_url()),
    })
}

/// What cannot be tried out.
const LEAST_SECRET: usize = 16;
/// More is of no use.
const MOST_SECRET: usize = 1024;

#[cfg(test)]
mod tests {
    use towline_proto::webhook::Allowed;
    use towline_wire::RawJson;

    use super::*;

    fn secret(text: &str) -> Result<WebhookSecret, SecretError> {
        WebhookSecret::parse(&Secret::new(text))
    }

    /// [ARCP 16-6] the example of Standard Webhooks.
    #[test]
    fn messages_are_signed_as_standard_webhooks_are() {
        let allowed = Allowed::new(["https://hooks.example/**"]).unwrap();
        let message = WebhookMessage {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            timestamp: 1_614_265_330,
            receiver: allowed.admit("https://hooks.example/in").unwrap(),
            body: RawJson::parse(r#"{"test": 2432232314}"#.to_owned()).unwrap(),
        };
        let key = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        assert_eq!(
            key.sign(&message),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        assert_eq!(format!("{key:?}"), "WebhookSecret(…)");
    }

    #[test]
    fn secrets_have_a_form_and_a_length() {
        assert_eq!(
            secret("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").err(),
            Some(SecretError::Form)
        );
        assert_eq!(secret("whsec_?").err(), Some(SecretError::Form));
        assert_eq!(
            secret("whsec_aGk=").err(),
            Some(SecretError::Length { bytes: 2 })
        );
    }
}
