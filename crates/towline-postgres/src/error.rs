//! What PostgreSQL says, in our words: the one place where its errors become a [`StoreError`].

use std::error::Error as _;

use tokio_postgres::{
    Error,
    error::{DbError, Severity, SqlState},
};
use towline_store::{Reason, StoreError};

/// What a statement's error says of the transaction it was in.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It was not applied, and never will be.
    Refused(StoreError),
    /// Nobody knows what became of it: the connection is of no use any more.
    Lost(Error),
}

/// Judges an error of a statement.
pub(crate) fn judge(error: Error) -> Trouble {
    match error.as_db_error() {
        Some(db) if is_certain(db) => Trouble::Refused(of_statement(error)),
        _ => Trouble::Lost(error),
    }
}

/// Whether the server has judged the statement, and will go on with the connection.
fn is_certain(db: &DbError) -> bool {
    let fatal = matches!(
        db.parsed_severity(),
        Some(Severity::Fatal | Severity::Panic) | None
    );
    let code = db.code().code();
    // Operator intervention, a lost connection, a server that only reads.
    let elsewhere = code.starts_with("57P")
        || code.starts_with("08")
        || *db.code() == SqlState::READ_ONLY_SQL_TRANSACTION;
    !fatal && !elsewhere
}

/// The error of a statement, wherever its connection may be now.
pub(crate) fn of_statement(error: Error) -> StoreError {
    let text = said(&error);
    let Some(code) = error.code().map(|code| code.code().to_owned()) else {
        return unavailable(error);
    };
    let reason = Reason::because(text, error);
    match (&code[..2], code.as_str()) {
        // Out of disk; the rest of the class is a server that has too much to do.
        (_, "53100") => StoreError::Full(reason),
        ("53" | "57" | "08" | "25" | "40" | "55" | "28", _) => StoreError::Unavailable(reason),
        // What was given cannot be kept: it is too long for an index, no number, there already.
        ("22" | "23" | "54", _) => StoreError::Rejected(reason),
        ("XX", "XX001" | "XX002") => StoreError::Corrupt(reason),
        _ => StoreError::Failed(reason),
    }
}

/// The server cannot be reached, or was lost.
pub(crate) fn unavailable(error: Error) -> StoreError {
    let text = said(&error);
    StoreError::Unavailable(Reason::because(text, error))
}

/// An error in one line. tokio-postgres leaves the cause to whoever follows the sources.
pub(crate) fn said(error: &Error) -> String {
    if let Some(db) = error.as_db_error() {
        let of = db.constraint().map(|name| format!(" ({name})"));
        return format!(
            "{}{} [{}]",
            db.message(),
            of.unwrap_or_default(),
            db.code().code()
        );
    }
    let cause = error.source().map(|cause| format!(": {cause}"));
    let text = error.to_string();
    match cause {
        Some(cause) if !text.contains(&cause) => format!("{text}{cause}"),
        _ => text,
    }
}

/// A row that cannot have been written by this version.
pub(crate) fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(what.to_string().into())
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(error) => error,
            Trouble::Lost(error) => of_statement(error),
        }
    }
}
