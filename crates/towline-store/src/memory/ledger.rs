//! Idempotency keys, credentials and messages to be delivered.

use std::collections::{BTreeMap, HashMap, VecDeque};

use towline_wire::{CredentialId, JobId, RawJson, Timestamp};

use crate::{
    CredentialRow, DeliveryQuery, DeliveryRow, DeliveryState, IDEMPOTENCY_AGE, IdempotencyRow,
    Principal,
};

/// Idempotency keys, by principal so that a look-up needs no text of its own.
#[derive(Debug, Default)]
pub(super) struct Keys {
    of: HashMap<Principal, HashMap<String, IdempotencyRow>>,
    /// Every use in the order of commits.
    used: VecDeque<(Timestamp, Principal, String)>,
}

impl Keys {
    pub(super) fn find(&self, principal: &Principal, key: &str) -> Option<IdempotencyRow> {
        self.of.get(principal)?.get(key).cloned()
    }

    pub(super) fn put(&mut self, row: IdempotencyRow) {
        self.used
            .push_back((row.created_at, row.principal.clone(), row.key.clone()));
        self.of
            .entry(row.principal.clone())
            .or_default()
            .insert(row.key.clone(), row);
    }

    /// Forgets up to `limit` keys that are 24 hours old [ARCP 7.2-3]; whether there may be more.
    pub(super) fn expire(&mut self, now: Timestamp, limit: usize) -> bool {
        for _ in 0..limit {
            let Some((at, principal, key)) = self.used.front() else {
                return false;
            };
            if now.since(*at) < IDEMPOTENCY_AGE {
                return false;
            }
            // A key that was used again since stands in the queue once more, further back.
            if let Some(keys) = self.of.get_mut(principal) {
                if keys.get(key).is_some_and(|row| row.created_at == *at) {
                    keys.remove(key);
                }
                if keys.is_empty() {
                    self.of.remove(principal);
                }
            }
            self.used.pop_front();
        }
        true
    }
}

/// The ledger of credentials.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// In the order they were first committed.
    rows: BTreeMap<u64, CredentialRow>,
    numbers: HashMap<CredentialId, u64>,
    of: HashMap<JobId, Vec<u64>>,
    next: u64,
}

impl Credentials {
    pub(super) fn put(&mut self, row: CredentialRow) {
        if let Some(number) = self.numbers.get(&row.id) {
            self.rows.insert(*number, row);
            return;
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(row.id.clone(), number);
        self.of.entry(row.job.clone()).or_default().push(number);
        self.rows.insert(number, row);
    }

    pub(super) fn of(&self, job: &JobId) -> Vec<CredentialRow> {
        let numbers = self.of.get(job).map_or(&[][..], Vec::as_slice);
        numbers
            .iter()
            .filter_map(|number| self.rows.get(number))
            .cloned()
            .collect()
    }

    pub(super) fn outstanding(&self) -> Vec<CredentialRow> {
        self.rows
            .values()
            .filter(|row| row.outstanding)
            .cloned()
            .collect()
    }

    /// Forgets what is settled of a job that is no longer kept.
    pub(super) fn settle(&mut self, job: &JobId) {
        let Some(numbers) = self.of.get_mut(job) else {
            return;
        };
        numbers.retain(|number| {
            let keep = self.rows.get(number).is_some_and(|row| row.outstanding);
            if !keep && let Some(row) = self.rows.remove(number) {
                self.numbers.remove(&row.id);
            }
            keep
        });
        if numbers.is_empty() {
            self.of.remove(job);
        }
    }

    /// The jobs some credential is kept for.
    pub(super) fn jobs(&self) -> Vec<JobId> {
        self.of.keys().cloned().collect()
    }
}

/// Messages that are or were to be delivered.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    /// In the order they were committed.
    rows: BTreeMap<u64, DeliveryRow>,
    numbers: HashMap<String, u64>,
    of: HashMap<JobId, Vec<u64>>,
    next: u64,
}

impl Deliveries {
    pub(super) fn put(&mut self, row: DeliveryRow) {
        if self.numbers.contains_key(&row.id) {
            return;
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(row.id.clone(), number);
        self.of.entry(row.job.clone()).or_default().push(number);
        self.rows.insert(number, row);
    }

    pub(super) fn set(&mut self, state: DeliveryState) {
        let number = self.numbers.get(&state.id);
        if let Some(row) = number.and_then(|number| self.rows.get_mut(number)) {
            row.pending = state.pending;
            row.data = state.data;
        }
    }

    pub(super) fn find(&self, id: &str) -> Option<DeliveryRow> {
        self.rows.get(self.numbers.get(id)?).cloned()
    }

    pub(super) fn list(&self, query: &DeliveryQuery) -> Vec<DeliveryRow> {
        let of = |row: &&DeliveryRow| {
            let wanted = query.principal.as_ref();
            wanted.is_none_or(|principal| *principal == row.principal)
        };
        let latest = self.rows.values().rev().filter(of).take(query.limit);
        latest.map(bodiless).collect()
    }

    pub(super) fn pending(&self) -> Vec<DeliveryRow> {
        let pending = self.rows.values().filter(|row| row.pending);
        pending.map(bodiless).collect()
    }

    /// Forgets what is settled of a job that is no longer kept.
    pub(super) fn settle(&mut self, job: &JobId) {
        let Some(numbers) = self.of.get_mut(job) else {
            return;
        };
        numbers.retain(|number| {
            let keep = self.rows.get(number).is_some_and(|row| row.pending);
            if !keep && let Some(row) = self.rows.remove(number) {
                self.numbers.remove(&row.id);
            }
            keep
        });
        if numbers.is_empty() {
            self.of.remove(job);
        }
    }

    /// The jobs some message is kept for.
    pub(super) fn jobs(&self) -> Vec<JobId> {
        self.of.keys().cloned().collect()
    }
}

fn bodiless(row: &DeliveryRow) -> DeliveryRow {
    DeliveryRow {
        id: row.id.clone(),
        job: row.job.clone(),
        principal: row.principal.clone(),
        created_at: row.created_at,
        pending: row.pending,
        data: row.data.clone(),
        body: RawJson::NULL,
    }
}
