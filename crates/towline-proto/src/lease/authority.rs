//! What one job may do right now: its lease, its expiry and its counters, asked in a fixed order.

use std::{borrow::Cow, fmt, sync::Arc};

use towline_wire::{ErrorCode, Lease, LeaseConstraints, Timestamp, namespace};

use super::{
    budget::Budget,
    error::{LeaseError, shorten},
    request::{ValidRequest, stored_expiry},
    set::{AskedFor, Decision, LeaseSet},
};

/// The authority of one job.
///
/// Ask [`decide`](Self::decide) before every operation; keep the counters current through
/// [`budget_mut`](Self::budget_mut). It reads no clock: the caller says what time it is.
#[derive(Debug, Clone)]
pub struct Authority {
    leases: Arc<LeaseSet>,
    expires_at: Option<Timestamp>,
    budget: Budget,
    models: UnnamedModels,
    /// What a person granted beside the lease [ARCP 15-6]; `None` as long as that is nothing.
    granted: Option<Arc<LeaseSet>>,
}

/// What a lease that does not name `model.use` means for a job [ARCP 9.7-1, 9.4-4].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnnamedModels {
    /// No model may be used.
    Forbidden,
    /// Every model may be used.
    Free,
}

/// Something a job wants to do that needs a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation<'v> {
    /// Read this path.
    FsRead(&'v str),
    /// Write this path.
    FsWrite(&'v str),
    /// Fetch this URL. Every hop of a redirect is an operation of its own [ARCP 9.2-4].
    NetFetch(&'v str),
    /// Call this tool.
    ToolCall(&'v str),
    /// Delegate to this agent, `name@version` once the version is resolved.
    Delegate(&'v str),
    /// Use this model.
    ModelUse(&'v str),
    /// An operation of any namespace that holds patterns, such as a vendor's.
    Other {
        /// The namespace.
        namespace: &'v str,
        /// What of it.
        value: &'v str,
    },
}

/// An operation against which neither time nor money speak; the patterns are still to be asked, which may take a while and
/// needs nothing but this.
#[derive(Debug)]
pub struct Ask<'v> {
    leases: Arc<LeaseSet>,
    granted: Option<Arc<LeaseSet>>,
    operation: Operation<'v>,
    every_model: bool,
}

/// The patterns of a job at one moment, to compare others with.
#[derive(Debug, Clone)]
pub struct Reach {
    leases: Arc<LeaseSet>,
    granted: Option<Arc<LeaseSet>>,
}

/// An operation that may be done, now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant<'l, 'v> {
    /// The pattern that covers it; `None` for a model where the lease need not name models.
    pub pattern: Option<&'l str>,
    /// The normalised value: what is done must be done to this one, not to the text that was asked for.
    pub value: Cow<'v, str>,
}

/// An operation that may not be done, as the agent and the peer are told [ARCP 9.3-1].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denial {
    code: ErrorCode,
    message: String,
}

impl Authority {
    /// The authority of a job without a parent that was just accepted: what was validated, with full counters.
    ///
    /// `require_model_use` is the deployment's rule, see [`UnnamedModels::of`].
    pub fn new(request: ValidRequest, require_model_use: bool) -> Self {
        Self::with_models(request, UnnamedModels::of(require_model_use, false))
    }

    /// The authority of a job whose lease was stored. The lease was valid when it was granted; its expiry may have passed
    /// since, and is kept. `budget` is the counters as they were stored; without them they are full.
    ///
    /// # Errors
    /// [`LeaseError`] when what was stored is no lease or no moment. Use [`Authority::nothing`] then: what cannot be
    /// read grants nothing.
    pub fn restored(
        lease: &Lease,
        constraints: &LeaseConstraints,
        budget: Option<Budget>,
        models: UnnamedModels,
    ) -> Result<Self, LeaseError> {
        let leases = LeaseSet::compile(lease)?;
        let expires_at = stored_expiry(constraints)?;
        let full = Self::with_models(ValidRequest { leases, expires_at }, models);
        Ok(match budget {
            Some(budget) => full.with_budget(budget),
            None => full,
        })
    }

    /// An authority for nothing at all.
    pub fn nothing() -> Self {
        let request = ValidRequest {
            leases: LeaseSet::default(),
            expires_at: None,
        };
        Self::with_models(request, UnnamedModels::Forbidden)
    }

    pub(super) fn with_models(request: ValidRequest, models: UnnamedModels) -> Self {
        let budget = Budget::new(request.leases.amounts());
        Self {
            leases: Arc::new(request.leases),
            expires_at: request.expires_at,
            budget,
            models,
            granted: None,
        }
    }

    /// The same with counters that were stored.
    #[must_use]
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// The same with what a person granted beside the lease, for the rest of the job [ARCP 15-6].
    ///
    /// # Errors
    /// [`LeaseError`] for what is no pattern; then nothing is granted anew.
    pub fn set_granted(&mut self, granted: &Lease) -> Result<(), LeaseError> {
        self.granted = Some(Arc::new(LeaseSet::compile(granted)?));
        Ok(())
    }

    /// Whether the job may do something at `now`. Looks at the expiry, then at the counters, then at the patterns
    /// [ARCP 9.3-1].
    ///
    /// # Errors
    /// [`Denial`] with LEASE_EXPIRED, BUDGET_EXHAUSTED or PERMISSION_DENIED.
    pub fn decide<'v>(
        &self,
        operation: Operation<'v>,
        now: Timestamp,
    ) -> Result<Grant<'_, 'v>, Denial> {
        self.check_time_and_money(operation, now)?;
        let granted = self.granted.as_deref();
        covered(&self.leases, granted, operation, self.allows_every_model())
    }

    /// The first part of [`Authority::decide`]; [`Ask::decide`] is the other. Whoever holds a lock around an authority need not
    /// hold it while patterns are matched.
    ///
    /// # Errors
    /// [`Denial`] with LEASE_EXPIRED or BUDGET_EXHAUSTED.
    pub fn ask<'v>(&self, operation: Operation<'v>, now: Timestamp) -> Result<Ask<'v>, Denial> {
        self.check_time_and_money(operation, now)?;
        Ok(Ask {
            leases: Arc::clone(&self.leases),
            granted: self.granted.clone(),
            operation,
            every_model: self.allows_every_model(),
        })
    }

    fn check_time_and_money(&self, operation: Operation<'_>, now: Timestamp) -> Result<(), Denial> {
        if let Some(expired) = self.expires_at.filter(|_| self.is_expired(now)) {
            let reason = format_args!("the lease expired at {expired}");
            return Err(Denial::new(ErrorCode::LEASE_EXPIRED, operation, reason));
        }
        if let Some(spent) = self.budget.exhausted() {
            let reason = format_args!(
                "the budget is used up, {} {} is left",
                spent.amount, spent.currency
            );
            return Err(Denial::new(ErrorCode::BUDGET_EXHAUSTED, operation, reason));
        }
        Ok(())
    }

    /// Whether the lease's time is over: at `expires_at` it is [ARCP 9.5-2].
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| now >= expires_at)
    }

    /// The patterns and amounts that were granted.
    pub fn leases(&self) -> &LeaseSet {
        &self.leases
    }

    /// What it covers now: the lease, and what a person granted beside it. Cheap; whoever holds a lock around an authority need
    /// not hold it while patterns are compared.
    pub fn reach(&self) -> Reach {
        Reach {
            leases: Arc::clone(&self.leases),
            granted: self.granted.clone(),
        }
    }

    /// When the lease's time is over.
    pub const fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// The counters.
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The counters, to be changed.
    pub const fn budget_mut(&mut self) -> &mut Budget {
        &mut self.budget
    }

    /// Whether the lease leaves models open.
    pub(super) fn allows_every_model(&self) -> bool {
        self.models == UnnamedModels::Free && !self.leases.names(namespace::MODEL_USE)
    }
}

