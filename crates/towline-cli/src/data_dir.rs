//! The data directory: the store, and the sessions that `run --detach` left behind.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use crate::failure::{Failure, Outcome};

/// The directory's name when none is given.
pub(crate) const DEFAULT: &str = ".towline";

/// The data directory. It is made when something is first written to it, for its owner alone.
#[derive(Debug, Clone)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// The given directory, or `.towline` here.
    pub(crate) fn new(given: Option<&Path>) -> Self {
        Self(given.unwrap_or(Path::new(DEFAULT)).to_owned())
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The store's file.
    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("towline.db")
    }

    /// Where detached sessions are.
    pub(crate) fn sessions(&self) -> PathBuf {
        self.0.join("sessions")
    }
}

/// Makes a directory and what is above it; the directory itself for its owner alone.
pub(crate) fn make_private_dir(path: &Path) -> Outcome<()> {
    if path.is_dir() {
        return Ok(());
    }
    let refuse = |error: std::io::Error| {
        Failure::local(format!(
            "cannot make the directory `{}`: {error}",
            path.display()
        ))
        .help("name another with --data-dir")
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(refuse)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        // Another process may have been faster.
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(refuse(error)),
        _ => Ok(()),
    }
}

/// Writes a file for its owner alone; it appears whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    write_with(&mut options, path, content)
}

/// Writes a file; it appears whole or not at all, unless it is there already as something else than a file (a pipe, say).
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    match fs::metadata(path) {
        Ok(there) if !there.is_file() => options.write(true).open(path)?.write_all(content),
        _ => write_with(&mut options, path, content),
    }
}

fn write_with(options: &mut fs::OpenOptions, path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = options
        .write(true)
        .create(true)
        .truncate(true)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
    written
        .and_then(|()| fs::rename(&temporary, path))
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
}
