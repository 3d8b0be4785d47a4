//! Walking a tree, entry by entry.

use std::{collections::VecDeque, fmt, io, sync::Arc, vec};

use tokio::task::JoinHandle;
use towline_proto::lease::Denial;
use towline_wire::ErrorCode;

use super::{
    Access, FileEntry, FileError, FileInfo, Files, Trouble,
    place::{Fault, Last, Place},
};

/// A tree being walked.
///
/// Entries are found ahead in small batches; between calls nothing runs, so a walk that is dropped, or not asked for more,
/// just stops.
pub struct Walk {
    files: Files,
    prune: Option<Prune>,
    found: VecDeque<Found>,
    state: State,
}

/// What a walk comes across.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visit {
    /// Something the lease covers. What is in a directory follows it.
    Entry(FileEntry),
    /// Something that was left out.
    Skipped {
        /// Its path.
        path: String,
        /// Why.
        reason: SkipReason,
    },
}

/// Why a walk leaves something out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// The lease does not cover it.
    #[error("{0}")]
    NotCovered(String),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// Its name is not UTF-8; the path shows it with replacement characters.
    #[error("its name is not UTF-8")]
    NotText,
    /// It lies more than 256 directories deep.
    #[error("it lies too deep")]
    TooDeep,
}

type Prune = Arc<dyn Fn(&FileEntry) -> bool + Send + Sync>;

enum State {
    Waiting(Box<Walker>),
    Running(JoinHandle<(Box<Walker>, VecDeque<Found>)>),
    Done,
}

/// What a batch holds: visits, or why the walk ends.
enum Found {
    Visit(Visit),
    Denied { path: String, denial: Denial },
}

impl Walk {
    pub(super) fn new(files: Files, walker: Walker) -> Self {
        Self {
            files,
            prune: None,
            found: VecDeque::new(),
            state: State::Waiting(Box::new(walker)),
        }
    }

    /// Leaves out directories for which `prune` says true, with all that is in them, unreported. Set it before the first
    /// entry is taken.
    #[must_use]
    pub fn prune(mut self, prune: impl Fn(&FileEntry) -> bool + Send + Sync + 'static) -> Self {
        self.prune = Some(Arc::new(prune));
        self
    }

    /// What comes next; `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// [`FileError::Denied`] when the lease expired or the budget ran out on the way; the walk is over then.
    pub async fn next(&mut self) -> Result<Option<Visit>, FileError> {
        loop {
            match self.found.pop_front() {
                Some(Found::Visit(visit)) => return Ok(Some(visit)),
                Some(Found::Denied { path, denial }) => {
                    self.state = State::Done;
                    self.found.clear();
                    let trouble = Trouble::Denied {
                        path: path.clone(),
                        denial,
                    };
                    return Err(self.files.report(Access::Read, &path, trouble).await);
                }
                None => {}
            }
            if !self.advance().await {
                return Ok(None);
            }
        }
    }

    /// Gets the next batch; `false` at the end. Cancel safe: a batch under way stays under way.
    async fn advance(&mut self) -> bool {
        if let State::Waiting(_) = self.state {
            self.begin_batch();
        }
        let State::Running(task) = &mut self.state else {
            return false;
        };
        match task.await {
            Ok((walker, found)) => {
                self.found = found;
                self.state = State::Waiting(walker);
                !self.found.is_empty()
            }
            Err(error) => {
                self.state = State::Done;
                match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => false,
                }
            }
        }
    }

    fn begin_batch(&mut self) {
        let State::Waiting(mut walker) = std::mem::replace(&mut self.state, State::Done) else {
            return;
        };
        let (ctx, prune) = (self.files.ctx.clone(), self.prune.clone());
        let batch = move || {
            let may = |path: &str| ctx.may(Access::Read, path);
            let skips = |entry: &FileEntry| prune.as_ref().is_some_and(|prune| prune(entry));
            let found = walker.batch(&may, &skips);
            (walker, found)
        };
        self.state = State::Running(tokio::task::spawn_blocking(batch));
    }
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// The blocking side: which directories are being gone through. It holds no directory open between two entries, so that a
/// deep tree costs memory and not file handles.
pub(super) struct Walker {
    levels: Vec<vec::IntoIter<FileEntry>>,
    /// What could not even be looked at, to be reported first.
    skipped: Vec<Visit>,
}

