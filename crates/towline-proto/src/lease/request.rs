//! What a submit asks for, validated [ARCP 9.2-1, 9.2-5, 9.5-1, 9.6-1].

use towline_wire::{Lease, LeaseConstraints, Timestamp};

use super::{effort::Care, error::LeaseError, set::LeaseSet};

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
    validate_request_with(lease, constraints, now, Care::Full)
}

/// The same, with so much care.
///
/// # Errors
/// As [`validate_request`]; with [`Care::Quick`], [`LeaseError::TooComplex`] may only mean that more care is needed.
pub fn validate_request_with(
    lease: &Lease,
    constraints: &LeaseConstraints,
    now: Timestamp,
    care: Care,
) -> Result<ValidRequest, LeaseError> {
    let leases = LeaseSet::compile_with(lease, care)?;
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
    match stored_expiry(constraints)? {
        Some(expires_at) if expires_at <= now => Err(LeaseError::PastExpiry(expires_at)),
        expires_at => Ok(expires_at),
    }
}

/// The expiry, in UTC written with `Z`; it may have passed.
pub(super) fn stored_expiry(
    constraints: &LeaseConstraints,
) -> Result<Option<Timestamp>, LeaseError> {
    let read =
        |text: &String| Timestamp::parse_utc(text).map_err(|_| LeaseError::BadExpiry(text.clone()));
    constraints.expires_at.as_ref().map(read).transpose()
}
