//! `index`: walks a tree through the lease and streams one JSON line for each file.

mod language;

use std::{
    collections::BTreeSet,
    io::Read,
    path::{Component, PathBuf},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use towline_runtime::{
    Agent, AgentError, AgentFuture, FileEntry, FileError, JobContext, ResultWriter, Visit,
};
use towline_wire::{Amount, ErrorCode, RawJson, explain_json};

use crate::trouble::cancelled;

/// Directories that are nobody's sources: left out unless everything is asked for.
const LEFT_OUT: [&str; 2] = [".git", ".towline"];

/// A file of this name says that its directory can be made anew (bford.info/cachedir).
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// How many files are read at once.
const AT_ONCE: usize = 8;

/// How many progress reports a walk makes at most.
const REPORTS: usize = 200;

/// How much of a file is read before others have their turn, and before the reader looks whether anybody still wants it.
const SLICE: u64 = 1024 * 1024;

/// How much is read of a file at most; a larger one is left out.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// How many files a tree may have.
const MAX_FILES: usize = 1_000_000;

/// How many slices are read at once, by all jobs: the threads for blocking work are everybody's [ARCP 14-6].
static READING: Semaphore = Semaphore::const_new(4);

/// Lines are sent in pieces of about this size.
const PIECE: usize = 64 * 1024;

/// Describes the files below `root`: a streamed result with one line of JSON for each (path, bytes, lines, language,
/// sha256). Its input is `{root, glob?, all?}`, and the lease has to have `fs.read` on the tree.
#[derive(Debug, Clone, Default)]
pub struct IndexAgent;

impl IndexAgent {
    /// One.
    pub const fn new() -> Self {
        Self
    }
}

impl Agent for IndexAgent {
    fn run(&self, ctx: JobContext, input: RawJson) -> AgentFuture {
        Box::pin(async move {
            let input = input
                .read()
                .map_err(|cause| AgentError::invalid_input(&explain_json(&cause)))?;
            run(ctx, input).await
        })
    }
}

#[derive(Deserialize)]
struct Input {
    root: String,
    #[serde(default)]
    glob: Option<String>,
    #[serde(default)]
    all: bool,
}

/// A line of the result.
#[derive(Debug, PartialEq, Serialize)]
struct Line {
    /// Below the root.
    path: String,
    bytes: u64,
    /// `None` when the file is not text.
    lines: Option<u64>,
    language: Option<&'static str>,
    sha256: String,
}

async fn run(ctx: JobContext, input: Input) -> Result<RawJson, AgentError> {
    let root = absolute(&input.root)?;
    let wanted = input.glob.as_deref().map(matcher).transpose()?;
    let (mut files, skipped) = walk(&ctx, &root, input.all).await?;
    files.retain(|file| {
        wanted
            .as_ref()
            .is_none_or(|glob| glob.is_match(below(&root, file.path())))
    });
    if let Some((path, reason)) = skipped.first() {
        let message = format!(
            "{} entries left out; the first is {path}: {reason}",
            skipped.len()
        );
        ctx.log("warn", message).await?;
    }
    describe_all(&ctx, &root, files).await?;
    Ok(RawJson::NULL)
}

/// The root as the lease knows it: absolute, without `.` and `..`.
fn absolute(root: &str) -> Result<String, AgentError> {
    let invalid = |why: &str| AgentError::invalid_input(&format!("`root` is `{root}`: {why}"));
    let path = std::path::absolute(root).map_err(|error| invalid(&error.to_string()))?;
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
        .into_os_string()
        .into_string()
        .map_err(|_| invalid("it is not UTF-8"))
}

/// A glob over paths below the root; one without `/` is about names.
fn matcher(glob: &str) -> Result<GlobMatcher, AgentError> {
    let full = if glob.contains('/') {
        glob.trim_start_matches("./").to_owned()
    } else {
        format!("**/{glob}")
    };
    let built = GlobBuilder::new(&full).literal_separator(true).build();
    built
        .map(|glob| glob.compile_matcher())
        .map_err(|error| AgentError::invalid_input(&format!("`glob`: {error}")))
}

/// The files of the tree, by path, and what was left out because the lease or the system said so.
async fn walk(
    ctx: &JobContext,
    root: &str,
    all: bool,
) -> Result<(Vec<FileEntry>, Vec<(String, String)>), AgentError> {
    let walk = ctx
        .files()
        .walk(root)
        .await
        .map_err(|error| refused(root, error))?;
    let mut walk = walk.prune(move |entry| !all && LEFT_OUT.contains(&entry.name()));
    let (mut files, mut skipped, mut caches) = (Vec::new(), Vec::new(), BTreeSet::new());
    while let Some(visit) = walk.next().await? {
        match visit {
            Visit::Entry(entry) if entry.info().is_file() => {
                if !all && entry.name() == CACHE_TAG {
                    caches.extend(parent(entry.path()).map(str::to_owned));
                }
                if files.len() >= MAX_FILES {
                    return Err(AgentError::invalid_input(&format!(
                        "`root` is `{root}`: it holds more than {MAX_FILES} files; name a smaller tree"
                    )));
                }
                files.push(entry);
            }
            Visit::Entry(_) => {}
            Visit::Skipped { path, reason } => skipped.push((path, reason.to_string())),
        }
    }
    files.retain(|file| !is_below(&caches, file.path()));
    files.sort_by(|left, right| left.path().cmp(right.path()));
    Ok((files, skipped))
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

/// Whether one of the directories holds the path, however deep.
fn is_below(directories: &BTreeSet<String>, path: &str) -> bool {
    !directories.is_empty()
        && std::iter::successors(parent(path), |path| parent(path))
            .any(|above| directories.contains(above))
}

/// A root that cannot be walked; when the lease is in the way, with the lease that would not be.
fn refused(root: &str, error: FileError) -> AgentError {
    if let Some(denied) = error.denied() {
        let message = if *denied.code() == ErrorCode::PERMISSION_DENIED {
            format!(
                "{}; grant it with --lease \"fs.read={}/**\"",
                denied.message(),
                root.trim_end_matches('/')
            )
        } else {
            denied.message().to_owned()
        };
        return AgentError::new(denied.code().clone(), message);
    }
    AgentError::invalid_input(&format!("`root`: {error}"))
}

/// Reads the files and streams their lines, in their order.
async fn describe_all(
    ctx: &JobContext,
    root: &str,
    files: Vec<FileEntry>,
) -> Result<(), AgentError> {
    let total = files.len();
    let step = (total / REPORTS).max(1);
    let mut out = Out {
        writer: ctx.stream_result()?,
        held: String::new(),
    };
    let (mut done, mut bytes, mut vanished) = (0, 0, 0);
    let described = stream::iter(files)
        .map(|file| async move { Ok(describe(ctx, root, &file).await) })
        .buffered(AT_ONCE);
    let mut described = std::pin::pin!(described);
    while let Some(line) = described
        .try_next()
        .await
        .map_err(|error: AgentError| error)?
    {
        if ctx.is_cancelled() {
            return Err(cancelled());
        }
        match line {
            Ok(line) => {
                bytes += line.bytes;
                out.line(&line).await?;
            }
            Err(Unread::Denied(error)) => return Err(error),
            Err(Unread::Gone(why)) => {
                vanished += 1;
                ctx.log("warn", why).await?;
            }
        }
        done += 1;
        if done % step == 0 || done == total {
            ctx.progress(amount(done))
                .of(amount(total))
                .units("files")
                .await?;
        }
    }
    let read = done - vanished;
    out.finish(&format!("{read} files, {bytes} bytes")).await
}

fn amount(count: usize) -> Amount {
    Amount::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Why a file has no line.
enum Unread {
    /// The lease ended meanwhile: so does the job.
    Denied(AgentError),
    /// It is not there any more, or cannot be read: the others can.
    Gone(String),
}

async fn describe(ctx: &JobContext, root: &str, file: &FileEntry) -> Result<Line, Unread> {
    let opened = ctx
        .files()
        .open(file.path())
        .await
        .map_err(|error| match error.denied() {
            Some(denied) if *denied.code() != ErrorCode::PERMISSION_DENIED => {
                Unread::Denied(error.into())
            }
            _ => Unread::Gone(error.to_string()),
        })?;
    let opened = opened.into_std().await;
    let path = below(root, file.path()).to_owned();
    let gone = |error: &dyn std::fmt::Display| Unread::Gone(format!("{}: {error}", file.path()));
    let measured = whole(Reading::new(opened), || ctx.is_cancelled(), gone).await?;
    Ok(Line {
        language: language::of(&path),
        path,
        bytes: measured.bytes,
        lines: measured.lines,
        sha256: measured.sha256,
    })
}

/// Reads a file to its end, unless the job has to end before.
async fn whole<R: Read + Send + 'static>(
    mut reading: Reading<R>,
    stops: impl Fn() -> bool,
    gone: impl Fn(&dyn std::fmt::Display) -> Unread,
) -> Result<Measured, Unread> {
    loop {
        if stops() {
            return Err(Unread::Denied(cancelled()));
        }
        // The place is given back when the slice is read, also when nobody waits for it any more.
        let place = READING.acquire().await.map_err(|error| gone(&error))?;
        let slice = tokio::task::spawn_blocking(move || {
            let read = reading.slice();
            drop(place);
            read
        });
        let read = slice.await.map_err(|error| gone(&error))?;
        match read.map_err(|error| gone(&error))? {
            Slice::More(more) => reading = more,
            Slice::Last(measured) => return Ok(measured),
        }
    }
}

fn below<'p>(root: &str, path: &'p str) -> &'p str {
    path.strip_prefix(root)
        .unwrap_or(path)
        .trim_start_matches('/')
}