impl Walker {
    pub(super) fn from_root(place: Place) -> io::Result<Self> {
        let path = place.path().to_owned();
        let (entries, skipped) = list(place, &path)?;
        Ok(Self {
            levels: vec![entries.into_iter()],
            skipped,
        })
    }

    /// The next entries; none at the end.
    fn batch(
        &mut self,
        may: super::place::May<'_>,
        prune: &dyn Fn(&FileEntry) -> bool,
    ) -> VecDeque<Found> {
        let mut found: VecDeque<Found> = self.skipped.drain(..).map(Found::Visit).collect();
        while found.len() < BATCH {
            let Some(level) = self.levels.last_mut() else {
                break;
            };
            let Some(entry) = level.next() else {
                self.levels.pop();
                continue;
            };
            if entry.info().is_dir() && prune(&entry) {
                continue;
            }
            let visit = match may(entry.path()) {
                Ok(()) => self.visit(entry, may),
                Err(denial) if *denial.code() == ErrorCode::PERMISSION_DENIED => {
                    let reason = SkipReason::NotCovered(denial.message().to_owned());
                    skipped(entry.path(), reason)
                }
                Err(denial) => {
                    let path = entry.path().to_owned();
                    found.push_back(Found::Denied { path, denial });
                    self.levels.clear();
                    break;
                }
            };
            found.push_back(Found::Visit(visit));
            found.extend(self.skipped.drain(..).map(Found::Visit));
        }
        found
    }

    /// A directory is entered before it is reported, so that one which cannot be is reported as skipped.
    fn visit(&mut self, entry: FileEntry, may: super::place::May<'_>) -> Visit {
        if !entry.info().is_dir() {
            return Visit::Entry(entry);
        }
        if self.levels.len() >= MAX_DEPTH {
            return skipped(entry.path(), SkipReason::TooDeep);
        }
        let listed = Place::find(entry.path(), Last::Keep, may)
            .and_then(|place| list(place, entry.path()).map_err(Fault::Io));
        match listed {
            Ok((entries, unnamed)) => {
                self.levels.push(entries.into_iter());
                self.skipped = unnamed;
                Visit::Entry(entry)
            }
            Err(Fault::Io(error)) => {
                skipped(entry.path(), SkipReason::Unreadable(error.to_string()))
            }
            Err(Fault::Denied { denial, .. }) => {
                let reason = SkipReason::NotCovered(denial.message().to_owned());
                skipped(entry.path(), reason)
            }
        }
    }
}

/// What is in a directory, by name, under `path`; and what of it cannot be told.
pub(super) fn list(place: Place, path: &str) -> io::Result<(Vec<FileEntry>, Vec<Visit>)> {
    let (mut entries, mut unnamed) = (Vec::new(), Vec::new());
    let path = path.trim_end_matches('/');
    for entry in place.open_dir()?.entries()? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            let path = format!("{path}/{}", name.to_string_lossy());
            unnamed.push(skipped(&path, SkipReason::NotText));
            continue;
        };
        let path = format!("{path}/{name}");
        match entry.metadata() {
            Ok(found) => entries.push(FileEntry::new(path, FileInfo::of(&found))),
            // It went between being listed and being looked at.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                unnamed.push(skipped(&path, SkipReason::Unreadable(error.to_string())));
            }
        }
    }
    entries.sort_unstable_by(|left, right| left.path().cmp(right.path()));
    Ok((entries, unnamed))
}

fn skipped(path: &str, reason: SkipReason) -> Visit {
    Visit::Skipped {
        path: path.to_owned(),
        reason,
    }
}

/// How many entries are found ahead.
const BATCH: usize = 256;
/// How deep a walk goes.
const MAX_DEPTH: usize = 256;
