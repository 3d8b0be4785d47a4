//! What a submit asks for, validated [ARCP 9.2-1, 9.2-5, 9.5-1, 9.6-1].

use towline_wire::{Lease, LeaseConstraints, Timestamp};

use super::{error::LeaseError, set::LeaseSet};

/// A lease request that is well formed.
#[derive(Debug, Clone)]
pub struct ValidRequest {
    /// The compiled lease.
    pub leases: LeaseSet,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// Checks what a submit asks for: known namespaces, well-formed patterns and amounts, and an expiry in UTC after `now`.
///
/// # Errors
/// [`LeaseError`], told as INVALID_REQUEST with its text.
pub fn validate_request(
    lease: &Lease,
    constraints: &LeaseConstraints,
    now: Timestamp,
) -> Result<ValidRequest, LeaseError> {
    let leases = LeaseSet::compile(lease)?;
    Ok(ValidRequest {
        leases,
        expires_at: expiry(constraints, now)?,
    })
}

/// The expiry, in UTC written with `Z` and after `now`.
pub(super) fn expiry(
    constraints: &LeaseConstraints,
    now: Timestamp,
) -> Result<Option<Timestamp>, LeaseError> {
    let Some(text) = &constraints.expires_at else {
        return Ok(None);
    };
    let expires_at = Timestamp::parse_utc(text).map_err(|_| LeaseError::BadExpiry(text.clone()))?;
    match expires_at > now {
        true => Ok(Some(expires_at)),
        false => Err(LeaseError::PastExpiry(expires_at)),
    }
}
