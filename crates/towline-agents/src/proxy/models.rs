//! Models, by the lease and within the budget of a job: the program speaks to endpoints of the proxy with a key of its job, and
//! the operator's key is added outside [ARCP 18-3].

mod bill;
mod call;
mod flight;
mod price;
mod request;
mod sse;
mod style;
mod usage;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, body::Incoming, header};
use tokio::sync::oneshot;
use towline_proto::lease::{Pattern, PatternError};
use towline_runtime::{JobContext, JobKey};
use towline_transport::tls::{TlsError, Trust};
use towline_wire::{Amount, ErrorCode, Secret};
use url::Url;

use super::answer::{Body, Refused, strip_hop_by_hop};
use call::Call;
use flight::Flight;
use price::Prices;
use request::ModelRequest;
use style::Endpoint;

pub use price::Price;
pub use style::Style;

/// The largest request to a model: pictures are in it.
const LARGEST_REQUEST: usize = 32 << 20;

/// How long the upstream may take to be connected to, and be silent.
const CONNECT: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(15 * 60);

/// A model service, with the operator's key to it. Clones are the same one.
///
/// ```
/// use towline_agents::{Model, Price, Style};
///
/// # fn model() -> Result<Model, Box<dyn std::error::Error>> {
/// let price = Price::new("USD", "2.50".parse()?, "10".parse()?).cached_input("1.25".parse()?);
/// let model = Model::new(Style::OpenAi, "https://api.openai.com/v1", "sk-…")?.price("gpt-4o*", price)?;
/// # Ok(model)
/// # }
/// ```
#[derive(Clone)]
pub struct Model {
    service: Arc<Service>,
}

#[derive(Clone)]
struct Service {
    style: Style,
    base: String,
    key: Secret,
    prices: Prices,
    client: reqwest::Client,
}

/// A model service that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Its base is not the beginning of a URL.
    #[error("the base `{0}` is not an http or https URL without user, query and fragment")]
    Base(String),
    /// Its key is empty.
    #[error("the key is empty")]
    NoKey,
    /// A price is for no pattern of models.
    #[error("the pattern of models `{pattern}` is malformed: {cause}")]
    Pattern {
        /// What it was.
        pattern: String,
        /// What is wrong with it.
        cause: PatternError,
    },
    /// A price cannot be counted with.
    #[error("the price {0} is negative, or has more than twelve digits")]
    Price(Amount),
    /// No client can be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The same.
    #[error("no HTTP client can be set up: {0}")]
    Client(String),
}

impl Model {
    /// A service of a style at a base: `https://api.openai.com/v1`, `https://api.anthropic.com`. Nothing has a price yet.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn new(style: Style, base: &str, key: impl Into<Secret>) -> Result<Self, ModelError> {
        let key = key.into();
        if key.expose().is_empty() {
            return Err(ModelError::NoKey);
        }
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(Trust::system().config()?)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .user_agent(concat!("towline/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ModelError::Client(error.to_string()))?;
        Ok(Self {
            service: Arc::new(Service {
                style,
                base: based(style, base).ok_or_else(|| ModelError::Base(base.to_owned()))?,
                key,
                prices: Prices::default(),
                client,
            }),
        })
    }

    /// Sets the price of the models that a pattern covers. Of several patterns the model's own name counts, else the longest. A
    /// model without a price is refused to a job with a budget, and costs nothing to others.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn price(mut self, pattern: &str, price: Price) -> Result<Self, ModelError> {
        if let Some(amount) = price.uncountable() {
            return Err(ModelError::Price(amount));
        }
        let compiled = Pattern::parse(pattern, Prices::KIND);
        let compiled = compiled.map_err(|cause| ModelError::Pattern {
            pattern: pattern.to_owned(),
            cause,
        })?;
        Arc::make_mut(&mut self.service).prices.add(compiled, price);
        Ok(self)
    }

    fn style(&self) -> Style {
        self.service.style
    }

    fn key(&self) -> &Secret {
        &self.service.key
    }

    fn client(&self) -> &reqwest::Client {
        &self.service.client
    }

    fn price_of(&self, model: &str) -> Option<&Price> {
        self.service.prices.of(model)
    }

    fn url(&self, endpoint: Endpoint, query: Option<&str>) -> String {
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        format!("{}{}{query}", self.service.base, endpoint.path)
    }

    /// The beginning of an answer as the program gets it: what is the upstream's connection, or shows the operator's key, does
    /// not go on.
    fn passed_on(&self, status: StatusCode, headers: &HeaderMap) -> Response<()> {
        let mut answer = Response::new(());
        *answer.status_mut() = status;
        *answer.headers_mut() = headers.clone();
        let headers = answer.headers_mut();
        strip_hop_by_hop(headers);
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::SET_COOKIE);
        let key = self.key().expose().as_bytes();
        let shows =
            |value: &header::HeaderValue| memchr::memmem::find(value.as_bytes(), key).is_some();
        let telling: Vec<_> = headers
            .iter()
            .filter(|(_, value)| shows(value))
            .map(|(name, _)| name.clone())
            .collect();
        for name in telling {
            headers.remove(name);
        }
        answer
    }

    /// Cuts the operator's key out of what an upstream says: some repeat what they were sent.
    fn scrub(&self, bytes: Bytes) -> Bytes {
        let key = self.key().expose().as_bytes();
        let mut found = memchr::memmem::find_iter(&bytes, key).peekable();
        if found.peek().is_none() {
            return bytes;
        }
        let mut clean = Vec::with_capacity(bytes.len());
        let mut from = 0;
        for at in found {
            clean.extend_from_slice(&bytes[from..at]);
            clean.extend_from_slice(b"[redacted]");
            from = at + key.len();
        }
        clean.extend_from_slice(&bytes[from..]);
        clean.into()
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("style", &self.service.style)
            .field("base", &self.service.base)
            .finish_non_exhaustive()
    }
}

