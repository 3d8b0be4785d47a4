//! Virtual keys of a LiteLLM proxy.

mod bounds;
mod http;
#[cfg(test)]
mod tests;

use std::time::Duration;

use futures_util::{FutureExt as _, future::BoxFuture};
use reqwest::{StatusCode, Url};
use serde::{Deserialize, Serialize};
use towline_wire::{Amount, Secret};

use self::{bounds::Bounds, http::Proxy};
use super::{
    CredentialProvisioner, IssueRequest, Issued, ProvisionError, Revocation, UpstreamValue,
};

/// Issues virtual keys of a [LiteLLM](https://docs.litellm.ai/docs/proxy/virtual_keys) proxy, one a job.
///
/// The lease's bounds become the key's: `cost.budget` its `max_budget` (LiteLLM counts US dollars, so a lease that budgets
/// another currency only is refused), `model.use` its `models`, `expires_at` its `duration`. LiteLLM knows no patterns, and
/// takes an empty list of models for all of them; so a pattern with wildcards is resolved against the models the operator
/// names with [`LiteLlmOptions::models`], and a lease that comes to no model gets no key.
///
/// Keys are made under an alias, `towline.` and the reference of the value, and are deleted by it; so a key whose making was
/// never answered can be deleted too. The proxy has to keep its keys in a database, as it does for all virtual keys.
///
/// ```no_run
/// use towline_runtime::{Runtime, credentials::{LiteLlmOptions, LiteLlmProvisioner}};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = LiteLlmOptions::new().models(["gpt-4o", "claude-sonnet"]);
/// let provisioner = LiteLlmProvisioner::new("https://llm.example.com", "sk-master", options)?;
/// let builder = Runtime::builder().credentials(provisioner);
/// # drop(builder);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LiteLlmProvisioner {
    proxy: Proxy,
    options: LiteLlmOptions,
}

/// How keys are made.
#[derive(Debug, Clone)]
pub struct LiteLlmOptions {
    name: String,
    endpoint: Option<String>,
    models: Vec<String>,
    lifetime: Option<Duration>,
    pub(super) timeout: Duration,
}

impl Default for LiteLlmOptions {
    fn default() -> Self {
        Self {
            name: "litellm".to_owned(),
            endpoint: None,
            models: Vec::new(),
            lifetime: None,
            timeout: Duration::from_secs(10),
        }
    }
}

impl LiteLlmOptions {
    /// The defaults, as the setters name them.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the ledger calls this proxy. Default: `litellm`. It has to stay the same while keys are out.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Where jobs reach the proxy, when that is elsewhere than for the runtime. Default: the same URL.
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// The models the proxy offers to jobs. Default: none, and then leases may name models only without wildcards.
    #[must_use]
    pub fn models<M: Into<String>>(mut self, models: impl IntoIterator<Item = M>) -> Self {
        self.models = models.into_iter().map(Into::into).collect();
        self
    }

    /// How long a key lives at most, whatever happens to the runtime; jobs that run longer lose theirs. Default: as long as
    /// the lease.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// How long a request to the proxy may take. Default: 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// Why a LiteLLM proxy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LiteLlmConfigError {
    /// The URL is not one.
    #[error("the proxy's URL cannot be used: {0}")]
    Url(String),
    /// The key cannot stand in a header.
    #[error("the proxy's key holds characters that no header can")]
    Key,
    /// The HTTP client cannot be made.
    #[error("no HTTP client can be made: {0}")]
    Client(String),
}

impl LiteLlmProvisioner {
    /// A proxy and the key that may manage its keys (its master key, or one with the right to).
    ///
    /// # Errors
    /// [`LiteLlmConfigError`] when the URL is neither `https` nor `http` on loopback, or the key is malformed.
    pub fn new(
        url: &str,
        key: impl Into<Secret>,
        options: LiteLlmOptions,
    ) -> Result<Self, LiteLlmConfigError> {
        let proxy = Proxy::new(url, &key.into(), options.timeout)?;
        Ok(Self { proxy, options })
    }

