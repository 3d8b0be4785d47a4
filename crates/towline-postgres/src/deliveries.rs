//! Messages that are or were to be delivered: in a commit, and read.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Row};
use towline_store::{DeliveryQuery, DeliveryRow, DeliveryState, Principal, StoreError};

use crate::{
    read::{all, one},
    rows::{Read, boolean, job_id, json, text, time},
    state::State,
    statements::{Sql, Step, Value, int},
};

/// What a batch says of messages.
#[derive(Debug, Default)]
pub(crate) struct Deliveries<'a> {
    /// New ones, by name.
    new: BTreeMap<&'a str, (i64, &'a DeliveryRow)>,
    /// How far others came.
    states: BTreeMap<&'a str, &'a DeliveryState>,
}

impl<'a> Deliveries<'a> {
    pub(crate) fn put(&mut self, row: &'a DeliveryRow, state: &mut State) {
        self.new
            .entry(&row.id)
            .or_insert_with(|| (state.next.row(), row));
    }

    pub(crate) fn set(&mut self, state: &'a DeliveryState) {
        self.states.insert(&state.id, state);
    }

    /// The statements that write it.
    pub(crate) fn steps(&self, steps: &mut Vec<Step<'a>>) {
        if !self.new.is_empty() {
            // In the order in which they came.
            let mut rows: Vec<_> = self.new.values().copied().collect();
            rows.sort_by_key(|(n, _)| *n);
            steps.push(new_rows(&rows));
        }
        if !self.states.is_empty() {
            let states = || self.states.values();
            steps.push(Step::new(
                Sql::DeliveryState,
                vec![
                    Value::Texts(states().map(|state| state.id.as_bytes()).collect()),
                    Value::Bools(states().map(|state| state.pending).collect()),
                    Value::Texts(
                        states()
                            .map(|state| state.data.as_str().as_bytes())
                            .collect(),
                    ),
                ],
            ));
        }
    }
}

fn new_rows<'a>(rows: &[(i64, &'a DeliveryRow)]) -> Step<'a> {
    let texts = |of: &dyn Fn(&'a DeliveryRow) -> &'a str| {
        Value::Texts(rows.iter().map(|(_, row)| of(row).as_bytes()).collect())
    };
    let times = rows.iter().map(|(_, row)| row.created_at.unix_micros());
    Step::new(
        Sql::Delivery,
        vec![
            Value::Ints(rows.iter().map(|(n, _)| *n).collect()),
            texts(&|row| &row.id),
            texts(&|row| row.job.as_str()),
            texts(&|row| row.principal.as_str()),
            Value::Ints(times.collect()),
            Value::Bools(rows.iter().map(|(_, row)| row.pending).collect()),
            texts(&|row| row.data.as_str()),
            texts(&|row| row.body.as_str()),
        ],
    )
}

pub(crate) async fn find(client: &Client, id: &str) -> Result<Option<DeliveryRow>, StoreError> {
    let sql =
        "SELECT id, job, principal, created_at, pending, data, body FROM delivery WHERE id = $1";
    one(client, sql, &[&id.as_bytes()], read).await
}

pub(crate) async fn list(
    client: &Client,
    query: &DeliveryQuery,
) -> Result<Vec<DeliveryRow>, StoreError> {
    let limit = int(query.limit as u64);
    match &query.principal {
        Some(principal) => {
            let sql = "SELECT id, job, principal, created_at, pending, data, 'null'::bytea FROM delivery \
                       WHERE sha256(principal) = sha256($1::bytea) AND principal = $1 ORDER BY n DESC LIMIT $2";
            all(client, sql, &[&principal.as_str().as_bytes(), &limit], read).await
        }
        None => {
            let sql = "SELECT id, job, principal, created_at, pending, data, 'null'::bytea FROM delivery \
                       ORDER BY n DESC LIMIT $1";
            all(client, sql, &[&limit], read).await
        }
    }
}

pub(crate) async fn pending(client: &Client) -> Result<Vec<DeliveryRow>, StoreError> {
    let sql = "SELECT id, job, principal, created_at, pending, data, 'null'::bytea FROM delivery \
               WHERE pending ORDER BY n";
    all(client, sql, &[], read).await
}

/// Columns `id, job, principal, created_at, pending, data, body`.
fn read(row: &Row) -> Read<DeliveryRow> {
    Ok(DeliveryRow {
        id: text(row, 0)?.to_owned(),
        job: job_id(row, 1)?,
        principal: Principal::new(text(row, 2)?),
        created_at: time(row, 3)?,
        pending: boolean(row, 4)?,
        data: json(row, 5)?,
        body: json(row, 6)?,
    })
}
