//! What is known of files without opening them.

use std::time::SystemTime;

use cap_std::fs::{FileType, Metadata};

/// What stands under a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A file with bytes in it.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; not what it leads to.
    Link,
    /// A pipe, a socket, a device.
    Other,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileInfo {
    kind: FileKind,
    len: u64,
    modified: Option<SystemTime>,
}

/// A file among others: in a directory that was listed, or in a tree that is walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    path: String,
    info: FileInfo,
}

impl FileInfo {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            kind: FileKind::of(metadata.file_type()),
            len: metadata.len(),
            modified: metadata
                .modified()
                .ok()
                .map(cap_std::time::SystemTime::into_std),
        }
    }

    /// What it is.
    pub const fn kind(&self) -> FileKind {
        self.kind
    }

    /// Whether it is a file with bytes in it.
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// Its size in bytes.
    #[expect(
        clippy::len_without_is_empty,
        reason = "this is a size, not a collection"
    )]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// When it was last written, where the file system knows.
    pub const fn modified(&self) -> Option<SystemTime> {
        self.modified
    }
}

impl FileEntry {
    pub(super) fn new(path: String, info: FileInfo) -> Self {
        Self { path, info }
    }

    /// Its absolute path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The last part of its path.
    pub fn name(&self) -> &str {
        self.path
            .rsplit_once('/')
            .map_or(&self.path, |(_, name)| name)
    }

    /// What is known of it.
    pub const fn info(&self) -> &FileInfo {
        &self.info
    }

    /// What it is.
    pub const fn kind(&self) -> FileKind {
        self.info.kind
    }

    /// Its size in bytes.
    #[expect(
        clippy::len_without_is_empty,
        reason = "this is a size, not a collection"
    )]
    pub const fn len(&self) -> u64 {
        self.info.len
    }
}

impl FileKind {
    fn of(kind: FileType) -> Self {
        if kind.is_file() {
            Self::File
        } else if kind.is_dir() {
            Self::Directory
        } else if kind.is_symlink() {
            Self::Link
        } else {
            Self::Other
        }
    }
}
