//! What SQLite says, in our words: the one place where its errors become a [`StoreError`].

use rusqlite::ErrorCode;

use crate::StoreError;

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
        let text = error.to_string();
        Self(match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full(text),
            Some(ErrorCode::NotADatabase) => StoreError::Incompatible(text),
            Some(ErrorCode::TooBig) => {
                StoreError::Rejected(format!("{text}; commit less at a time"))
            }
            // The check lets nothing through that breaks a constraint of a sound file.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::ConstraintViolation) => {
                StoreError::Corrupt(text)
            }
            Some(_) => StoreError::Failed(text),
            None => StoreError::Corrupt(text),
        })
    }
}

/// A row that cannot have been written by this version.
pub(super) fn corrupt(what: impl std::fmt::Display) -> DbError {
    DbError(StoreError::Corrupt(what.to_string()))
}
