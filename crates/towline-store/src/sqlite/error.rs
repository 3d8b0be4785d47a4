//! What SQLite says, in our words: the one place where its errors become a [`StoreError`].

use rusqlite::ErrorCode;

use crate::{Reason, StoreError};

/// A [`StoreError`] on its way out of this module; SQLite's own errors become one by `?`.
#[derive(Debug)]
pub(super) struct DbError(pub(super) StoreError);

impl From<StoreError> for DbError {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        error.0
    }
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        let text = match code {
            Some(ErrorCode::TooBig) => format!("{error}; commit less at a time"),
            _ => error.to_string(),
        };
        let reason = Reason::because(text, error);
        Self(match code {
            Some(ErrorCode::DiskFull) => StoreError::Full(reason),
            Some(ErrorCode::NotADatabase) => StoreError::Incompatible(reason),
            Some(ErrorCode::TooBig) => StoreError::Rejected(reason),
            // The check lets nothing through that breaks a constraint of a sound file.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::ConstraintViolation) => {
                StoreError::Corrupt(reason)
            }
            Some(_) => StoreError::Failed(reason),
            None => StoreError::Corrupt(reason),
        })
    }
}

/// A row that cannot have been written by this version.
pub(super) fn corrupt(what: impl std::fmt::Display) -> DbError {
    DbError(StoreError::Corrupt(what.to_string().into()))
}

/// The system gave no thread.
pub(super) fn no_thread(error: std::io::Error) -> StoreError {
    let text = format!("cannot start a thread: {error}");
    StoreError::Failed(Reason::because(text, error))
}
