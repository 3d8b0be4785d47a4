//! The data directory: the store, and the sessions that `run --detach` left behind.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    failure::{Failure, Outcome},
    guard,
};

/// The data directory. It is made when something is first written to it, for its owner alone.
#[derive(Debug, Clone)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// The given directory, or the user's state directory.
    pub(crate) fn new(given: Option<&Path>) -> Outcome<Self> {
        match given {
            Some(given) => Ok(Self(given.to_owned())),
            None => state_dir().map(Self),
        }
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The store's file.
    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("towline.db")
    }

    /// The token of a server that was given none.
    pub(crate) fn minted_token(&self) -> PathBuf {
        self.0.join("token")
    }

    /// The socket of a runtime that is embedded in a command on this directory.
    #[cfg(unix)]
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("towline.sock")
    }

    /// The token that is shown on it.
    #[cfg(unix)]
    pub(crate) fn socket_token(&self) -> PathBuf {
        self.0.join("socket.token")
    }

    /// Where detached sessions are.
    pub(crate) fn sessions(&self) -> PathBuf {
        self.0.join("sessions")
    }
}

/// The user's own state directory: `$XDG_STATE_HOME/towline`, else `~/.local/state/towline`.
///
/// # Errors
/// When there is neither, nor a home.
pub(crate) fn state_dir() -> Outcome<PathBuf> {
    // A path that is not absolute is to be ignored (XDG Base Directory Specification).
    let named = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let named = named.filter(|path| path.is_absolute());
    let home = || std::env::home_dir().filter(|home| home.is_absolute());
    let state = named.or_else(|| Some(home()?.join(".local/state")));
    match state {
        Some(state) => Ok(state.join("towline")),
        None => Err(Failure::local(
            "there is no place for the data: this user has no home directory",
        )
        .help("name one with --data-dir, or set XDG_STATE_HOME")),
    }
}

/// Makes a data directory, for its owner alone; what is in it is no part of a repository around it.
pub(crate) fn make_data_dir(path: &Path) -> Outcome<()> {
    if make(path)? {
        // The directory is as good without it.
        let _ = fs::write(path.join(".gitignore"), "*\n");
    }
    guard::directory(path)
}

/// Makes a directory and what is above it, for its owner alone.
pub(crate) fn make_private_dir(path: &Path) -> Outcome<()> {
    make(path)?;
    guard::directory(path)
}

/// Says whether it was made.
fn make(path: &Path) -> Outcome<bool> {
    let refuse = |error: io::Error| {
        Failure::local(format!(
            "cannot make the directory `{}`: {error}",
            path.display()
        ))
        .help("name another with --data-dir")
    };
    if path.is_dir() {
        return Ok(false);
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        builder.recursive(true).create(parent).map_err(refuse)?;
    }
    match builder.recursive(false).create(path) {
        Ok(()) => Ok(true),
        // Another process may have been faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(refuse(error)),
    }
}

/// Writes a file for its owner alone; it appears whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, None, 0o600)
}

/// Tries whether a file can be written in a directory; leaves none.
pub(crate) fn try_private(directory: &Path) -> io::Result<()> {
    let mut file = beside(&directory.join("tried"), 0o600)?;
    file.write_all(b"{}")?;
    file.close()
}

/// Writes a file; it appears whole or not at all, unless it is there already as something else than a file (a pipe, say). A
/// file that is there keeps its mode, and one that a link leads to is written where it is.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let Ok(there) = fs::metadata(path) else {
        return replace(path, content, None, 0o666);
    };
    if !there.is_file() {
        return fs::OpenOptions::new()
            .write(true)
            .open(path)?
            .write_all(content);
    }
    let real = path.canonicalize()?;
    match replace(&real, content, Some(there.permissions()), 0o600) {
        Err(error) if is_fixed(&error) => fs::write(&real, content),
        written => written,
    }
}

/// Whether a file cannot be replaced, but may be written: one that is mounted by itself, or whose directory is not ours to
/// change.
fn is_fixed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// A file that is written piece by piece, and appears when all of it is there.
pub(crate) enum Whole {
    /// Beside its place until it is whole.
    Beside {
        file: io::BufWriter<tempfile::NamedTempFile>,
        to: PathBuf,
    },
    /// What cannot be replaced: a pipe, say, or a file in a directory that is not ours.
    There(io::BufWriter<fs::File>),
}

