//! Python with the published SDK in a virtual environment of this build.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdin},
};
use towline_tests::{program::Ran, soon};

/// The interpreter of the environment.
pub(crate) struct Python(PathBuf);

/// What an environment is made of.
struct Wanted {
    /// Its directory below the target directory.
    place: &'static str,
    /// What is installed: one package, at one version.
    requirements: &'static str,
    /// What that is imported as.
    module: &'static str,
}

/// The environment with the SDK of ARCP, made now if it is not there; `None` where it cannot be had, which is said on standard
/// error.
///
/// # Panics
/// When it cannot be had in CI.
pub(crate) fn python() -> Option<&'static Python> {
    static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
    let wanted = Wanted {
        place: "interop-python",
        requirements: "requirements.txt",
        module: "arcp",
    };
    PYTHON.get_or_init(|| had(&wanted)).as_ref()
}

/// [`python`] with the SDK of MCP.
pub(crate) fn mcp_python() -> Option<&'static Python> {
    static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
    let wanted = Wanted {
        place: "interop-mcp",
        requirements: "mcp/requirements.txt",
        module: "mcp",
    };
    PYTHON.get_or_init(|| had(&wanted)).as_ref()
}

/// [`python`] with the library of Standard Webhooks.
pub(crate) fn webhooks_python() -> Option<&'static Python> {
    static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
    let wanted = Wanted {
        place: "interop-webhooks",
        requirements: "webhooks/requirements.txt",
        module: "standardwebhooks",
    };
    PYTHON.get_or_init(|| had(&wanted)).as_ref()
}

/// [`python`] with a generator of clients.
pub(crate) fn http_python() -> Option<&'static Python> {
    static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
    let wanted = Wanted {
        place: "interop-http",
        requirements: "http/requirements.txt",
        module: "openapi_python_client",
    };
    PYTHON.get_or_init(|| had(&wanted)).as_ref()
}

fn had(wanted: &Wanted) -> Option<Python> {
    match installed(wanted) {
        Ok(interpreter) => Some(Python(interpreter)),
        Err(why) if env::var_os("CI").is_some() => {
            panic!(
                "the Python package `{}` is required in CI: {why}",
                wanted.module
            )
        }
        Err(why) => {
            eprintln!("skipped: {why}");
            None
        }
    }
}

impl Python {
    /// The path of the interpreter.
    pub(crate) fn interpreter(&self) -> &Path {
        &self.0
    }

    /// A script of `tests/interop`.
    pub(crate) fn script(&self, name: &str) -> tokio::process::Command {
        self.file(&repository().join("tests/interop").join(name))
    }

    /// A module that is a program.
    pub(crate) fn module(&self, name: &str) -> tokio::process::Command {
        let mut command = self.command();
        command.args(["-m", name]);
        command
    }

    /// A script anywhere.
    pub(crate) fn file(&self, script: &Path) -> tokio::process::Command {
        let mut command = self.command();
        command.arg(script);
        command
    }

    fn command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.0);
        command.stdin(Stdio::null()).kill_on_drop(true);
        // Nothing is left beside the sources.
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("PYTHONPATH");
        command
    }

    /// Runs a script to its end, which has to be a good one.
    pub(crate) async fn holds(&self, mut command: tokio::process::Command) -> Ran {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ran::of(command).await.status(0)
    }

    /// `tests/interop/runtime.py`, once it listens.
    pub(crate) async fn runtime(&self, token: &str) -> PythonRuntime {
        let mut command = self.script("runtime.py");
        command
            .arg(token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("python can be started");
        let stdin = child.stdin.take().expect("its input is a pipe");
        let mut stdout = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let mut line = String::new();
        soon("the listening line", stdout.read_line(&mut line))
            .await
            .expect("its output can be read");
        let url = line
            .trim_end()
            .strip_prefix("listening on ")
            .expect("it says where it listens")
            .to_owned();
        PythonRuntime {
            url,
            _child: child,
            _stdin: stdin,
        }
    }
}

/// A Python runtime, for as long as the value lives.
pub(crate) struct PythonRuntime {
    pub(crate) url: String,
    _child: Child,
    _stdin: ChildStdin,
}

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are a member of the workspace")
}

fn installed(wanted: &Wanted) -> Result<PathBuf, String> {
    let test = env::current_exe().map_err(|error| error.to_string())?;
    // TARGET/PROFILE/deps/TEST
    let target = test
        .ancestors()
        .nth(3)
        .ok_or("the test is not in a target directory")?;
    let place = target.join(wanted.place);
    fs::create_dir_all(&place).map_err(|error| error.to_string())?;
    // Tests in other processes make it too.
    let lock = File::create(place.join("lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let interpreter = place.join("bin/python");
    if has_package(&interpreter, wanted) {
        return Ok(interpreter);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&place))?;
    let requirements = wanted.file();
    run(Command::new(&interpreter)
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(requirements))?;
    if has_package(&interpreter, wanted) {
        Ok(interpreter)
    } else {
        Err(format!(
            "`{}` was installed and cannot be imported",
            wanted.module
        ))
    }
}

impl Wanted {
    fn file(&self) -> PathBuf {
        repository().join("tests/interop").join(self.requirements)
    }
}

fn has_package(interpreter: &Path, wanted: &Wanted) -> bool {
    let required = fs::read_to_string(wanted.file()).unwrap_or_default();
    let Some((name, version)) = required.trim().split_once("==") else {
        return false;
    };
    let module = wanted.module;
    let check = format!(
        "import {module}, importlib.metadata as m; assert m.version('{name}') == '{version}'"
    );
    let mut command = Command::new(interpreter);
    command
        .args(["-c", &check])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}
