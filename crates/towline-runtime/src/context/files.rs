//! Files, through the lease (§9.3).

mod entry;
mod error;
mod place;
#[cfg(test)]
mod tests;
mod walk;

use std::io::{ErrorKind, Read as _, Write as _};

use cap_std::fs::{File, OpenOptions};
use towline_proto::lease::{Denial, Operation};
use towline_wire::{ErrorCode, namespace};

use self::place::{Fault, Last, Place};
use super::{Denied, JobContext, Permit};

pub use entry::{FileEntry, FileInfo, FileKind};
pub use error::FileError;
pub use walk::{SkipReason, Visit, Walk};

impl JobContext {
    /// The files the job's lease covers.
    pub fn files(&self) -> Files {
        Files {
            ctx: self.clone(),
            limit: READ_LIMIT,
        }
    }
}

/// Files, each operation checked against `fs.read` or `fs.write` before it is carried out [ARCP 9.3-2].
///
/// Paths are absolute and in POSIX form; they are normalised before they are checked, and the operation is carried out on
/// the normalised path [ARCP 9.2-3]. A link is followed when what it leads to is covered as well, and denied otherwise; the
/// way there is gone step by step on open directories, so nothing that is renamed or replaced meanwhile leads elsewhere.
/// (Hard links are files like any other, but for those to the runtime's own. Whoever may make one in a directory a lease covers
/// decides what is in there.)
///
/// What is allowed leaves no trace in the job's log; what is denied does, as a `tool_result` error [ARCP 9.3-1].
///
/// Futures here do their work on a thread for blocking work. Dropping one abandons the wait and not the work: a write that
/// has begun is carried through.
#[derive(Debug, Clone)]
pub struct Files {
    ctx: JobContext,
    limit: u64,
}