/// A base with the version in it, and no slash at its end.
fn based(style: Style, base: &str) -> Option<String> {
    let url = Url::parse(base).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let base = plain.then(|| url.as_str().trim_end_matches('/').to_owned())?;
    let versioned = match style {
        Style::Anthropic => base.ends_with("/v1"),
        // Many have a path of their own, which has the version in it.
        _ => !url.path().trim_end_matches('/').is_empty(),
    };
    Some(if versioned {
        base
    } else {
        format!("{base}/v1")
    })
}

/// The models of one job.
pub(super) struct Models {
    ctx: JobContext,
    model: Model,
    key: JobKey,
    flight: Flight,
}

impl Models {
    pub(super) fn new(ctx: &JobContext, model: Model) -> Arc<Self> {
        Arc::new(Self {
            key: ctx.own_key(),
            ctx: ctx.clone(),
            model,
            flight: Flight::new(),
        })
    }

    /// What the program finds in its environment.
    pub(super) fn variables(&self, port: u16) -> [(String, String); 2] {
        self.model.style().variables(port, self.key.value())
    }

    /// Waits until the budget is used up, and every answer was given. Cancel safe.
    pub(super) async fn spent(&self) {
        self.flight.down().await;
    }

    /// Whether a call used the budget up.
    pub(super) fn is_spent(&self) -> bool {
        self.flight.is_spent()
    }

    /// Waits until every call is paid for. Cancel safe.
    pub(super) async fn settled(&self) {
        self.flight.landed().await;
    }

    /// Answers a request of the program's.
    pub(super) async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let style = self.model.style();
        match self.begin(request).await {
            Ok(answer) => answer,
            Err(refused) => style.refuse(&refused),
        }
    }

    async fn begin(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refused> {
        let style = self.model.style();
        let path = request.uri().path();
        let offered = style
            .endpoint(path)
            .filter(|_| *request.method() == Method::POST);
        let endpoint = offered.ok_or_else(|| {
            let (method, offered) = (request.method(), style.offered());
            let message = format!("`{method} {path}` is not offered; there are {offered}");
            Refused::new(StatusCode::NOT_FOUND, ErrorCode::INVALID_REQUEST, message)
        })?;
        if !self.key.opens(Style::presented(request.headers())) {
            let message = "the key is not the one of this job, or its job is over";
            let status = StatusCode::UNAUTHORIZED;
            return Err(Refused::new(status, ErrorCode::UNAUTHENTICATED, message));
        }
        let query = request.uri().query().map(str::to_owned);
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, LARGEST_REQUEST).collect().await;
        let body = body.map_err(|cause| {
            let message =
                format!("the request cannot be read: {cause}; it may have {LARGEST_REQUEST} bytes");
            Refused::invalid(message)
        })?;
        let call = Call {
            models: Arc::clone(self),
            endpoint,
            headers: parts.headers,
            query,
            request: ModelRequest::read(style, &body.to_bytes())?,
        };
        let (head, answer) = oneshot::channel();
        drop(tokio::spawn(call.run(head)));
        answer
            .await
            .map_err(|_| Refused::beyond("the call came to no answer"))
    }
}

impl fmt::Debug for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Models")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_have_a_version() {
        use Style::{Anthropic, OpenAi};
        for (style, base, expected) in [
            (
                OpenAi,
                "https://api.openai.com/v1",
                Some("https://api.openai.com/v1"),
            ),
            (
                OpenAi,
                "https://api.openai.com/v1/",
                Some("https://api.openai.com/v1"),
            ),
            (
                OpenAi,
                "http://127.0.0.1:8000",
                Some("http://127.0.0.1:8000/v1"),
            ),
            (
                OpenAi,
                "https://x.test/openai/",
                Some("https://x.test/openai"),
            ),
            (
                Anthropic,
                "https://api.anthropic.com",
                Some("https://api.anthropic.com/v1"),
            ),
            (
                Anthropic,
                "https://api.anthropic.com/v1",
                Some("https://api.anthropic.com/v1"),
            ),
            (OpenAi, "https://u:p@x.test/v1", None),
            (OpenAi, "https://x.test/v1?a=b", None),
            (OpenAi, "ftp://x.test", None),
            (OpenAi, "x.test", None),
        ] {
            assert_eq!(based(style, base).as_deref(), expected, "{base}");
        }
    }

    #[test]
    fn the_operators_key_is_cut_out() {
        let model = Model::new(Style::OpenAi, "http://x.test", "sk_op").unwrap();
        let said = Bytes::from_static(b"bad key sk_op, not sk_op!");
        assert_eq!(
            &model.scrub(said)[..],
            b"bad key [redacted], not [redacted]!"
        );
        let mut headers = HeaderMap::new();
        headers.insert("x-echo", "Bearer sk_op".parse().unwrap());
        headers.insert("x-other", "fine".parse().unwrap());
        let passed = model.passed_on(StatusCode::OK, &headers);
        assert!(
            !passed.headers().contains_key("x-echo") && passed.headers().contains_key("x-other")
        );
        assert!(!format!("{model:?}").contains("sk_op"));
    }
}