impl Whole {
    pub(crate) fn begin(path: &Path) -> io::Result<Self> {
        let there = fs::metadata(path);
        if there.as_ref().is_ok_and(|there| !there.is_file()) {
            let file = fs::OpenOptions::new().write(true).open(path)?;
            return Ok(Self::There(io::BufWriter::new(file)));
        }
        let to = if there.is_ok() {
            path.canonicalize()?
        } else {
            path.to_owned()
        };
        let file = match beside(&to, 0o666) {
            Err(error) if is_fixed(&error) && there.is_ok() => {
                let file = fs::OpenOptions::new().write(true).truncate(true).open(to)?;
                return Ok(Self::There(io::BufWriter::new(file)));
            }
            made => made?,
        };
        if let Ok(there) = there {
            file.as_file().set_permissions(there.permissions())?;
        }
        let file = io::BufWriter::new(file);
        Ok(Self::Beside { file, to })
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Self::There(mut file) => file.flush(),
            Self::Beside { file, to } => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.as_file().sync_all()?;
                match file.persist(&to) {
                    Err(not) if is_fixed(&not.error) && to.exists() => over(not.file, &to),
                    persisted => persisted.map(drop).map_err(|not| not.error),
                }
            }
        }
    }
}

/// Writes what is beside a file over it.
fn over(mut whole: tempfile::NamedTempFile, to: &Path) -> io::Result<()> {
    let mut there = fs::OpenOptions::new().write(true).truncate(true).open(to)?;
    let from = whole.as_file_mut();
    io::Seek::rewind(from)?;
    io::copy(from, &mut there)?;
    there.sync_all()
}

impl io::Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Beside { file, .. } => file.write(bytes),
            Self::There(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Beside { file, .. } => file.flush(),
            Self::There(file) => file.flush(),
        }
    }
}

/// Writes a file beside the one it is to be, under a name nobody foresees, and renames it.
fn replace(
    path: &Path,
    content: &[u8],
    keep: Option<fs::Permissions>,
    mode: u32,
) -> io::Result<()> {
    let mut file = beside(path, mode)?;
    if let Some(permissions) = keep {
        file.as_file().set_permissions(permissions)?;
    }
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A file in the same directory, under a name nobody foresees.
fn beside(path: &Path, mode: u32) -> io::Result<tempfile::NamedTempFile> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.prefix(".towline-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    builder.tempfile_in(above.unwrap_or(Path::new(".")))
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_that_is_written_keeps_its_mode_and_its_place() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("there"), "before").unwrap();
        fs::set_permissions(at("there"), fs::Permissions::from_mode(0o640)).unwrap();
        write_whole(&at("there"), b"after").unwrap();
        assert_eq!(mode(&at("there")), 0o640);
        symlink(at("there"), at("link")).unwrap();
        write_whole(&at("link"), b"through").unwrap();
        assert!(at("link").is_symlink());
        assert_eq!(fs::read(at("there")).unwrap(), b"through");
        assert_eq!(mode(&at("there")), 0o640);
        write_private(&at("secret"), b"s").unwrap();
        assert_eq!(mode(&at("secret")), 0o600);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 3);
    }

    /// The name that is written first is not one that somebody could have made a link of.
    #[test]
    fn no_foreseen_name_is_written_through() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("victim"), "mine").unwrap();
        symlink(at("victim"), at(&format!("out.{}.tmp", std::process::id()))).unwrap();
        write_whole(&at("out"), b"result").unwrap();
        assert_eq!(fs::read(at("victim")).unwrap(), b"mine");
        assert_eq!(fs::read(at("out")).unwrap(), b"result");
    }

    #[test]
    fn data_directories_are_private_and_no_part_of_a_repository() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("a/b/data");
        make_data_dir(&data).unwrap();
        assert_eq!(mode(&data), 0o700);
        assert_eq!(mode(&place.path().join("a")), 0o700);
        assert_eq!(fs::read_to_string(data.join(".gitignore")).unwrap(), "*\n");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(make_data_dir(&data).is_err());
    }
}
