//! Opening the file: whose it is, that nobody else writes it, and how SQLite is to treat it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{
    Durability, SqliteOptions,
    error::DbError,
    schema::{self, Kind},
};
use crate::StoreError;

/// Where a store's files are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: PathBuf,
}

impl Place {
    /// Makes the path absolute, so that neither a later change of directory nor a name SQLite would take for a URI
    /// changes what it means.
    pub(super) fn of(path: &Path) -> Result<Self, DbError> {
        let file = std::path::absolute(path).map_err(|error| at(path, "resolve", &error))?;
        Ok(Self { file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.file
    }

    pub(super) fn name(&self) -> String {
        self.file.display().to_string()
    }

    /// Bytes of the database and of its log.
    pub(super) fn bytes(&self) -> u64 {
        let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        length(&self.file) + length(&self.beside("-wal"))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// Sees to it that the file is there, readable by its owner alone: it holds the values of credentials that have to
    /// be revoked [ARCP 9.8-5].
    fn create(&self) -> Result<(), DbError> {
        private(&self.file)
            .map(drop)
            .map_err(|error| at(&self.file, "open", &error))
    }

    /// Takes the lock that keeps a second writer out. The system releases it however the process ends.
    fn lock(&self) -> Result<File, DbError> {
        let path = self.beside("-lock");
        let file = private(&path).map_err(|error| at(&path, "open", &error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(format!(
                "`{}` is in use by another towline process; stop it or name another file",
                self.name()
            ))
            .into()),
            Err(TryLockError::Error(error)) => Err(at(&path, "lock", &error)),
        }
    }
}

/// Creates a file that must not be there yet.
pub(super) fn create_new(place: &Place) -> Result<(), DbError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(place.path())
        .map(drop)
        .map_err(|error| at(place.path(), "create", &error))
}

/// Removes a file nobody needs; that it cannot be removed is only worth a line in the log.
pub(super) fn remove(place: &Place) {
    if let Err(error) = fs::remove_file(place.path()) {
        tracing::warn!(file = place.name(), %error, "a half-written copy could not be removed");
    }
}

fn at(path: &Path, what: &str, error: &io::Error) -> DbError {
    DbError(StoreError::Failed(format!(
        "cannot {what} `{}`: {error}",
        path.display()
    )))
}

fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Opens the file for writing, creating it when it is not there. The lock belongs to the caller.
pub(super) fn for_writing(
    place: &Place,
    options: &SqliteOptions,
) -> Result<(File, Connection), DbError> {
    if let Some(directory) = place.path().parent() {
        create_directory(directory)
            .map_err(|error| at(directory, "create the directory", &error))?;
    }
    let lock = place.lock()?;
    place.create()?;
    let mut conn = connect(place, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if named(place, schema::kind(&conn, &place.name(), schema::STEPS))? == Kind::Fresh {
        // Both only take effect before the first table.
        conn.pragma_update(None, "page_size", PAGE_BYTES)?;
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Failed(format!(
            "`{}` cannot be kept with a write-ahead log (SQLite says `{mode}`); put it on a local disk",
            place.name()
        ))
        .into());
    }
    let synchronous = match options.durability {
        Durability::Process => "NORMAL",
        Durability::Power => "FULL",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    // Checkpoints have a thread of their own.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", JOURNAL_BYTES)?;
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    // What is deleted, a credential's value say, is overwritten where the page is written anyhow [ARCP 9.8-5].
    conn.pragma_update_and_check(None, "secure_delete", "FAST", |_| Ok(()))?;
    schema::migrate(&mut conn, &place.name(), schema::STEPS)?;
    Ok((lock, conn))
}

/// Opens the file of a store that somebody may be writing.
pub(super) fn for_reading(place: &Place) -> Result<Connection, DbError> {
    let conn = connect(place, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    conn.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    Ok(conn)
}

/// Opens the file for copying the log into it, which is all the connection does.
pub(super) fn for_checkpoints(place: &Place) -> Result<Connection, DbError> {
    let conn = connect(place, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(conn)
}

/// Opens the file of another process's store, or of none, for looking at it.
pub(super) fn for_inspection(place: &Place) -> Result<(Connection, usize), DbError> {
    if !place.path().is_file() {
        return Err(StoreError::Failed(format!("there is no store at `{}`", place.name())).into());
    }
    let conn = for_reading(place)?;
    match named(place, schema::kind(&conn, &place.name(), schema::STEPS))? {
        Kind::Store(version) if version == schema::STEPS.len() => Ok((conn, version)),
        Kind::Store(version) => Err(StoreError::Incompatible(format!(
            "`{}` has schema {version} and this version of towline works on {}; open it once with `towline serve`",
            place.name(),
            schema::STEPS.len()
        ))
        .into()),
        Kind::Fresh => Err(StoreError::Incompatible(format!("`{}` is empty, no towline store", place.name())).into()),
    }
}

fn connect(place: &Place, access: OpenFlags) -> Result<Connection, DbError> {
    let conn = Connection::open_with_flags(place.path(), access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| {
            DbError(StoreError::Failed(format!(
                "cannot open `{}`: {error}",
                place.name()
            )))
        })?;
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// SQLite does not say which file is not a database.
fn named<T>(place: &Place, result: Result<T, DbError>) -> Result<T, DbError> {
    result.map_err(|DbError(error)| match error {
        StoreError::Incompatible(text) if !text.contains(&place.name()) => DbError(
            StoreError::Incompatible(format!("`{}` is no towline store: {text}", place.name())),
        ),
        other => DbError(other),
    })
}

const PAGE_BYTES: i64 = 4096;
/// The log is cut back to this when it begins anew.
pub(super) const JOURNAL_BYTES: i64 = 64 << 20;
const WRITER_CACHE_KIB: i64 = 32 << 10;
const READER_CACHE_KIB: i64 = 4 << 10;
pub(super) const BUSY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_decides_whether_a_commit_waits_for_the_disk() {
        for (durability, synchronous) in [(Durability::Process, 1), (Durability::Power, 2)] {
            let directory = tempfile::tempdir().unwrap();
            let place = Place::of(&directory.path().join("store.db")).unwrap();
            let options = SqliteOptions::new().durability(durability);
            let (_lock, conn) = for_writing(&place, &options).unwrap();
            let found: i64 = conn
                .pragma_query_value(None, "synchronous", |row| row.get(0))
                .unwrap();
            assert_eq!(found, synchronous);
        }
    }
}
