//! What operators do with a store: copy it, look at it, make it smaller.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, backup::Backup};

use super::{
    SqliteStore,
    error::DbError,
    open::{self, Place},
    rows::{all, int, read_audit},
    verify,
};
use crate::{AuditRow, EventStore, StoreError, StoreStats, VerifyReport};

impl SqliteStore {
    /// Checks the file at `path` in depth: SQLite's own check, and that logs, streams and counters fit together. Works
    /// while a process has the store open, on what was committed when it began. Blocks the calling thread.
    ///
    /// # Errors
    /// When the file cannot be read or is no store; what is wrong inside it is in the report.
    pub fn verify(path: impl AsRef<Path>) -> Result<VerifyReport, StoreError> {
        let place = Place::of(path.as_ref())?;
        let (conn, schema) = open::for_inspection(&place)?;
        Ok(verify::verify(&conn, schema, place.bytes())?)
    }

    /// Copies the store at `path` to the file `to`, which must not exist, as one moment had it. Works while a process
    /// has the store open; commits go on. Blocks the calling thread.
    ///
    /// # Errors
    /// When `to` exists, or either file cannot be read or written.
    pub fn backup(path: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), StoreError> {
        let (from, to) = (Place::of(path.as_ref())?, Place::of(to.as_ref())?);
        let (conn, _) = open::for_inspection(&from)?;
        // One read transaction around all of it: otherwise each commit would make the copy begin anew.
        conn.execute_batch("BEGIN; SELECT count(*) FROM meta;")
            .map_err(DbError::from)?;
        open::create_new(&to)?;
        let copied = copy(&conn, &to);
        if copied.is_err() {
            open::remove(&to);
        }
        Ok(copied?)
    }

    /// How much is in the store at `path`. Works while a process has it open. Blocks the calling thread.
    ///
    /// # Errors
    /// When the file cannot be read or is no store.
    pub fn stats_of(path: impl AsRef<Path>) -> Result<StoreStats, StoreError> {
        let place = Place::of(path.as_ref())?;
        let (conn, _) = open::for_inspection(&place)?;
        Ok(verify::stats(&conn, place.bytes())?)
    }

    /// The latest entries of the audit log of the store at `path`, at most so many, oldest first. Works while a process has it
    /// open. Blocks the calling thread.
    ///
    /// # Errors
    /// When the file cannot be read or is no store.
    pub fn audit_of(path: impl AsRef<Path>, latest: usize) -> Result<Vec<AuditRow>, StoreError> {
        let place = Place::of(path.as_ref())?;
        let (conn, _) = open::for_inspection(&place)?;
        Ok(latest_audits(&conn, latest)?)
    }

    /// Writes the file anew without the space that is free in it; how many bytes that gave back. Commits wait
    /// meanwhile, and as much space as the store takes is needed beside it.
    ///
    /// # Errors
    /// When the disk is full or failing; then the file stays as it was.
    pub async fn compact(&self) -> Result<u64, StoreError> {
        let before = self.stats().await?.disk_bytes;
        self.run(|writer| {
            writer.flush()?;
            writer.conn.execute_batch("VACUUM").map_err(DbError::from)?;
            writer.finish_log();
            Ok(())
        })
        .await?;
        Ok(before.saturating_sub(self.stats().await?.disk_bytes))
    }

    /// Bounds the size of the database file from now on, its log not counted. A commit that would exceed it fails with
    /// [`StoreError::Full`]; a bound below the present size keeps the file from growing. Not kept across a restart.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn limit_size(&self, bytes: u64) -> Result<(), StoreError> {
        self.run(move |writer| {
            let page: i64 = writer
                .conn
                .pragma_query_value(None, "page_size", |row| row.get(0))
                .map_err(DbError::from)?;
            let pages = (bytes / page.unsigned_abs().max(1)).clamp(1, u64::from(u32::MAX) - 1);
            writer
                .conn
                .pragma_update_and_check(
                    None,
                    "max_page_count",
                    i64::try_from(pages).unwrap_or(i64::MAX),
                    |_| Ok(()),
                )
                .map_err(DbError::from)?;
            Ok(())
        })
        .await
    }
}

/// The latest entries of the audit log, oldest first.
pub(super) fn latest_audits(conn: &Connection, latest: usize) -> Result<Vec<AuditRow>, DbError> {
    let sql = "SELECT at, action, data FROM audit ORDER BY n DESC LIMIT ?1";
    let latest = int(latest as u64);
    let mut rows = all(&mut conn.prepare_cached(sql)?.query([latest])?, read_audit)?;
    rows.reverse();
    Ok(rows)
}

fn copy(conn: &Connection, to: &Place) -> Result<(), DbError> {
    let mut target = Connection::open(to.path())?;
    Backup::new(conn, &mut target)?.run_to_completion(BACKUP_PAGES, Duration::ZERO, None)?;
    // The copy is one file: it needs no log until it is opened.
    target.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    Ok(())
}

const BACKUP_PAGES: i32 = 4096;