impl Reach {
    /// Whether everything that a lease covers is covered, by the job's lease or by what was granted beside it.
    pub fn contains(&self, wanted: &LeaseSet) -> bool {
        let granted = self.granted.as_ref();
        self.leases.contains(wanted).is_ok()
            || granted.is_some_and(|granted| granted.contains(wanted).is_ok())
    }

    /// Whether a value is covered, or a person may be asked to let it through [ARCP 15-6].
    pub fn reaches(&self, namespace: &str, value: &str) -> bool {
        let granted = self.granted.as_ref();
        self.leases.check(namespace, value).is_allowed()
            || granted.is_some_and(|granted| granted.check(namespace, value).is_allowed())
            || self.leases.ask(namespace, value).is_some()
    }

    /// Whether some value of a namespace that begins so may be covered.
    pub fn covers_some(&self, namespace: &str, beginning: &str) -> bool {
        let granted = self.granted.as_ref();
        self.leases.covers_some(namespace, beginning)
            || granted.is_some_and(|granted| granted.covers_some(namespace, beginning))
    }

    /// The same, or a person may be asked to let it through [ARCP 15-6].
    pub fn reaches_some(&self, namespace: &str, beginning: &str) -> bool {
        self.covers_some(namespace, beginning) || self.leases.asks_some(namespace, beginning)
    }
}

impl<'v> Ask<'v> {
    /// Whether the patterns cover the operation.
    ///
    /// # Errors
    /// [`Denial`] with PERMISSION_DENIED.
    pub fn decide(&self) -> Result<Grant<'_, 'v>, Denial> {
        let granted = self.granted.as_deref();
        covered(&self.leases, granted, self.operation, self.every_model)
    }

    /// What a person may be asked when the patterns do not cover the operation [ARCP 15-6].
    pub fn question(&self) -> Option<AskedFor<'v>> {
        self.leases
            .ask(self.operation.namespace(), self.operation.value())
    }
}

