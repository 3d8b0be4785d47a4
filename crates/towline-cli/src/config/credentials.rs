//! `[credentials]`: where jobs get keys of their own.

use std::path::PathBuf;

use serde::Deserialize;
use towline::runtime::credentials::{LiteLlmOptions, LiteLlmProvisioner};

use super::file::{File, SpanValue};
use crate::{
    failure::Outcome,
    values::{self, without_user},
};

/// `[credentials]`
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct CredentialsSection {
    pub(crate) litellm: Option<LiteLlmSection>,
}

/// `[credentials.litellm]`
#[derive(Debug, PartialEq, Deserialize)]
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

impl LiteLlmSection {
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl CredentialsSection {
    /// The file with the proxy's own key.
    pub(super) fn key_file(&self) -> Option<&PathBuf> {
        self.litellm.as_ref().map(|litellm| &litellm.key_file)
    }

    pub(super) fn validate(&self, file: &File) -> Outcome<()> {
        let Some(litellm) = &self.litellm else {
            return Ok(());
        };
        for (key, span) in [
            ("lifetime", &litellm.lifetime),
            ("timeout", &litellm.timeout),
        ] {
            let key = format!("credentials.litellm.{key}");
            file.span(&key, span.as_ref(), values::positive_span)?;
        }
        Ok(())
    }

    /// The LiteLLM proxy of the file, if it names one.
    pub(super) fn provisioner(&self, file: &File) -> Outcome<Option<LiteLlmProvisioner>> {
        let Some(litellm) = &self.litellm else {
            return Ok(None);
        };
        let key = file.secret("credentials.litellm.key_file", &litellm.key_file)?;
        let mut options = LiteLlmOptions::new().models(litellm.models.iter().cloned());
        if let Some(name) = &litellm.name {
            options = options.name(name);
        }
        if let Some(endpoint) = &litellm.endpoint {
            options = options.endpoint(endpoint);
        }
        if let Some(span) = litellm.lifetime.as_ref().and_then(SpanValue::span) {
            options = options.lifetime(span.0);
        }
        if let Some(span) = litellm.timeout.as_ref().and_then(SpanValue::span) {
            options = options.timeout(span.0);
        }
        LiteLlmProvisioner::new(&litellm.url, key, options)
            .map(Some)
            .map_err(|error| {
                let error = error
                    .to_string()
                    .replace(&litellm.url, &without_user(&litellm.url));
                file.wrong("credentials.litellm", &format!("cannot be used: {error}"))
            })
    }
}