struct Measured {
    bytes: u64,
    lines: Option<u64>,
    sha256: String,
}

/// A file that is being read, once, a slice at a time. A file with a NUL is not text and has no lines; a last line without an
/// end counts.
struct Reading<R> {
    file: R,
    buffer: Vec<u8>,
    hash: Sha256,
    bytes: u64,
    breaks: u64,
    binary: bool,
    last: u8,
}

/// What a slice came to.
enum Slice<R> {
    /// There is more to read.
    More(Reading<R>),
    /// That was the last one.
    Last(Measured),
}

impl<R: Read> Reading<R> {
    fn new(file: R) -> Self {
        Self {
            file,
            buffer: vec![0; 64 * 1024],
            hash: Sha256::new(),
            bytes: 0,
            breaks: 0,
            binary: false,
            last: b'\n',
        }
    }

    /// Reads on, but not for long.
    fn slice(mut self) -> std::io::Result<Slice<R>> {
        let end = self.bytes + SLICE;
        while self.bytes < end {
            let read = self.file.read(&mut self.buffer)?;
            let Some(piece) = self.buffer.get(..read).filter(|piece| !piece.is_empty()) else {
                return Ok(Slice::Last(self.measured()));
            };
            self.hash.update(piece);
            self.bytes += piece.len() as u64;
            self.breaks += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.binary |= piece.contains(&0);
            self.last = piece.last().copied().unwrap_or(self.last);
        }
        if self.bytes > MAX_FILE_BYTES {
            return Err(std::io::Error::other(format!(
                "left out, it has more than {MAX_FILE_BYTES} bytes"
            )));
        }
        Ok(Slice::More(self))
    }

