//! The program `towline`: where it is, and running it to its end.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    time::SystemTime,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::soon;

/// Path of the program: `TOWLINE_BIN` if that is set, else the one of this build, made now if it is missing or older than
/// its sources.
///
/// # Panics
/// When it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("TOWLINE_BIN") {
        Some(path) => path.into(),
        None => built(),
    })
}

fn built() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    // target/PROFILE/deps/TEST
    let profile = test
        .ancestors()
        .nth(2)
        .expect("tests are built below a profile's directory");
    let binary = profile.join(format!("towline{}", env::consts::EXE_SUFFIX));
    if !is_fresh(&binary) {
        let name = profile
            .file_name()
            .and_then(OsStr::to_str)
            .unwrap_or("debug");
        let name = if name == "debug" { "dev" } else { name };
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build = Command::new(cargo)
            .args([
                "build",
                "--quiet",
                "-p",
                "towline-cli",
                "--bin",
                "towline",
                "--profile",
                name,
            ])
            .current_dir(workspace())
            .status();
        assert!(
            build.expect("cargo can be started").success(),
            "the program does not build"
        );
    }
    binary
}

/// Whether the program is younger than every source file it could be made from.
fn is_fresh(binary: &Path) -> bool {
    let made = fs::metadata(binary).and_then(|data| data.modified());
    made.is_ok_and(|made| newest(&workspace().join("crates")).is_none_or(|source| source <= made))
}

fn newest(directory: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    let times = entries.filter_map(|entry| {
        let (path, kind) = (entry.path(), entry.file_type().ok()?);
        let is_source = path
            .extension()
            .is_some_and(|end| end == "rs" || end == "toml");
        match (kind.is_dir(), is_source) {
            (true, _) => newest(&path),
            (false, true) => entry.metadata().and_then(|data| data.modified()).ok(),
            (false, false) => None,
        }
    });
    times.max()
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are a member of the workspace")
}

/// A directory in which the program runs, with nothing of this environment that could change what it does.
#[derive(Debug)]
pub struct Place(TempDir);

impl Place {
    /// An empty one, gone with the value.
    ///
    /// # Panics
    /// When there is no room for it.
    pub fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory can be made"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The data directory, where a command names none.
    pub fn data(&self) -> PathBuf {
        self.path().join("state/towline")
    }

    /// Writes a file into it and says where that is.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).expect("the file can be written");
        path
    }

    /// The program, not yet started.
    pub fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        &self,
        args: I,
    ) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(binary());
        command
            .args(args)
            .current_dir(self.path())
            .env("XDG_STATE_HOME", self.path().join("state"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("TOWLINE_")
                || ["RUST_LOG", "RUST_BACKTRACE", "NO_COLOR"].contains(&&*text)
            {
                command.env_remove(&name);
            }
        }
        command
    }

    /// Runs the program to its end.
    pub async fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Ran {
        Ran::of(self.command(args)).await
    }

    /// Runs the program to its end with something on its standard input.
    ///
    /// # Panics
    /// When it does not read.
    pub async fn run_with_input<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        &self,
        args: I,
        input: &[u8],
    ) -> Ran {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program can be started");
        let mut stdin = child.stdin.take().expect("its input is a pipe");
        stdin.write_all(input).await.expect("it reads");
        drop(stdin);
        Ran::from(
            soon("the program's end", child.wait_with_output())
                .await
                .expect("it can be waited for"),
        )
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

/// What a run of the program left behind.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status, or -1 when a signal ended it.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it cannot be started or does not end.
    pub async fn of(mut command: tokio::process::Command) -> Self {
        Self::from(
            soon("the program's end", command.output())
                .await
                .expect("the program can be started"),
        )
    }

    /// It ended with this status.
    #[track_caller]
    pub fn status(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    /// It complained in these words, among others.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "no `{part}` in {self:#?}");
        }
        self
    }

    /// What it printed, as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }

    /// What it printed, as one JSON document a line.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let parse = |line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
        };
        self.stdout.lines().map(parse).collect()
    }
}
