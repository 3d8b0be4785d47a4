//! `[credentials]`: where jobs get keys of their own.

use std::path::PathBuf;

use serde::Deserialize;
use towline::runtime::credentials::{LiteLlmOptions, LiteLlmProvisioner};

use super::{Config, SpanValue};
use crate::{failure::Outcome, values};

/// `[credentials]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CredentialsSection {
    pub(crate) litellm: Option<LiteLlmSection>,
}

/// `[credentials.litellm]`
#[derive(Debug, Deserialize)]
pub(crate) struct LiteLlmSection {
    url: String,
    key_file: PathBuf,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    lifetime: Option<SpanValue>,
    #[serde(default)]
    timeout: Option<SpanValue>,
}

impl CredentialsSection {
    /// The file with the proxy's own key.
    pub(super) fn key_file(&self) -> Option<&PathBuf> {
        self.litellm.as_ref().map(|litellm| &litellm.key_file)
    }
}

impl Config {
    pub(super) fn validate_credentials(&self) -> Outcome<()> {
        let Some(litellm) = &self.credentials.litellm else {
            return Ok(());
        };
        for (key, span) in [
            ("lifetime", &litellm.lifetime),
            ("timeout", &litellm.timeout),
        ] {
            let key = format!("credentials.litellm.{key}");
            self.span(&key, span.as_ref(), values::positive_span)?;
        }
        Ok(())
    }

    /// The LiteLLM proxy of the file, if it names one.
    pub(crate) fn provisioner(&self) -> Outcome<Option<LiteLlmProvisioner>> {
        let Some(litellm) = &self.credentials.litellm else {
            return Ok(None);
        };
        let key = self.secret("credentials.litellm.key_file", &litellm.key_file)?;
        let mut options = LiteLlmOptions::new().models(litellm.models.iter().cloned());
        if let Some(name) = &litellm.name {
            options = options.name(name);
        }
        if let Some(endpoint) = &litellm.endpoint {
            options = options.endpoint(endpoint);
        }
        if let Some(span) = Self::span_of(litellm.lifetime.as_ref()) {
            options = options.lifetime(span.0);
        }
        if let Some(span) = Self::span_of(litellm.timeout.as_ref()) {
            options = options.timeout(span.0);
        }
        LiteLlmProvisioner::new(&litellm.url, key, options)
            .map(Some)
            .map_err(|error| self.wrong("credentials.litellm", &format!("cannot be used: {error}")))
    }
}