/// Which half of the lease an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl Files {
    /// How many bytes [`Files::read`] and [`Files::read_to_string`] take at most. Default: 256 MiB. A larger file can still
    /// be opened and read in pieces.
    #[must_use]
    pub fn read_limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// The whole content of a file.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let (limit, own) = (self.limit, self.own(Access::Read));
        let read = move |place: &Place| {
            let file = regular(place, OpenOptions::new().read(true), &own)?;
            let mut bytes = Vec::new();
            let room = file.metadata()?.len().min(limit);
            bytes.reserve_exact(usize::try_from(room).unwrap_or(0));
            file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > limit {
                return Err(Trouble::TooLarge(limit));
            }
            Ok(bytes)
        };
        self.on_place(Access::Read, path, Last::Follow, read).await
    }

    /// The whole content of a file of UTF-8 text.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn read_to_string(&self, path: &str) -> Result<String, FileError> {
        let bytes = self.read(path).await?;
        String::from_utf8(bytes).map_err(|error| FileError::NotText {
            path: path.to_owned(),
            valid_up_to: error.utf8_error().valid_up_to(),
        })
    }

    /// Opens a file to read it in pieces. The permit covers the file as it was opened, for as long as it is open.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn open(&self, path: &str) -> Result<tokio::fs::File, FileError> {
        let own = self.own(Access::Read);
        let open = move |place: &Place| {
            regular(place, OpenOptions::new().read(true), &own).map(into_tokio)
        };
        self.on_place(Access::Read, path, Last::Follow, open).await
    }

    /// What is known of what stands under a path, links followed.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn metadata(&self, path: &str) -> Result<FileInfo, FileError> {
        let look = |place: &Place| Ok(FileInfo::of(&place.metadata()?));
        self.on_place(Access::Read, path, Last::Follow, look).await
    }

    /// Whether there is anything under a path, links followed.
    ///
    /// # Errors
    /// [`FileError`], but not for what is not there.
    pub async fn exists(&self, path: &str) -> Result<bool, FileError> {
        match self.metadata(path).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is in a directory, by name. The lease has to cover the directory; names that are not UTF-8 are left out. When a
    /// link leads to the directory, the entries' paths begin with its real one.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn read_dir(&self, path: &str) -> Result<Vec<FileEntry>, FileError> {
        let list = |place: Place| {
            let path = place.path().to_owned();
            let (entries, _skipped) = walk::list(place, &path)?;
            Ok(entries)
        };
        self.with_place(Access::Read, path, Last::Follow, list)
            .await
    }

    /// Walks a tree, directories before what is in them, by name. Each entry is checked on its own; what the lease does not
    /// cover is not entered and reported as skipped. Links are reported and not followed.
    ///
    /// To enter a directory the lease has to cover the directory itself, as `/data/**` does. When a link leads to `root`, the
    /// entries' paths begin with its real path.
    ///
    /// # Errors
    /// [`FileError`] when `root` is denied or is no directory.
    pub async fn walk(&self, root: &str) -> Result<Walk, FileError> {
        let list = |place: Place| Ok(walk::Walker::from_root(place)?);
        let walker = self
            .with_place(Access::Read, root, Last::Follow, list)
            .await?;
        Ok(Walk::new(self.clone(), walker))
    }

    /// Replaces the content of a file, or makes one.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn write(&self, path: &str, content: impl Into<Vec<u8>>) -> Result<(), FileError> {
        let (content, own) = (content.into(), self.own(Access::Write));
        let write = move |place: &Place| {
            let mut file = regular(place, OpenOptions::new().write(true).create(true), &own)?;
            file.set_len(0)?;
            Ok(file.write_all(&content)?)
        };
        self.on_place(Access::Write, path, Last::Follow, write)
            .await
    }

    /// Adds to the end of a file, or makes one.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn append(&self, path: &str, content: impl Into<Vec<u8>>) -> Result<(), FileError> {
        let (content, own) = (content.into(), self.own(Access::Write));
        let append = move |place: &Place| {
            let mut file = regular(place, OpenOptions::new().append(true).create(true), &own)?;
            Ok(file.write_all(&content)?)
        };
        self.on_place(Access::Write, path, Last::Follow, append)
            .await
    }

    /// Makes a file, or empties the one there is, to write it in pieces.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn create(&self, path: &str) -> Result<tokio::fs::File, FileError> {
        let own = self.own(Access::Write);
        let create = move |place: &Place| {
            let file = regular(place, OpenOptions::new().write(true).create(true), &own)?;
            file.set_len(0)?;
            Ok(into_tokio(file))
        };
        self.on_place(Access::Write, path, Last::Follow, create)
            .await
    }

    /// Makes a directory, and those above it that are missing. The lease has to cover each that is made.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn create_dir_all(&self, path: &str) -> Result<(), FileError> {
        let ctx = self.ctx.clone();
        let create = move |permit: &Permit| {
            let may = |path: &str| ctx.may(Access::Write, path);
            create_missing(permit.value(), &may)
        };
        self.checked(Access::Write, path, create).await
    }

    /// Removes a file. A link is removed itself, not what it leads to.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn remove_file(&self, path: &str) -> Result<(), FileError> {
        let remove = |place: &Place| Ok(place.remove_file()?);
        self.on_place(Access::Write, path, Last::Keep, remove).await
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn remove_dir(&self, path: &str) -> Result<(), FileError> {
        let remove = |place: &Place| Ok(place.remove_dir()?);
        self.on_place(Access::Write, path, Last::Keep, remove).await
    }

    fn own(&self, access: Access) -> Own {
        Own {
            ctx: self.ctx.clone(),
            access,
        }
    }

    async fn on_place<T, F>(
        &self,
        access: Access,
        path: &str,
        last: Last,
        work: F,
    ) -> Result<T, FileError>
    where
        T: Send + 'static,
        F: FnOnce(&Place) -> Result<T, Trouble> + Send + 'static,
    {
        self.with_place(access, path, last, move |place| work(&place))
            .await
    }

    async fn with_place<T, F>(
        &self,
        access: Access,
        path: &str,
        last: Last,
        work: F,
    ) -> Result<T, FileError>
    where
        T: Send + 'static,
        F: FnOnce(Place) -> Result<T, Trouble> + Send + 'static,
    {
        let ctx = self.ctx.clone();
        let find = move |permit: &Permit| {
            let may = |path: &str| ctx.may(access, path);
            work(Place::find(permit.value(), last, &may)?)
        };
        self.checked(access, path, find).await
    }

    /// Asks the lease, then carries the operation out with the permit, on a thread for blocking work.
    async fn checked<T, F>(&self, access: Access, path: &str, work: F) -> Result<T, FileError>
    where
        T: Send + 'static,
        F: FnOnce(&Permit) -> Result<T, Trouble> + Send + 'static,
    {
        let permit = self.ctx.authorize(access.of(path)).await?;
        match blocking(move || work(&permit)).await {
            Ok(value) => Ok(value),
            Err(trouble) => Err(self.report(access, path, trouble).await),
        }
    }

    /// Trouble as the agent is told it. A denial on the way goes into the log like any other.
    async fn report(&self, access: Access, path: &str, trouble: Trouble) -> FileError {
        let path = path.to_owned();
        match trouble {
            Trouble::Io(source) => FileError::Io { path, source },
            Trouble::NotAFile => FileError::NotAFile { path },
            Trouble::TooLarge(limit) => FileError::TooLarge { path, limit },
            Trouble::Denied { path: real, denial } => {
                let denied =
                    Denied::new(denial.code().clone(), linked(access, &path, &real, &denial));
                self.ctx
                    .denied(&denied, &self.ctx.hub.services.ids.call())
                    .await;
                FileError::Denied(denied)
            }
        }
    }
}

