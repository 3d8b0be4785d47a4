//! `[server]`: where it listens, and what it bears.

use std::path::PathBuf;

use serde::Deserialize;
use towline::axum::Proxy;

use super::{
    agents::on_budget_exhausted,
    file::{File, SpanValue},
};
use crate::{failure::Outcome, values};

/// `[server]`
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ServerSection {
    pub(crate) listen: Option<String>,
    pub(crate) unix: Option<PathBuf>,
    pub(crate) path: Option<String>,
    pub(crate) allowed_hosts: Option<Vec<String>>,
    pub(crate) allowed_origins: Option<Vec<String>>,
    #[serde(alias = "trust_forwarded_for")]
    pub(crate) trusted_proxies: Option<Vec<String>>,
    pub(crate) tls_terminated: Option<bool>,
    pub(crate) conceal_foreign_jobs: Option<bool>,
    pub(crate) on_budget_exhausted: Option<String>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) heartbeat: Option<SpanValue>,
    pub(crate) resume_window: Option<SpanValue>,
    pub(crate) idle_timeout: Option<SpanValue>,
    pub(crate) hello_timeout: Option<SpanValue>,
    pub(crate) drain: Option<SpanValue>,
    pub(crate) demo: Option<bool>,
    pub(crate) allow_unconfined_root: Option<bool>,
    pub(crate) allow_network_by_port: Option<bool>,
    pub(crate) dashboard: Option<bool>,
    pub(crate) dashboard_connect: Option<Vec<String>>,
    pub(crate) limits: LimitsSection,
}

/// A message of fewer bytes holds no hello with a token in it.
const LEAST_MESSAGE: u32 = 1024;

/// `[server.limits]`
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct LimitsSection {
    pub(crate) sessions_per_principal: Option<u32>,
    pub(crate) jobs_per_principal: Option<u32>,
    pub(crate) jobs: Option<u32>,
    pub(crate) message_bytes: Option<u32>,
    pub(crate) detached_sessions_per_principal: Option<u32>,
    pub(crate) children_per_principal: Option<u32>,
    pub(crate) descendants: Option<u32>,
    pub(crate) waiting_per_principal: Option<u32>,
    pub(crate) waiting_bytes_per_principal: Option<u64>,
    pub(crate) log_bytes: Option<u64>,
    pub(crate) log_events: Option<u64>,
    pub(crate) log_bytes_per_principal: Option<u64>,
    pub(crate) connections: Option<u32>,
    pub(crate) connections_per_address: Option<u32>,
    pub(crate) known_connections_per_address: Option<u32>,
    pub(crate) long_requests_per_principal: Option<u32>,
    pub(crate) failed_tokens_per_address: Option<u32>,
    pub(crate) hello_bytes: Option<u32>,
    pub(crate) detached_sessions: Option<u32>,
    pub(crate) subscriptions_per_session: Option<u32>,
    pub(crate) waiting: Option<u32>,
    pub(crate) waiting_bytes: Option<u64>,
    pub(crate) children: Option<u32>,
    pub(crate) depth: Option<u32>,
    pub(crate) result_bytes: Option<u64>,
}

impl ServerSection {
    pub(super) fn validate(&self, file: &File) -> Outcome<()> {
        file.checked("server.listen", &self.listen, values::listen_address)?;
        file.checked("server.path", &self.path, values::endpoint_path)?;
        let span = |key, value: &Option<SpanValue>, check: fn(&str) -> _| {
            file.span(key, value.as_ref(), check)
        };
        span("server.heartbeat", &self.heartbeat, values::heartbeat)?;
        span("server.resume_window", &self.resume_window, str::parse)?;
        for (key, value) in [
            ("server.hello_timeout", &self.hello_timeout),
            ("server.idle_timeout", &self.idle_timeout),
        ] {
            span(key, value, values::positive_span)?;
        }
        span("server.drain", &self.drain, str::parse)?;
        for proxy in self.trusted_proxies.iter().flatten() {
            if let Err(error) = proxy.parse::<Proxy>() {
                let message = format!("has `{proxy}`, which is {error}");
                return Err(file.wrong("server.trusted_proxies", &message));
            }
        }
        file.checked(
            "server.on_budget_exhausted",
            &self.on_budget_exhausted,
            on_budget_exhausted,
        )?;
        self.limits.validate(file)?;
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(file.wrong(
                "server.tls_cert",
                "needs server.tls_key and the other way round; give both or neither",
            ));
        }
        Ok(())
    }
}

impl LimitsSection {
    fn validate(&self, file: &File) -> Outcome<()> {
        // With none of these nobody could do anything; the others may be none.
        for (key, value) in [
            ("connections", self.connections),
            ("connections_per_address", self.connections_per_address),
            (
                "known_connections_per_address",
                self.known_connections_per_address,
            ),
            (
                "long_requests_per_principal",
                self.long_requests_per_principal,
            ),
            ("failed_tokens_per_address", self.failed_tokens_per_address),
            ("sessions_per_principal", self.sessions_per_principal),
            ("jobs_per_principal", self.jobs_per_principal),
            ("jobs", self.jobs),
        ] {
            if value == Some(0) {
                let key = format!("server.limits.{key}");
                return Err(file.wrong(&key, "is `0`; give at least 1"));
            }
        }
        // Less than a hello or a submit takes.
        for (key, value) in [
            ("hello_bytes", self.hello_bytes),
            ("message_bytes", self.message_bytes),
        ] {
            if let Some(bytes) = value.filter(|bytes| *bytes < LEAST_MESSAGE) {
                let key = format!("server.limits.{key}");
                let message = format!("is `{bytes}`; give at least {LEAST_MESSAGE}");
                return Err(file.wrong(&key, &message));
            }
        }
        Ok(())
    }
}
