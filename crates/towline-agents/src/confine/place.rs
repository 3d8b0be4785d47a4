//! Files and directories as descriptors: what was looked at is what is given, whatever its name means later.

use std::{
    fs, io,
    io::Read as _,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

/// A file or directory that was opened once, and the name it has without links.
///
/// Ask the lease about [`Place::path`] after opening, not before: then the answer is about what is held.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    fd: OwnedFd,
    directory: bool,
}

impl Place {
    /// Opens what a path leads to.
    ///
    /// Links are followed once, for the name; what is opened then is that name without any link in it. So a link that is
    /// put there meanwhile makes this fail, and does not lead elsewhere.
    ///
    /// # Errors
    /// Nothing is there, it may not be reached, it changed meanwhile, or its name is not UTF-8.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        if path.to_str().is_none() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the name `{}` is not UTF-8", path.display()),
            ));
        }
        let fd = open_exactly(CWD, &path)?;
        let stat = rustix::fs::fstat(&fd)?;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        Ok(Self {
            path,
            fd,
            directory,
        })
    }

    /// The name without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.directory
    }

    pub(super) fn text(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A program, held open.
#[derive(Debug)]
pub struct Program {
    place: Place,
    script: bool,
    given: String,
}

impl Program {
    /// Where programs with a bare name are looked for: never in a directory that a job may choose.
    pub const SEARCHED: [&str; 6] = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];

    /// Finds and opens a program by its bare name or its absolute path.
    ///
    /// # Errors
    /// It is not there, is not a file that may be run, or the name is neither bare nor absolute.
    pub fn find(name: &str) -> io::Result<Self> {
        let place = if name.starts_with('/') {
            Place::open(name)?
        } else if name.is_empty() || name.contains('/') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "give a program's bare name, or its absolute path",
            ));
        } else {
            Self::SEARCHED
                .iter()
                .filter_map(|directory| Place::open(Path::new(directory).join(name)).ok())
                .find(|place| runs(place).is_ok())
                .ok_or(io::ErrorKind::NotFound)?
        };
        Self::held(place, name)
    }

    /// Opens the program that an operator named: `given` is how.
    ///
    /// # Errors
    /// It is not there, or is not a file that may be run.
    pub fn open(path: impl AsRef<Path>, given: &str) -> io::Result<Self> {
        Self::held(Place::open(path)?, given)
    }

    fn held(place: Place, given: &str) -> io::Result<Self> {
        runs(&place)?;
        let script = is_script(&place);
        Ok(Self {
            place,
            script,
            given: given.to_owned(),
        })
    }

    /// The file without links: what the lease has to cover as `exec:PATH`.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// The names that stand for this program in a lease, as `exec:NAME`; one of them has to be covered.
    ///
    /// A bare name stands for itself, and so does a link in a directory of the system, where only the administrator makes
    /// links. A link elsewhere stands for what it leads to, and so does a path with `..` in it.
    pub fn names(&self) -> Vec<String> {
        if !self.given.starts_with('/') {
            return vec![self.given.clone()];
        }
        let mut names = vec![self.place.text()];
        let given = Path::new(&self.given);
        let plain = given.components().collect::<PathBuf>().as_os_str() == given.as_os_str()
            && !given
                .components()
                .any(|part| part == std::path::Component::ParentDir);
        let of_system = given
            .parent()
            .and_then(Path::to_str)
            .is_some_and(|parent| Self::SEARCHED.contains(&parent));
        if plain && of_system && self.given != names[0] {
            names.push(self.given.clone());
        }
        names
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn is_script(&self) -> bool {
        self.script
    }

    pub(super) fn given(&self) -> &str {
        &self.given
    }
}

/// Whether it is a file that this process may run.
fn runs(place: &Place) -> io::Result<()> {
    let stat = rustix::fs::fstat(place)?;
    let may = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && Mode::from_raw_mode(stat.st_mode).intersects(Mode::XUSR | Mode::XGRP | Mode::XOTH);
    if may {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("`{}` is not a program", place.path().display()),
        ))
    }
}

fn is_script(place: &Place) -> bool {
    let mut start = [0; 2];
    let opened = fs::File::open(format!("/proc/self/fd/{}", place.fd.as_raw_fd()));
    opened.is_ok_and(|mut file| file.read_exact(&mut start).is_ok() && start == *b"#!")
}

/// Opens a path that has no link in it, to be named and given, not read.
pub(super) fn open_exactly(from: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(
        from,
        path,
        flags,
        Mode::empty(),
        resolve,
    )?)
}

/// Files and directories that no job's program may see: configuration, tokens, keys, the store, sessions.
///
/// Each is held open, so that it is still known after somebody renamed a directory above it; and its name is kept, so that a
/// file that took its place is meant as well.
#[derive(Debug, Default)]
pub struct Protected {
    held: Vec<(PathBuf, Option<OwnedFd>)>,
    directories: Vec<PathBuf>,
}

impl Protected {
    /// Holds these. What is not there yet is known by its name alone.
    pub fn new(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        let held = paths.into_iter().map(|path| {
            let path = absolute(path.as_ref());
            let fd = Place::open(&path).ok().map(|place| place.fd);
            (path, fd)
        });
        Self {
            held: held.collect(),
            directories: Vec::new(),
        }
    }

    /// Holds these directories too. One that is not there is made, for its owner alone, before a program starts that could make
    /// it: what is not there cannot be hidden.
    #[must_use]
    pub fn directories(mut self, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        let more: Vec<PathBuf> = paths
            .into_iter()
            .map(|path| absolute(path.as_ref()))
            .collect();
        self.held.extend(Self::new(&more).held);
        self.directories.extend(more);
        self
    }

    /// The same once more, held anew.
    pub(crate) fn again(&self) -> Self {
        let paths = self.held.iter().map(|(path, _)| path);
        Self {
            directories: self.directories.clone(),
            ..Self::new(paths)
        }
    }

    /// Those of the directories that are not there, by the names they are to have.
    pub(super) fn missing(&self) -> Vec<PathBuf> {
        let missing = self.directories.iter().filter(|path| !path.exists());
        missing.map(|path| canonical_as_far(path)).collect()
    }

    /// Where they are now: the name each was given by, without links, and the name the held one has.
    pub(super) fn now(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for (path, fd) in &self.held {
            found.push(canonical_as_far(path));
            let held = fd.as_ref().and_then(|fd| {
                let stat = rustix::fs::fstat(fd).ok()?;
                let name = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
                (stat.st_nlink > 0).then_some(name)
            });
            found.extend(held);
        }
        found.sort();
        found.dedup();
        found
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The name without links of as much of a path as is there.
fn canonical_as_far(path: &Path) -> PathBuf {
    if let Ok(found) = fs::canonicalize(path) {
        return found;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => canonical_as_far(parent).join(name),
        _ => path.to_owned(),
    }
}
