//! Answers.

use bytes::Bytes;
use reqwest::{StatusCode, Url, header::HeaderMap};
use serde::de::DeserializeOwned;

use super::{HttpError, error::without_query};

/// What a server answered, its body still to be read. A status that tells of an error is an answer like any other.
#[derive(Debug)]
pub struct HttpResponse {
    inner: reqwest::Response,
    url: Url,
    limit: usize,
    read: usize,
}

impl HttpResponse {
    pub(super) fn new(inner: reqwest::Response, url: Url, limit: usize) -> Self {
        Self {
            inner,
            url,
            limit,
            read: 0,
        }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// Where the answer came from, after all redirects.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The next piece of the body; `None` at its end. Not cancel safe: the piece may be lost.
    ///
    /// # Errors
    /// [`HttpError`] when the connection fails, or more than the body limit was read.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        let chunk = self.inner.chunk().await;
        let chunk = chunk.map_err(|error| HttpError::of(&self.url, error))?;
        self.read += chunk.as_ref().map_or(0, Bytes::len);
        if self.read > self.limit {
            return Err(self.too_large());
        }
        Ok(chunk)
    }

    /// The whole body.
    ///
    /// # Errors
    /// As [`HttpResponse::chunk`].
    pub async fn bytes(mut self) -> Result<Vec<u8>, HttpError> {
        if self.inner.content_length() > Some(self.limit as u64) {
            return Err(self.too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The whole body as UTF-8 text.
    ///
    /// # Errors
    /// As [`HttpResponse::chunk`], and [`HttpError::Unreadable`].
    pub async fn text(self) -> Result<String, HttpError> {
        let url = without_query(&self.url);
        String::from_utf8(self.bytes().await?).map_err(|error| HttpError::Unreadable {
            url,
            expected: "UTF-8 text",
            reason: error.to_string(),
        })
    }

    /// The whole body as JSON.
    ///
    /// # Errors
    /// As [`HttpResponse::chunk`], and [`HttpError::Unreadable`].
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, HttpError> {
        let url = without_query(&self.url);
        serde_json::from_slice(&self.bytes().await?).map_err(|error| HttpError::Unreadable {
            url,
            expected: "the JSON that was asked for",
            reason: error.to_string(),
        })
    }

    fn too_large(&self) -> HttpError {
        HttpError::TooLarge {
            url: without_query(&self.url),
            limit: self.limit,
        }
    }
}
