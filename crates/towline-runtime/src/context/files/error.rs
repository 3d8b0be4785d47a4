//! What can go wrong with files.

use std::io;

use super::super::Denied;

/// Why a file operation gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The lease does not cover the path, or what a link in it leads to.
    #[error("{0}")]
    Denied(#[from] Denied),
    /// The file system said no.
    #[error("`{path}`: {source}")]
    Io {
        /// The path that was asked for.
        path: String,
        /// What it said.
        source: io::Error,
    },
    /// A directory, a pipe or a device stands where bytes were expected.
    #[error("`{path}` is not a regular file")]
    NotAFile {
        /// The path that was asked for.
        path: String,
    },
    /// The file is larger than may be read in one piece.
    #[error(
        "`{path}` has more than {limit} bytes; open it and read it in pieces, or raise the limit"
    )]
    TooLarge {
        /// The path that was asked for.
        path: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The file is not UTF-8.
    #[error("`{path}` is not UTF-8 text (the first {valid_up_to} bytes are)")]
    NotText {
        /// The path that was asked for.
        path: String,
        /// How many bytes are.
        valid_up_to: usize,
    },
}

impl FileError {
    /// Whether there is nothing under the path.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The refusal, when it is one.
    pub const fn denied(&self) -> Option<&Denied> {
        match self {
            Self::Denied(denied) => Some(denied),
            _ => None,
        }
    }
}