impl Access {
    fn of(self, path: &str) -> Operation<'_> {
        match self {
            Self::Read => Operation::FsRead(path),
            Self::Write => Operation::FsWrite(path),
        }
    }

    const fn namespace(self) -> &'static str {
        match self {
            Self::Read => namespace::FS_READ,
            Self::Write => namespace::FS_WRITE,
        }
    }
}

impl JobContext {
    /// Asks the lease about a path met on the way. A refusal is not in the log yet.
    fn may(&self, access: Access, path: &str) -> Result<(), Denial> {
        self.decide(access.of(path)).map(drop)
    }
}

/// What can go wrong on the blocking side.
#[derive(Debug)]
enum Trouble {
    Io(std::io::Error),
    Denied { path: String, denial: Denial },
    NotAFile,
    TooLarge(u64),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Denied { path, denial } => Self::Denied { path, denial },
            Fault::Io(error) => Self::Io(error),
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// Knows the runtime's own files, whatever they are called.
struct Own {
    ctx: JobContext,
    access: Access,
}

impl Own {
    /// Refuses a hard link to one of them.
    #[cfg(unix)]
    fn check(&self, place: &Place, found: &cap_std::fs::Metadata) -> Result<(), Trouble> {
        use cap_std::fs::MetadataExt as _;

        let options = &self.ctx.hub.services.options;
        if found.nlink() < 2 || !options.protects_file(found.dev(), found.ino()) {
            return Ok(());
        }
        Err(Trouble::Denied {
            path: place.path().to_owned(),
            denial: Denial::protected(self.access.of(place.path())),
        })
    }

    #[cfg(not(unix))]
    fn check(&self, _: &Place, _: &cap_std::fs::Metadata) -> Result<(), Trouble> {
        let _ = (&self.ctx, self.access);
        Ok(())
    }
}

/// Opens what has to be a regular file, and none of the runtime's own. Anything else might block, or never end.
fn regular(place: &Place, options: &mut OpenOptions, own: &Own) -> Result<File, Trouble> {
    let file = match place.open(options) {
        Ok(file) => file,
        Err(error) => {
            let other = place.metadata().is_ok_and(|found| !found.is_file());
            return Err(if other {
                Trouble::NotAFile
            } else {
                error.into()
            });
        }
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Trouble::NotAFile);
    }
    own.check(place, &found)?;
    Ok(file)
}

fn into_tokio(file: File) -> tokio::fs::File {
    tokio::fs::File::from_std(file.into_std())
}

/// Makes the directories of a path that are missing, each only when the lease covers it. Those that are there need no
/// cover, unless something is wrong with them and a link led there.
fn create_missing(path: &str, may: place::May<'_>) -> Result<(), Trouble> {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
    for end in ends.chain([path.len()]) {
        let above = &path[..end];
        let place = Place::find(above, Last::Follow, &|_| Ok(()));
        let place = place.or_else(|_| Place::find(above, Last::Follow, may))?;
        let covered = || {
            may(place.path()).map_err(|denial| Trouble::Denied {
                path: place.path().to_owned(),
                denial,
            })
        };
        match place.metadata() {
            Ok(found) if found.is_dir() => continue,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            wrong => {
                if place.path() != above {
                    covered()?;
                }
                return Err(wrong
                    .err()
                    .unwrap_or_else(|| ErrorKind::NotADirectory.into())
                    .into());
            }
        }
        covered()?;
        place.create_dir()?;
    }
    // Where links led to is the job's business only when the lease covers it.
    Ok(Place::find(path, Last::Follow, may).map(drop)?)
}

/// What a person is told when a link leads out of the lease.
fn linked(access: Access, asked: &str, real: &str, denial: &Denial) -> String {
    if *denial.code() != ErrorCode::PERMISSION_DENIED || asked == real {
        return denial.message().to_owned();
    }
    let needed = access.namespace();
    format!("`{asked}` leads to `{real}`: {denial}; it takes a lease whose {needed} covers both")
}

/// Runs blocking work on a thread for it.
async fn blocking<T, F>(work: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Work that never began is cancelled only when tokio shuts down, and then nobody polls this for long.
            Err(_) => std::future::pending().await,
        },
    }
}

/// How much is read in one piece unless told otherwise.
const READ_LIMIT: u64 = 256 << 20;
