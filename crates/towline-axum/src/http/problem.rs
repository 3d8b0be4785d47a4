//! Errors as problem documents (RFC 9457): the one place where a refusal becomes a status.

use std::fmt;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use towline_runtime::{NotProven, policy::Refusal};
use towline_wire::{ErrorCode, JobId, RawJson, Shown};

use crate::{Full, refusal, refusal::shown};

/// Why a request is not done [ARCP 16-3].
#[derive(Debug)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    refusal: Refusal,
    headers: HeaderMap,
}

/// A problem document.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemDocument {
    /// What kind of problem this is: always `about:blank`, for the code says it.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What is wrong, for a person: the value at fault, and what to do.
    detail: String,
    /// The protocol's code.
    code: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// The job it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    job_id: Option<JobId>,
    /// For a program.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    details: Option<RawJson>,
}

impl Problem {
    /// A request that breaks the rules of HTTP or ours, under this status.
    pub(super) fn invalid(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::with_status(status, Refusal::invalid(detail))
    }

    /// 400.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::invalid(StatusCode::BAD_REQUEST, detail)
    }

    /// 401.
    pub(super) fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::from(Refusal::unauthenticated(detail))
    }

    /// Nobody was proved. `is_shown`: something was shown to prove it.
    pub(super) fn unproved(cause: NotProven, is_shown: bool) -> Self {
        match cause {
            NotProven::Refused(refusal) if is_shown => Self::from(refusal),
            NotProven::Refused(_) => Self::unauthenticated(
                "the request says nothing of who sends it, send `Authorization: Bearer TOKEN`",
            ),
            NotProven::TooMany => Self::with_status(
                StatusCode::TOO_MANY_REQUESTS,
                Refusal::internal(NotProven::TooMany.to_string()),
            )
            .retry_after(60),
        }
    }

    /// 404 for a name that no job can have. It says what is said of one that no job has.
    pub(super) fn no_such_job(name: &str) -> Self {
        let name: String = name.chars().take(256).collect();
        let message = format!("there is no job `{}`", Shown::new(&name));
        Self::from(Refusal::new(ErrorCode::JOB_NOT_FOUND, message))
    }

    /// 404 for a path that leads nowhere.
    pub(super) fn nowhere(path: &str) -> Self {
        let message = format!(
            "nothing is at {}, /openapi.json says what there is",
            shown(path)
        );
        Self::invalid(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn with_status(status: StatusCode, refusal: Refusal) -> Self {
        let mut problem = Self(Box::new(Inner {
            status,
            refusal,
            headers: HeaderMap::new(),
        }));
        match status {
            StatusCode::UNAUTHORIZED => {
                problem = problem.with_header(header::WWW_AUTHENTICATE, "Bearer");
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                problem = problem.retry_after(1);
            }
            _ => {}
        }
        problem
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        // Values of ours are plain text.
        if let Ok(value) = HeaderValue::try_from(value) {
            self.0.headers.insert(name, value);
        }
        self
    }

    fn retry_after(self, seconds: u32) -> Self {
        self.with_header(header::RETRY_AFTER, &seconds.to_string())
    }
}

/// The status of a refusal [ARCP 16-3].
fn status_of(refusal: &Refusal) -> StatusCode {
    const LEASE: &str = "LEASE_";
    const BUDGET: &str = "BUDGET_";
    let code = &refusal.code;
    let is = |one: &ErrorCode| code == one;
    if is(&ErrorCode::INVALID_REQUEST) {
        StatusCode::BAD_REQUEST
    } else if is(&ErrorCode::UNAUTHENTICATED) {
        StatusCode::UNAUTHORIZED
    } else if is(&ErrorCode::PERMISSION_DENIED) {
        StatusCode::FORBIDDEN
    } else if is(&ErrorCode::JOB_NOT_FOUND)
        || is(&ErrorCode::AGENT_NOT_AVAILABLE)
        || is(&ErrorCode::AGENT_VERSION_NOT_AVAILABLE)
    {
        StatusCode::NOT_FOUND
    } else if is(&ErrorCode::DUPLICATE_KEY) || is(&ErrorCode::CANCELLED) {
        StatusCode::CONFLICT
    } else if is(&ErrorCode::RESUME_WINDOW_EXPIRED) {
        StatusCode::GONE
    } else if code.as_str().starts_with(LEASE) || code.as_str().starts_with(BUDGET) {
        StatusCode::UNPROCESSABLE_ENTITY
    } else if refusal.is_for_own_bound() {
        StatusCode::TOO_MANY_REQUESTS
    } else if code.is_retryable() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        // A code that only a policy of the deployment can have given.
        StatusCode::BAD_REQUEST
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::with_status(status_of(&refusal), refusal)
    }
}

/// What the gate says in a line of text.
impl From<refusal::Refusal> for Problem {
    fn from(refusal: refusal::Refusal) -> Self {
        let (status, message) = refusal.into_parts();
        let code = if status == StatusCode::FORBIDDEN {
            ErrorCode::PERMISSION_DENIED
        } else {
            ErrorCode::INVALID_REQUEST
        };
        Self::with_status(status, Refusal::new(code, message))
    }
}

impl From<Full> for Problem {
    fn from(full: Full) -> Self {
        Self::with_status(
            StatusCode::TOO_MANY_REQUESTS,
            Refusal::internal(full.to_string()),
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Inner {
            status,
            refusal,
            headers,
        } = *self.0;
        let Refusal {
            code,
            message,
            job_id,
            details,
            ..
        } = refusal;
        let document = ProblemDocument {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: message,
            retryable: code.is_retryable(),
            code: code.as_str().to_owned(),
            job_id,
            details,
        };
        let text = serde_json::to_string(&document).unwrap_or_default();
        let fixed = [
            (header::CONTENT_TYPE, "application/problem+json"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (status, fixed, headers, text).into_response()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}",
            self.0.status.as_u16(),
            Shown::new(&self.0.refusal)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 16-3] Every code has its status.
    #[test]
    fn codes_have_a_status() {
        for (code, status) in [
            (ErrorCode::INVALID_REQUEST, 400),
            (ErrorCode::UNAUTHENTICATED, 401),
            (ErrorCode::PERMISSION_DENIED, 403),
            (ErrorCode::JOB_NOT_FOUND, 404),
            (ErrorCode::AGENT_NOT_AVAILABLE, 404),
            (ErrorCode::AGENT_VERSION_NOT_AVAILABLE, 404),
            (ErrorCode::DUPLICATE_KEY, 409),
            (ErrorCode::RESUME_WINDOW_EXPIRED, 410),
            (ErrorCode::LEASE_SUBSET_VIOLATION, 422),
            (ErrorCode::LEASE_EXPIRED, 422),
            (ErrorCode::BUDGET_EXHAUSTED, 422),
            (ErrorCode::INTERNAL_ERROR, 503),
        ] {
            let problem = Problem::from(Refusal::new(code.clone(), "m"));
            assert_eq!(problem.0.status.as_u16(), status, "{code}");
            let has = |name| problem.0.headers.contains_key(name);
            assert_eq!(has(header::RETRY_AFTER), status == 503, "{code}");
            assert_eq!(has(header::WWW_AUTHENTICATE), status == 401, "{code}");
        }
        let own = Problem::from(Refusal::internal("m").for_own_bound());
        assert_eq!(own.0.status.as_u16(), 429);
        assert!(own.0.headers.contains_key(header::RETRY_AFTER));
    }
}
