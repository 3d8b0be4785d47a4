//! The clients requests are made with, and how they look names up.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::web::{PublicOnly, WebError};

/// How agents reach the web through [`JobContext::http`](crate::JobContext::http).
#[derive(Debug, Clone)]
pub struct HttpOptions {
    pub(super) timeout: Duration,
    pub(super) body_limit: usize,
    pub(super) max_redirects: usize,
    pub(super) private_addresses: bool,
    system_proxy: bool,
    user_agent: String,
    root_certificates: Vec<String>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            body_limit: 64 << 20,
            max_redirects: 10,
            private_addresses: false,
            system_proxy: false,
            user_agent: concat!("towline/", env!("CARGO_PKG_VERSION")).to_owned(),
            root_certificates: Vec::new(),
        }
    }
}

impl HttpOptions {
    /// The defaults, as the setters name them.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a request may take in all, redirects and body included. Default: 30 s. A request may set its own.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many bytes of a body are read at most. Default: 64 MiB. A request may set its own.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// How many redirects of a request are followed, each authorised on its own. Default: 10.
    #[must_use]
    pub fn max_redirects(mut self, redirects: usize) -> Self {
        self.max_redirects = redirects;
        self
    }

    /// Lets every host that a lease covers be at a private, loopback or link-local address, not only those the lease names
    /// without wildcards. Default: off. A lease such as `http://**/**` then opens the runtime's own network, the metadata
    /// service of its cloud included.
    #[must_use]
    pub fn dangerously_allow_private_addresses(mut self, allow: bool) -> Self {
        self.private_addresses = allow;
        self
    }

    /// Uses the proxy the environment names (`HTTPS_PROXY` and the like). Default: off. Names are then looked up by the
    /// proxy, so that private addresses are its business.
    #[must_use]
    pub fn system_proxy(mut self, on: bool) -> Self {
        self.system_proxy = on;
        self
    }

    /// What requests call themselves. Default: `towline/` and its version.
    #[must_use]
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Trusts one more certificate authority, as PEM, beside those of the system. Default: none.
    #[must_use]
    pub fn root_certificate_pem(mut self, pem: impl Into<String>) -> Self {
        self.root_certificates.push(pem.into());
        self
    }
}

/// The clients of a runtime, made when they are first needed. One never connects to a private address; the other is for
/// hosts that may be at one. They share no connections.
#[derive(Debug, Default)]
pub(crate) struct HttpClients {
    pub(super) options: HttpOptions,
    guarded: OnceLock<reqwest::Client>,
    open: OnceLock<reqwest::Client>,
}

impl HttpClients {
    pub(crate) fn new(options: HttpOptions) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// The client for hosts at public addresses only, or at any.
    pub(super) fn client(&self, private: bool) -> Result<reqwest::Client, WebError> {
        let slot = if private { &self.open } else { &self.guarded };
        if let Some(client) = slot.get() {
            return Ok(client.clone());
        }
        let client = self.build(private)?;
        Ok(slot.get_or_init(|| client).clone())
    }

    fn build(&self, private: bool) -> Result<reqwest::Client, WebError> {
        let mut builder = crate::web::client(&self.options.root_certificates)?
            .referer(false)
            .user_agent(&self.options.user_agent);
        if !self.options.system_proxy {
            builder = builder.no_proxy();
        }
        // A proxy looks names up itself, and is most likely at a private address.
        if !private && !self.options.system_proxy {
            builder = builder.dns_resolver(Arc::new(PublicOnly));
        }
        builder.build().map_err(WebError::Client)
    }
}
