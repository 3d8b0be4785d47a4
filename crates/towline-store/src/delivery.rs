//! Messages that are to be delivered to somebody over HTTP.

use towline_wire::{JobId, RawJson, Timestamp};

use crate::Principal;

/// A message of a job that is to be delivered [ARCP 16-6].
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryRow {
    /// Its name, the same over all tries.
    pub id: String,
    /// The job it tells of.
    pub job: JobId,
    /// Whose job that is.
    pub principal: Principal,
    /// When it was committed, with the event that it tells of.
    pub created_at: Timestamp,
    /// Whether it is still to be delivered.
    pub pending: bool,
    /// Where to, of what, how far it came: as the runtime writes it.
    pub data: RawJson,
    /// What is delivered. `null` where many rows are read at once: see [`EventStore::deliveries`](crate::EventStore::deliveries).
    pub body: RawJson,
}

/// How far a message came.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryState {
    /// Its name.
    pub id: String,
    /// Whether it is still to be delivered.
    pub pending: bool,
    /// As in its row.
    pub data: RawJson,
}

/// Which messages to list.
#[derive(Debug, Clone, Default)]
pub struct DeliveryQuery {
    /// Only those of jobs of this principal; `None` means all.
    pub principal: Option<Principal>,
    /// At most this many.
    pub limit: usize,
}
