//! Opening the file: whose it is, that nobody else writes it, and how SQLite is to treat it.

#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::{
    error::Error,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use super::{
    Durability, SqliteOptions,
    error::DbError,
    schema::{self, Kind},
};
use crate::{Reason, StoreError};

/// Where a store's files are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: PathBuf,
}

/// Which file it is that has a name; a file that replaced another is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Place {
    /// Makes the path absolute, so that neither a later change of directory nor a name SQLite would take for a URI
    /// changes what it means, and follows it where it is a link: log and lock are beside the file itself, so that two names
    /// for it have one log and one lock.
    pub(super) fn of(path: &Path) -> Result<Self, DbError> {
        let file = std::path::absolute(path).map_err(|error| at(path, "resolve", error))?;
        if !file.is_symlink() {
            return Ok(Self { file });
        }
        match fs::canonicalize(&file) {
            Ok(file) => Ok(Self { file }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unfit(
                &file,
                "is a link to a file that is not there; name the file itself",
            )),
            Err(error) => Err(at(&file, "resolve", error)),
        }
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

    /// Which file the name stands for now; `None` when there is none.
    pub(super) fn identity(&self) -> Option<Identity> {
        let metadata = fs::metadata(&self.file).ok()?;
        #[cfg(unix)]
        return Some(Identity(metadata.dev(), metadata.ino()));
        #[cfg(not(unix))]
        // Such systems do not let a file be removed that is open.
        return Some(Identity(0, u64::from(metadata.is_file())));
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// Sees to it that the file is there, readable by its owner alone: it holds the values of credentials that have to
    /// be revoked [ARCP 9.8-5].
    fn create(&self) -> Result<(), DbError> {
        match fs::metadata(&self.file) {
            Ok(metadata) => self.inspect(&metadata)?,
            Err(_) if self.beside("-wal").exists() => {
                let problem = "is gone, but the log `-wal` beside it is there: what was committed last is in it. Put the \
                               file back, or move its `-wal` and `-shm` away to begin anew";
                return Err(unfit(&self.file, problem));
            }
            Err(_) => {}
        }
        private(&self.file)
            .map(drop)
            .map_err(|error| at(&self.file, "open", error))
    }

    /// Whether a file that is there can be ours alone.
    #[cfg(unix)]
    fn inspect(&self, metadata: &fs::Metadata) -> Result<(), DbError> {
        let mode = metadata.mode() & 0o777;
        if metadata.is_file() && metadata.nlink() > 1 {
            let problem = "has another name (a hard link). A log belongs to a name, so whoever opens the other one misses \
                           what was committed last: keep one name, and copy with `towline store backup`";
            return Err(unfit(&self.file, problem));
        }
        if metadata.is_file() && mode & 0o022 != 0 {
            let problem = format!(
                "can be written by others (mode {mode:04o}), who could decide what is run; after a look at what they did, \
                 `chmod 600` it"
            );
            return Err(unfit(&self.file, &problem));
        }
        if metadata.is_file() && mode & 0o044 != 0 {
            fs::set_permissions(&self.file, fs::Permissions::from_mode(0o600))
                .map_err(|error| at(&self.file, "make private", error))?;
            tracing::warn!(
                file = self.name(),
                mode = format_args!("{mode:04o}"),
                "others could read the store, which holds the values of credentials; it is private now"
            );
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn inspect(&self, _metadata: &fs::Metadata) -> Result<(), DbError> {
        Ok(())
    }

    /// Takes the lock that keeps a second writer out. The system releases it however the process ends.
    fn lock(&self) -> Result<File, DbError> {
        let path = self.beside("-lock");
        if path.is_symlink() {
            return Err(unfit(
                &path,
                "is a link, which a lock must not be; remove it",
            ));
        }
        let file = private(&path).map_err(|error| at(&path, "open", error))?;
        match lock_after_the_gone(&file, &path) {
            Ok(()) => {
                // Unsigned it is as good.
                let _ = sign(&file);
                Ok(file)
            }
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(
                format!(
                    "`{}` is in use by another towline process{}; stop it or name another file",
                    self.name(),
                    holder(&path).map_or_else(String::new, |pid| format!(" ({pid})"))
                )
                .into(),
            )
            .into()),
            Err(TryLockError::Error(error)) => Err(at(&path, "lock", error)),
        }
    }
}

/// Takes a lock. A process that was killed while it started another one leaves it with a copy of its files, which is closed
/// when that begins to run its program; so one that belongs to nobody who is still there is waited for.
fn lock_after_the_gone(file: &File, path: &Path) -> Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        let locked = file.try_lock();
        let waits = matches!(locked, Err(TryLockError::WouldBlock))
            && begun.elapsed() < GONE
            && holder(path).is_some_and(is_gone);
        if !waits {
            return locked;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// How long a lock is waited for whose holder is gone.
const GONE: Duration = Duration::from_secs(5);

/// How often it is tried meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Whether a process is known to have ended; where that cannot be told it counts as there.
fn is_gone(process: u32) -> bool {
    if !Path::new("/proc/self/stat").exists() {
        return false;
    }
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    // The state stands behind the name, which may hold anything: Z has ended and was not asked for its status yet.
    stat.map_or(true, |stat| {
        let state = stat.rsplit(") ").next();
        state.is_some_and(|state| state.starts_with(['Z', 'X']))
    })
}

/// Says whose a lock is, for those who find it taken.
fn sign(mut lock: &File) -> io::Result<()> {
    use std::io::Write as _;

    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())
}

/// The process that has a lock, where that can be read; one that has just taken it may not have signed yet.
fn holder(lock: &Path) -> Option<u32> {
    fs::read_to_string(lock).ok()?.trim().parse().ok()
}

/// Creates a file that must not be there yet.
pub(super) fn create_new(place: &Place) -> Result<(), DbError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    options
        .open(place.path())
        .map(drop)
        .map_err(|error| at(place.path(), "create", error))
}

/// Removes a file nobody needs; that it cannot be removed is only worth a line in the log.
pub(super) fn remove(place: &Place) {
    if let Err(error) = fs::remove_file(place.path()) {
        tracing::warn!(file = place.name(), %error, "a half-written copy could not be removed");
    }
}

/// A file where no store can be.
fn unfit(path: &Path, problem: &str) -> DbError {
    let text = format!("`{}` {problem}", path.display());
    DbError(StoreError::Incompatible(text.into()))
}

fn at(path: &Path, what: &str, error: io::Error) -> DbError {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; a store has its log and its lock beside it, so its user has to be able to write the file and its directory"
        }
        _ => "",
    };
    let text = format!("cannot {what} `{}`: {error}{remedy}", path.display());
    DbError(StoreError::Failed(Reason::because(text, error)))
}

fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    options.mode(0o600);
    options.open(path)
}

fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    builder.create(path)
}

/// Opens the file for writing, creating it when it is not there. The lock belongs to the caller.
pub(super) fn for_writing(
    place: &Place,
    options: &SqliteOptions,
) -> Result<(File, Connection), DbError> {
    if let Some(directory) = place.path().parent() {
        create_directory(directory)
            .map_err(|error| at(directory, "create the directory", error))?;
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
        ).into())
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
        return Err(
            StoreError::Failed(format!("there is no store at `{}`", place.name()).into()).into(),
        );
    }
    let conn = for_reading(place)?;
    let kind = schema::kind(&conn, &place.name(), schema::STEPS);
    match named(place, kind.map_err(|error| unreadable(place, error)))? {
        Kind::Store(version) if version == schema::STEPS.len() => Ok((conn, version)),
        Kind::Store(version) => Err(StoreError::Incompatible(format!(
            "`{}` has schema {version} and this version of towline works on {}; open it once with `towline serve`",
            place.name(),
            schema::STEPS.len()
        ).into())
        .into()),
        Kind::Fresh => Err(unfit(place.path(), "is empty, no towline store")),
    }
}

/// SQLite reads a store through a file of its own beside it, and does not say that it could not make it.
fn unreadable(place: &Place, DbError(error): DbError) -> DbError {
    let StoreError::Failed(reason) = error else {
        return DbError(error);
    };
    let code = reason
        .source()
        .and_then(|source| source.downcast_ref::<rusqlite::Error>())
        .and_then(rusqlite::Error::sqlite_error_code);
    if !matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)) {
        return DbError(StoreError::Failed(reason));
    }
    let text = format!(
        "cannot read `{}`: {reason}; SQLite needs to write `-shm` beside it: run this as a user that may write the directory, \
         or copy the file and its `-wal` to one",
        place.name()
    );
    DbError(StoreError::Failed(reason.reworded(text)))
}

fn connect(place: &Place, access: OpenFlags) -> Result<Connection, DbError> {
    let conn = Connection::open_with_flags(place.path(), access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| {
            let text = format!("cannot open `{}`: {error}", place.name());
            DbError(StoreError::Failed(Reason::because(text, error)))
        })?;
    conn.busy_timeout(BUSY)?;
    // A file may be anybody's: what its schema says must not run anything, and nothing may write the schema itself.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // With statistics of values compiled in, SQLite plans a statement anew when its values change. Ours each have one good
    // plan, whatever the values.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

/// SQLite does not say which file is not a database.
fn named<T>(place: &Place, result: Result<T, DbError>) -> Result<T, DbError> {
    result.map_err(|DbError(error)| match error {
        StoreError::Incompatible(reason) if !reason.contains(&place.name()) => {
            let text = format!("`{}` is no towline store: {reason}", place.name());
            DbError(StoreError::Incompatible(reason.reworded(text)))
        }
        other => DbError(other),
    })
}

const PAGE_BYTES: i64 = 4096;
/// The log is cut back to this when it begins anew.
pub(super) const JOURNAL_BYTES: i64 = 64 << 20;
const WRITER_CACHE_KIB: i64 = 32 << 10;
const READER_CACHE_KIB: i64 = 4 << 10;
/// How many statements a connection keeps prepared: more than there are.
const STATEMENTS: usize = 64;
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

    #[test]
    fn a_file_of_somebody_elses_making_runs_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::of(&directory.path().join("store.db")).unwrap();
        let (_lock, conn) = for_writing(&place, &SqliteOptions::new()).unwrap();
        for conn in [
            conn,
            for_reading(&place).unwrap(),
            for_checkpoints(&place).unwrap(),
        ] {
            let is_on = |what| conn.db_config(what).unwrap();
            assert!(!is_on(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA));
            assert!(is_on(DbConfig::SQLITE_DBCONFIG_DEFENSIVE));
            assert!(is_on(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG));
        }
    }

    #[test]
    fn what_may_not_be_written_is_explained() {
        for kind in [
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::ReadOnlyFilesystem,
        ] {
            let DbError(error) = at(Path::new("/x/store.db-lock"), "open", kind.into());
            let text = error.to_string();
            assert!(
                text.contains("/x/store.db-lock") && text.contains("its directory"),
                "{text}"
            );
        }
        let place = Place::of(Path::new("/x/store.db")).unwrap();
        let cause = rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
            None,
        );
        let DbError(error) = unreadable(&place, cause.into());
        let text = error.to_string();
        assert!(
            text.contains("/x/store.db") && text.contains("-shm"),
            "{text}"
        );
    }
}