    async fn generate(&self, request: &IssueRequest) -> Result<Issued, ProvisionError> {
        let bounds = Bounds::of(&request.constraints, &self.options.models)?;
        let lifetime = [request.constraints.expires_in, self.options.lifetime]
            .into_iter()
            .flatten()
            .min();
        let alias = alias(&request.reference);
        let body = Generate {
            key_alias: &alias,
            models: &bounds.models,
            max_budget: bounds.max_budget,
            duration: lifetime.map(|lifetime| format!("{}s", lifetime.as_secs().max(1))),
            metadata: Metadata {
                towline_job: request.job.as_str(),
                towline_credential: request.credential.as_str(),
                towline_principal: request.principal.as_str(),
            },
        };
        let answer = self.proxy.post("key/generate", &body).await?;
        let key: Generated = answer.read()?;
        Ok(Issued {
            scheme: "bearer".to_owned(),
            value: key.key,
            endpoint: self
                .options
                .endpoint
                .clone()
                .unwrap_or_else(|| self.proxy.url().to_owned()),
            profile: Some("openai".to_owned()),
            upstream_ref: Some(alias),
        })
    }

    async fn delete(&self, value: &UpstreamValue) -> Result<Revocation, ProvisionError> {
        let alias = value
            .upstream_ref
            .clone()
            .unwrap_or_else(|| alias(&value.reference));
        let answer = self
            .proxy
            .ask(
                "key/delete",
                &Delete {
                    key_aliases: [&alias],
                },
            )
            .await?;
        match answer.status {
            // A proxy answers so, too, whose URL is wrong; only these words tell that it looked.
            StatusCode::NOT_FOUND if answer.says("no keys found") => Ok(Revocation::NotFound),
            _ => answer.accepted().map(|_| Revocation::Revoked),
        }
    }
}

impl CredentialProvisioner for LiteLlmProvisioner {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn issue<'a>(
        &'a self,
        request: &'a IssueRequest,
    ) -> BoxFuture<'a, Result<Issued, ProvisionError>> {
        self.generate(request).boxed()
    }

    fn revoke<'a>(
        &'a self,
        value: &'a UpstreamValue,
    ) -> BoxFuture<'a, Result<Revocation, ProvisionError>> {
        self.delete(value).boxed()
    }
}

/// `POST /key/generate`.
#[derive(Serialize)]
struct Generate<'a> {
    key_alias: &'a str,
    models: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    max_budget: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<String>,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    towline_job: &'a str,
    towline_credential: &'a str,
    towline_principal: &'a str,
}

#[derive(Deserialize)]
struct Generated {
    key: Secret,
}

/// `POST /key/delete`.
#[derive(Serialize)]
struct Delete<'a> {
    key_aliases: [&'a str; 1],
}

/// The alias of a value, the same every time it is asked for.
fn alias(reference: &str) -> String {
    format!("towline.{reference}")
}

/// The proxy's URL, which has to keep the key secret on the way.
fn checked_url(url: &str) -> Result<Url, LiteLlmConfigError> {
    let refuse = |why: &str| LiteLlmConfigError::Url(why.to_owned());
    let mut parsed = Url::parse(url).map_err(|cause| refuse(&cause.to_string()))?;
    let local = match parsed.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match parsed.scheme() {
        "https" => {}
        "http" if local => {}
        "http" => {
            return Err(refuse(
                "keys go over https only, or over http to a loopback address",
            ));
        }
        other => return Err(refuse(&format!("`{other}` is not https"))),
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(refuse("user information does not belong there"));
    }
    parsed.set_query(None);
    parsed.set_fragment(None);
    if !parsed.path().ends_with('/') {
        let path = format!("{}/", parsed.path());
        parsed.set_path(&path);
    }
    Ok(parsed)
}