    fn measured(self) -> Measured {
        let lines = self.breaks + u64::from(self.last != b'\n');
        Measured {
            bytes: self.bytes,
            lines: (!self.binary).then_some(lines),
            sha256: hex::encode(self.hash.finalize()),
        }
    }
}

/// Gathers lines into pieces.
struct Out {
    writer: ResultWriter,
    held: String,
}

impl Out {
    async fn line(&mut self, line: &Line) -> Result<(), AgentError> {
        self.held.push_str(RawJson::of(line)?.as_str());
        self.held.push('\n');
        if self.held.len() >= PIECE {
            self.writer.write_text(&self.held).await?;
            self.held.clear();
        }
        Ok(())
    }

    async fn finish(mut self, summary: &str) -> Result<(), AgentError> {
        self.writer.write_text(&self.held).await?;
        self.writer.finish(Some(summary)).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(file: impl Read) -> std::io::Result<Measured> {
        let mut reading = Reading::new(file);
        loop {
            match reading.slice()? {
                Slice::More(more) => reading = more,
                Slice::Last(measured) => return Ok(measured),
            }
        }
    }

    /// [ARCP 14-6] a thread reads a slice of a file, however large that is, and then somebody looks whether the job still
    /// wants it; what is too large for any job is left out.
    #[test]
    fn no_file_keeps_a_thread() {
        let Ok(Slice::More(more)) = Reading::new(std::io::repeat(b'x')).slice() else {
            panic!("an endless file has no end in its first slice");
        };
        assert_eq!(more.bytes, SLICE);
        let mut late = Reading::new(std::io::repeat(b'x'));
        late.bytes = MAX_FILE_BYTES;
        let error = late.slice().err().unwrap();
        assert!(error.to_string().contains(&MAX_FILE_BYTES.to_string()));
        let whole = measure(std::io::repeat(b'x').take(SLICE * 2 + 1)).unwrap();
        assert_eq!((whole.bytes, whole.lines), (SLICE * 2 + 1, Some(1)));
    }

    /// [ARCP 14-6] A job that has to end ends inside a file too: nothing is read after the slice in which it heard so.
    #[tokio::test]
    async fn a_file_is_left_in_the_middle() {
        use std::sync::atomic::{AtomicU64, Ordering};

        let asked = AtomicU64::new(0);
        let stops = || asked.fetch_add(1, Ordering::Relaxed) == 2;
        let gone = |error: &dyn std::fmt::Display| Unread::Gone(error.to_string());
        // A file without this end would be read to the limit of files.
        let file = std::io::repeat(b'x').take(4 * SLICE);
        let read = whole(Reading::new(file), stops, gone).await;
        assert!(
            matches!(read, Err(Unread::Denied(error)) if *error.code() == ErrorCode::CANCELLED)
        );
        assert_eq!(asked.into_inner(), 3);
    }

    #[test]
    fn files_are_measured() {
        let check = |content: &[u8], lines| {
            let measured = measure(content).unwrap();
            assert_eq!(
                (measured.bytes, measured.lines),
                (content.len() as u64, lines),
                "{content:?}"
            );
            assert_eq!(measured.sha256.len(), 64);
        };
        check(b"", Some(0));
        check(b"one", Some(1));
        check(b"one\n", Some(1));
        check(b"one\ntwo", Some(2));
        check(b"a\0b\n", None);
        let hash = measure(&b"abc"[..]).unwrap().sha256;
        assert_eq!(
            hash,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn globs_without_a_slash_are_about_names() {
        let glob = |glob: &str, path: &str| matcher(glob).unwrap().is_match(path);
        assert!(
            glob("*.rs", "src/main.rs") && glob("*.rs", "main.rs") && !glob("*.rs", "main.rs.bak")
        );
        assert!(glob("src/*.rs", "src/main.rs") && !glob("src/*.rs", "src/a/main.rs"));
        assert!(glob("./src/**", "src/a/main.rs"));
        assert!(matcher("[").is_err());
    }

    #[test]
    fn caches_are_left_out_with_all_that_is_in_them() {
        let caches = BTreeSet::from(["/r/target".to_owned()]);
        assert!(is_below(&caches, "/r/target/a") && is_below(&caches, "/r/target/a/b/c"));
        assert!(!is_below(&caches, "/r/targets/a") && !is_below(&caches, "/r/src/a"));
    }

    #[test]
    fn roots_become_absolute_and_normal() {
        assert_eq!(absolute("/a/./b/../c").unwrap(), "/a/c");
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute(".").unwrap(), here.to_str().unwrap());
        assert_eq!(below("/a", "/a/b/c"), "b/c");
        assert_eq!(below("/", "/b/c"), "b/c");
    }
}
