//! How the two families of model services are spoken to.

use hyper::{
    HeaderMap, Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use serde_json::json;
use towline_wire::Secret;

use super::{
    super::answer::{Body, Refused, json_answer, strip_hop_by_hop},
    usage::Shape,
};

/// Whose interface a model service has. There is no translation between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Style {
    /// `chat/completions`, `completions`, `responses` and `embeddings`, as OpenAI and many others have them. The program finds
    /// `OPENAI_BASE_URL` and `OPENAI_API_KEY` in its environment.
    OpenAi,
    /// `messages`, as Anthropic has it. The program finds `ANTHROPIC_BASE_URL` and `ANTHROPIC_API_KEY` in its environment.
    Anthropic,
}

/// One of the paths that are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Behind the upstream's base.
    pub(super) path: &'static str,
    pub(super) shape: Shape,
    /// Nothing is written, so no answer says how much.
    pub(super) without_output: bool,
    /// It costs nothing, and its answers say nothing of use.
    pub(super) free: bool,
}

const fn endpoint(path: &'static str, shape: Shape) -> Endpoint {
    Endpoint {
        path,
        shape,
        without_output: false,
        free: false,
    }
}

const OPEN_AI: [Endpoint; 4] = [
    endpoint("/chat/completions", Shape::Chat),
    endpoint("/completions", Shape::Chat),
    endpoint("/responses", Shape::Responses),
    Endpoint {
        without_output: true,
        ..endpoint("/embeddings", Shape::Chat)
    },
];

const ANTHROPIC: [Endpoint; 2] = [
    endpoint("/messages", Shape::Messages),
    Endpoint {
        free: true,
        ..endpoint("/messages/count_tokens", Shape::Messages)
    },
];

