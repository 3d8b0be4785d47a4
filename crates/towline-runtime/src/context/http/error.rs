//! What can go wrong with a request.

use super::super::Denied;

/// Why a request gave nothing. No message holds a query, for queries hold secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The lease does not cover the URL, or one that it redirects to, or a host is at a private address.
    #[error("{0}")]
    Denied(#[from] Denied),
    /// The request cannot be made as it is.
    #[error("the request cannot be made: {0}")]
    Invalid(String),
    /// More redirects than are followed.
    #[error("`{url}` redirects more than {limit} times")]
    TooManyRedirects {
        /// What was asked for.
        url: String,
        /// How many are followed.
        limit: usize,
    },
    /// The body is larger than may be read.
    #[error(
        "the answer of `{url}` has more than {limit} bytes; raise the request's body limit, or read it in pieces"
    )]
    TooLarge {
        /// Who answered.
        url: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// It took too long.
    #[error("`{url}` did not answer in time")]
    Timeout {
        /// What was asked for.
        url: String,
    },
    /// The host could not be reached, or its answer could not be read.
    #[error("`{url}` failed: {reason}")]
    Failed {
        /// What was asked for.
        url: String,
        /// Why.
        reason: String,
    },
    /// The body is not what it was read as.
    #[error("the answer of `{url}` is not {expected}: {reason}")]
    Unreadable {
        /// Who answered.
        url: String,
        /// What was expected.
        expected: &'static str,
        /// Why not.
        reason: String,
    },
}

impl HttpError {
    /// The refusal, when it is one.
    pub const fn denied(&self) -> Option<&Denied> {
        match self {
            Self::Denied(denied) => Some(denied),
            _ => None,
        }
    }

    /// Tells a failure apart from a timeout.
    pub(super) fn of(url: &reqwest::Url, error: reqwest::Error) -> Self {
        let url = without_query(url);
        if error.is_timeout() {
            return Self::Timeout { url };
        }
        let reason = crate::web::describe(&error.without_url());
        Self::Failed { url, reason }
    }
}

/// A URL as messages show it.
pub(super) fn without_query(url: &reqwest::Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}
