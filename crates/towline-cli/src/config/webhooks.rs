//! `[webhooks]`: who may be told of jobs over HTTP [ARCP 16-6].

use std::path::PathBuf;

use serde::Deserialize;
use towline::{
    runtime::{Allowed, HttpWebhooks, WebhookSecret},
    wire::Secret,
};

use super::file::File;
use crate::failure::{Failure, Outcome};

/// `[webhooks]`
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct WebhooksSection {
    /// Where anything may be posted to: patterns of URLs.
    allow: Vec<String>,
    /// The file whose first line is the secret, `whsec_…`.
    secret_file: Option<PathBuf>,
    /// The file of the secret before, with which messages are signed too.
    previous_secret_file: Option<PathBuf>,
    /// One more authority that receivers' certificates may come from, as PEM.
    ca_cert: Option<PathBuf>,
}

impl WebhooksSection {
    /// What the file makes the program post to, if anything.
    pub(super) fn acts(&self) -> Option<String> {
        (!self.allow.is_empty()).then(|| format!("webhooks: {}", self.allow.join(", ")))
    }

    /// Where anything may be posted to.
    pub(super) fn allowed(&self, file: &File) -> Outcome<Allowed> {
        let allowed = Allowed::new(&self.allow);
        let allowed = allowed.map_err(|error| file.wrong("webhooks.allow", &error.to_string()))?;
        if !allowed.is_empty() && self.secret_file.is_none() {
            let message = "is missing: messages are signed; name a file that holds `whsec_` and what `openssl rand -base64 32` prints";
            return Err(file.wrong("webhooks.secret_file", message));
        }
        Ok(allowed)
    }

    /// Who posts, and where to; nothing when nothing may be posted.
    pub(super) fn sender(&self, file: &File) -> Outcome<Option<(Allowed, HttpWebhooks)>> {
        let allowed = self.allowed(file)?;
        if allowed.is_empty() {
            return Ok(None);
        }
        let files = [
            ("webhooks.secret_file", &self.secret_file),
            ("webhooks.previous_secret_file", &self.previous_secret_file),
        ];
        let mut secrets = Vec::new();
        for (key, path) in files {
            if let Some(path) = path {
                let text = Secret::from(file.secret(key, path)?);
                let secret = WebhookSecret::parse(&text);
                secrets.push(
                    secret.map_err(|error| {
                        file.wrong(key, &format!("names a file of which {error}"))
                    })?,
                );
            }
        }
        let mut authorities = Vec::new();
        if let Some(path) = &self.ca_cert {
            let path = file.path(path);
            authorities.push(std::fs::read_to_string(&path).map_err(|error| {
                let message = format!("names `{}`, which cannot be read: {error}", path.display());
                file.wrong("webhooks.ca_cert", &message)
            })?);
        }
        let sender = HttpWebhooks::trusting(secrets, &authorities).map_err(Failure::local)?;
        Ok(Some((allowed, sender)))
    }
}

/// `[agents.NAME] notify`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum NotifyValue {
    /// Of the end.
    Url(String),
    /// Of some events.
    Table(NotifyTable),
}

/// `[agents.NAME.notify]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NotifyTable {
    url: String,
    #[serde(default)]
    events: Vec<String>,
}

impl NotifyValue {
    pub(super) fn url(&self) -> &str {
        match self {
            Self::Url(url) => url,
            Self::Table(table) => &table.url,
        }
    }

    pub(super) fn events(&self) -> &[String] {
        match self {
            Self::Url(_) => &[],
            Self::Table(table) => &table.events,
        }
    }

    /// Whether it can be, and may be.
    pub(super) fn validate(&self, key: &str, allowed: &Allowed, file: &File) -> Outcome<()> {
        let events = ["started", "input_request", "ended"];
        if let Some(event) = self
            .events()
            .iter()
            .find(|name| !events.contains(&name.as_str()))
        {
            let message = format!("names the event `{event}`; there are {}", events.join(", "));
            return Err(file.wrong(key, &message));
        }
        let admitted = allowed.admit(self.url());
        admitted.map_err(|error| file.wrong(key, &format!("is refused: {error}")))?;
        Ok(())
    }
}