impl Style {
    /// Reads `openai` or `anthropic`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "openai" => Some(Self::OpenAi),
            "anthropic" => Some(Self::Anthropic),
            _ => None,
        }
    }

    /// The endpoint of a path, with or without the version before it.
    pub(super) fn endpoint(self, path: &str) -> Option<Endpoint> {
        let path = path.strip_prefix("/v1").unwrap_or(path);
        let offered: &[Endpoint] = match self {
            Self::OpenAi => &OPEN_AI,
            Self::Anthropic => &ANTHROPIC,
        };
        offered.iter().find(|offered| offered.path == path).copied()
    }

    /// What is offered, for whoever asked for something else.
    pub(super) fn offered(self) -> &'static str {
        match self {
            Self::OpenAi => {
                "POST /v1/chat/completions, /v1/completions, /v1/responses, /v1/embeddings"
            }
            Self::Anthropic => "POST /v1/messages, /v1/messages/count_tokens",
        }
    }

    /// The variables that tell a program where the models are.
    pub(super) fn variables(self, port: u16, key: &Secret) -> [(String, String); 2] {
        let (base, url, name) = match self {
            Self::OpenAi => ("OPENAI_BASE_URL", "/v1", "OPENAI_API_KEY"),
            Self::Anthropic => ("ANTHROPIC_BASE_URL", "", "ANTHROPIC_API_KEY"),
        };
        [
            (base.to_owned(), format!("http://127.0.0.1:{port}{url}")),
            (name.to_owned(), key.expose().to_owned()),
        ]
    }

    /// The key that a request presents.
    pub(super) fn presented(headers: &HeaderMap) -> &[u8] {
        if let Some(key) = headers.get(API_KEY) {
            return key.as_bytes();
        }
        let bearer = headers.get(header::AUTHORIZATION);
        let bearer = bearer.map_or(&b""[..], HeaderValue::as_bytes);
        match bearer.split_at_checked(7) {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"bearer ") => key.trim_ascii(),
            _ => b"",
        }
    }

    /// Makes the headers of a job's request those of the operator's: nothing of the job's key goes on, and no choice of who
    /// pays.
    pub(super) fn sign(self, headers: &mut HeaderMap, key: &Secret) -> Result<(), Refused> {
        strip_hop_by_hop(headers);
        for name in NOT_PASSED_ON {
            headers.remove(name);
        }
        let unusable = |_| Refused::beyond("the operator's key is no value of a header");
        let (name, value) = match self {
            Self::OpenAi => (header::AUTHORIZATION, format!("Bearer {}", key.expose())),
            Self::Anthropic => (API_KEY, key.expose().to_owned()),
        };
        let mut value = HeaderValue::try_from(value).map_err(unusable)?;
        value.set_sensitive(true);
        headers.insert(name, value);
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        if self == Self::Anthropic && !headers.contains_key(VERSION) {
            headers.insert(VERSION, HeaderValue::from_static("2023-06-01"));
        }
        Ok(())
    }

    /// A refusal as libraries of this family read it, with our code in it.
    pub(super) fn refuse(self, refused: &Refused) -> Response<Body> {
        let (code, message) = (refused.code.as_str(), refused.message.as_str());
        let kind = match (self, refused.status) {
            (Self::OpenAi, StatusCode::PAYMENT_REQUIRED) => "insufficient_quota",
            (Self::Anthropic, StatusCode::PAYMENT_REQUIRED) => "billing_error",
            (_, StatusCode::UNAUTHORIZED) => "authentication_error",
            (_, StatusCode::FORBIDDEN) => "permission_error",
            (_, StatusCode::NOT_FOUND) => "not_found_error",
            (_, status) if status.is_client_error() => "invalid_request_error",
            _ => "api_error",
        };
        let body = match self {
            Self::OpenAi => {
                json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
            }
            Self::Anthropic => {
                json!({"type": "error", "error": {"type": kind, "message": message, "code": code}})
            }
        };
        json_answer(refused.status, &body)
    }
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// The job's key in any form, what is the connection's, and whose account pays.
const NOT_PASSED_ON: [&str; 10] = [
    "authorization",
    "x-api-key",
    "api-key",
    "cookie",
    "host",
    "content-length",
    "expect",
    "openai-organization",
    "openai-project",
    "forwarded",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_offered_with_and_without_the_version() {
        let path = |style: Style, path| style.endpoint(path).map(|endpoint| endpoint.path);
        assert_eq!(
            path(Style::OpenAi, "/v1/chat/completions"),
            Some("/chat/completions")
        );
        assert_eq!(path(Style::OpenAi, "/responses"), Some("/responses"));
        assert_eq!(path(Style::Anthropic, "/v1/messages"), Some("/messages"));
        assert_eq!(path(Style::Anthropic, "/v1/chat/completions"), None);
        assert_eq!(path(Style::OpenAi, "/v1/files"), None);
        assert_eq!(path(Style::OpenAi, "/v1/chat/completions/"), None);
    }

    /// [ARCP 18-3] The upstream gets the operator's key and no trace of the job's.
    #[test]
    fn the_jobs_key_goes_no_further() {
        for style in [Style::OpenAi, Style::Anthropic] {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("authorization", "Bearer jk_job"),
                ("x-api-key", "jk_job"),
                ("proxy-authorization", "Basic jk_job"),
                ("x-trace", "kept"),
                ("openai-organization", "org-other"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            assert_eq!(Style::presented(&headers), b"jk_job");
            style.sign(&mut headers, &Secret::new("sk_op")).unwrap();
            let texts: Vec<_> = headers.values().map(|value| value.as_bytes()).collect();
            assert!(
                !texts
                    .iter()
                    .any(|text| text.windows(6).any(|part| part == b"jk_job"))
            );
            assert!(
                headers.contains_key("x-trace") && !headers.contains_key("openai-organization")
            );
            let key = match style {
                Style::OpenAi => ("authorization", "Bearer sk_op"),
                Style::Anthropic => ("x-api-key", "sk_op"),
            };
            assert_eq!(headers[key.0], key.1);
        }
    }
}
