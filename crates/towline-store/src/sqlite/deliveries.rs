//! Messages that are or were to be delivered.

use rusqlite::{Connection, OptionalExtension, Row, params};
use towline_wire::JobId;

use super::{
    error::{DbError, corrupt},
    rows::{all, json, text, time},
};
use crate::{DeliveryQuery, DeliveryRow, DeliveryState, Principal};

pub(super) fn put(conn: &Connection, row: &DeliveryRow) -> Result<(), DbError> {
    conn.prepare_cached(
        "INSERT INTO delivery (id, job, principal, created_at, pending, orphan, data, body) \
         VALUES (?1, ?2, ?3, ?4, ?5, NOT EXISTS (SELECT 1 FROM job WHERE id = ?2), ?6, ?7) \
         ON CONFLICT (id) DO NOTHING",
    )?
    .execute(params![
        row.id,
        row.job.as_str(),
        row.principal.as_str(),
        row.created_at.unix_micros(),
        row.pending,
        row.data.as_str(),
        row.body.as_str()
    ])?;
    Ok(())
}

pub(super) fn set(conn: &Connection, state: &DeliveryState) -> Result<(), DbError> {
    conn.prepare_cached("UPDATE delivery SET pending = ?2, data = ?3 WHERE id = ?1")?
        .execute(params![state.id, state.pending, state.data.as_str()])?;
    Ok(())
}

pub(super) fn find(conn: &Connection, id: &str) -> Result<Option<DeliveryRow>, DbError> {
    let sql =
        "SELECT id, job, principal, created_at, pending, data, body FROM delivery WHERE id = ?1";
    let mut statement = conn.prepare_cached(sql)?;
    let found = statement.query_row([id], |row| Ok(read(row)));
    found.optional()?.transpose()
}

pub(super) fn list(conn: &Connection, query: &DeliveryQuery) -> Result<Vec<DeliveryRow>, DbError> {
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    match &query.principal {
        Some(principal) => {
            let sql = "SELECT id, job, principal, created_at, pending, data, 'null' FROM delivery \
                       WHERE principal = ?1 ORDER BY n DESC LIMIT ?2";
            let mut statement = conn.prepare_cached(sql)?;
            all(
                &mut statement.query(params![principal.as_str(), limit])?,
                read,
            )
        }
        None => {
            let sql = "SELECT id, job, principal, created_at, pending, data, 'null' FROM delivery \
                       ORDER BY n DESC LIMIT ?1";
            all(&mut conn.prepare_cached(sql)?.query([limit])?, read)
        }
    }
}

pub(super) fn pending(conn: &Connection) -> Result<Vec<DeliveryRow>, DbError> {
    let sql = "SELECT id, job, principal, created_at, pending, data, 'null' FROM delivery \
               WHERE pending = 1 ORDER BY n";
    all(&mut conn.prepare(sql)?.query([])?, read)
}

/// Columns `id, job, principal, created_at, pending, data, body`.
fn read(row: &Row<'_>) -> Result<DeliveryRow, DbError> {
    Ok(DeliveryRow {
        id: text(row, 0)?.to_owned(),
        job: JobId::parse(text(row, 1)?).map_err(corrupt)?,
        principal: Principal::new(text(row, 2)?),
        created_at: time(row, 3)?,
        pending: row.get(4)?,
        data: json(row, 5)?,
        body: json(row, 6)?,
    })
}
