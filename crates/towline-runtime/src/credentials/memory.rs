//! Credentials that no upstream knows, for tries and tests.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;
use towline_env::Ids;
use towline_wire::Secret;

use super::{
    CredentialProvisioner, IssueRequest, Issued, ProvisionError, Revocation, UpstreamValue,
};

/// Makes values that are good for nothing but [`InMemoryProvisioner::accepts`]. Clones share what they made; it is gone
/// with the process, as if the upstream had lost it.
#[derive(Clone)]
pub struct InMemoryProvisioner {
    endpoint: String,
    ids: Ids,
    values: Arc<Mutex<BTreeMap<String, Secret>>>,
}

impl InMemoryProvisioner {
    /// A provisioner whose credentials claim to be good at an endpoint.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            ids: Ids::system(),
            values: Arc::default(),
        }
    }

    /// Whether a value was made and is not revoked.
    pub fn accepts(&self, value: &str) -> bool {
        let values = self.values.lock();
        values
            .values()
            .any(|known| known.expose().as_bytes().ct_eq(value.as_bytes()).into())
    }

    /// The references of the values that are good, in order.
    pub fn outstanding(&self) -> Vec<String> {
        self.values.lock().keys().cloned().collect()
    }
}

impl CredentialProvisioner for InMemoryProvisioner {
    fn name(&self) -> &str {
        "memory"
    }

    fn issue<'a>(
        &'a self,
        request: &'a IssueRequest,
    ) -> BoxFuture<'a, Result<Issued, ProvisionError>> {
        let value = Secret::from(format!(
            "mem_{:016x}{:016x}",
            self.ids.random(),
            self.ids.random()
        ));
        self.values
            .lock()
            .insert(request.reference.clone(), value.clone());
        let issued = Issued {
            scheme: "bearer".to_owned(),
            value,
            endpoint: self.endpoint.clone(),
            profile: None,
            upstream_ref: None,
        };
        std::future::ready(Ok(issued)).boxed()
    }

    fn revoke<'a>(
        &'a self,
        value: &'a UpstreamValue,
    ) -> BoxFuture<'a, Result<Revocation, ProvisionError>> {
        let found = self.values.lock().remove(&value.reference).is_some();
        let revocation = if found {
            Revocation::Revoked
        } else {
            Revocation::NotFound
        };
        std::future::ready(Ok(revocation)).boxed()
    }
}

impl std::fmt::Debug for InMemoryProvisioner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InMemoryProvisioner")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