/// Asks the patterns.
fn covered<'l, 'v>(
    leases: &'l LeaseSet,
    granted: Option<&'l LeaseSet>,
    operation: Operation<'v>,
    every_model: bool,
) -> Result<Grant<'l, 'v>, Denial> {
    if every_model && operation.namespace() == namespace::MODEL_USE {
        return Ok(Grant {
            pattern: None,
            value: operation.value().into(),
        });
    }
    let (namespace, value) = (operation.namespace(), operation.value());
    let mut decision = leases.check(namespace, value);
    if let (Decision::Denied(_), Some(granted)) = (&decision, granted) {
        // What the lease says is the better reason where neither covers it.
        let beside = granted.check(namespace, value);
        if beside.is_allowed() {
            decision = beside;
        }
    }
    match decision {
        Decision::Allowed { pattern, value } => Ok(Grant {
            pattern: Some(pattern.as_str()),
            value,
        }),
        Decision::Denied(reason) => Err(Denial::new(
            ErrorCode::PERMISSION_DENIED,
            operation,
            format_args!("{reason}"),
        )),
    }
}

impl UnnamedModels {
    /// By the deployment's rule for jobs without a parent (`require_model_use`, by default set). A child may use what its
    /// own lease names, whatever its root was left free to do [ARCP 9.4-4].
    pub const fn of(require_model_use: bool, is_child: bool) -> Self {
        if require_model_use || is_child {
            Self::Forbidden
        } else {
            Self::Free
        }
    }

    /// Whether a job with this lease may use any model at all, so that a credential for models is of use to it.
    pub fn let_use_some(self, lease: &Lease) -> bool {
        if lease.grants(namespace::MODEL_USE) {
            !lease.patterns(namespace::MODEL_USE).is_empty()
        } else {
            self == Self::Free
        }
    }
}

impl<'v> Operation<'v> {
    /// The operation of a namespace.
    pub fn of(namespace: &'v str, value: &'v str) -> Self {
        match namespace {
            namespace::FS_READ => Self::FsRead(value),
            namespace::FS_WRITE => Self::FsWrite(value),
            namespace::NET_FETCH => Self::NetFetch(value),
            namespace::TOOL_CALL => Self::ToolCall(value),
            namespace::AGENT_DELEGATE => Self::Delegate(value),
            namespace::MODEL_USE => Self::ModelUse(value),
            _ => Self::Other { namespace, value },
        }
    }

    /// The namespace that has to cover it.
    pub const fn namespace(self) -> &'v str {
        match self {
            Self::FsRead(_) => namespace::FS_READ,
            Self::FsWrite(_) => namespace::FS_WRITE,
            Self::NetFetch(_) => namespace::NET_FETCH,
            Self::ToolCall(_) => namespace::TOOL_CALL,
            Self::Delegate(_) => namespace::AGENT_DELEGATE,
            Self::ModelUse(_) => namespace::MODEL_USE,
            Self::Other { namespace, .. } => namespace,
        }
    }

    /// What is to be read, called, fetched, ….
    pub const fn value(self) -> &'v str {
        match self {
            Self::FsRead(value)
            | Self::FsWrite(value)
            | Self::NetFetch(value)
            | Self::ToolCall(value)
            | Self::Delegate(value)
            | Self::ModelUse(value)
            | Self::Other { value, .. } => value,
        }
    }
}

impl Denial {
    fn new(code: ErrorCode, operation: Operation<'_>, reason: fmt::Arguments<'_>) -> Self {
        // A URL may carry a secret in its query or as user information, and neither is matched.
        let value = match operation {
            Operation::NetFetch(url) => without_secrets(url),
            other => other.value().into(),
        };
        Self {
            code,
            message: format!(
                "{} `{}` denied: {reason}",
                operation.namespace(),
                shorten(&value)
            ),
        }
    }

    /// A person was asked and said no, or nobody was there [ARCP 15-3, 15-6].
    pub fn not_approved(operation: Operation<'_>, why: &str) -> Self {
        Self::new(
            ErrorCode::PERMISSION_DENIED,
            operation,
            format_args!("{why}"),
        )
    }

    /// The operation is about the runtime's own files, which no lease covers [ARCP 14-9].
    pub fn protected(operation: Operation<'_>) -> Self {
        let reason = format_args!("it belongs to the runtime itself, and no lease covers that");
        Self::new(ErrorCode::PERMISSION_DENIED, operation, reason)
    }

    /// How it is told to the peer.
    pub const fn code(&self) -> &ErrorCode {
        &self.code
    }

    /// What a person is told.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// A URL without query, fragment and user information.
fn without_secrets(url: &str) -> Cow<'_, str> {
    let hierarchy = url.split(['?', '#']).next().unwrap_or(url);
    let Some((scheme, rest)) = hierarchy.split_once("://") else {
        return hierarchy.into();
    };
    let (authority, path) = rest.split_at(rest.find(['/', '\\']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{path}").into(),
        None => hierarchy.into(),
    }
}
