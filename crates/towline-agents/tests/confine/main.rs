//! What a confined program can and cannot do, tried by programs: here those that a kernel with Landlock 6 (Linux 6.12), user
//! namespaces and python3 can run. Each is tried with namespaces of its own and without.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod ends;
mod files;
mod kernels;
mod processes;
mod sockets;

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::io::AsyncReadExt as _;
use towline_agents::confine::{Hold, Input, Kernel, Place, Plan, Program, Refusal, Report};

/// Longer than anything here takes; a test that hangs fails by it.
const PATIENCE: Duration = Duration::from_secs(60);

fn launcher() -> Command {
    // Another user than the one who built this may not reach it where it was built.
    let program = std::env::var_os("TOWLINE_TEST_LAUNCHER");
    let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_towline-confine").into());
    let mut command = Command::new(program);
    command.arg("__confine");
    command
}

/// What holds programs here: once with namespaces, once without.
async fn both() -> [Kernel; 2] {
    let kernels = [
        Kernel::probe(launcher).await,
        Kernel::probe_without_namespaces(launcher).await,
    ];
    for kernel in &kernels {
        assert_eq!(
            kernel.refuses(),
            None,
            "these tests need Landlock 6; the first run needs user namespaces"
        );
    }
    assert!(kernels[0].namespaces.is_ok(), "{:?}", kernels[0].namespaces);
    kernels
}

fn python(script: &str) -> Plan {
    Plan::new(Program::find("python3").unwrap()).args(["-Ic", script])
}

fn shell(script: &str) -> Plan {
    Plan::new(Program::find("sh").unwrap()).args(["-c", script])
}

/// A program that was started.
struct Started {
    child: tokio::process::Child,
    hold: Hold,
    report: Report,
}

#[derive(Debug)]
struct Ran {
    stdout: String,
    stderr: String,
    status: ExitStatus,
    report: Report,
}

async fn start(plan: Plan, kernel: &Kernel, stdin: Option<&[u8]>) -> Result<Started, Refusal> {
    let mut command = launcher();
    let input = if stdin.is_some() {
        Input::Piped
    } else {
        Input::Nothing
    };
    let mut prepared = plan.prepare(&mut command, kernel, input)?;
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut command = tokio::process::Command::from(command);
    let child = command.kill_on_drop(true).spawn().unwrap();
    drop(command);
    if let (Some(mut pipe), Some(bytes)) = (prepared.stdin.take(), stdin) {
        pipe.write_all(bytes).unwrap();
    }
    let report = prepared.hold.begun().await?;
    Ok(Started {
        child,
        hold: prepared.hold,
        report,
    })
}

impl Started {
    /// Everything it says until nobody is left who could say more, and its status.
    async fn end(self) -> Ran {
        let ended = tokio::time::timeout(PATIENCE, async {
            let mut child = self.child;
            let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
            let (mut stdout, mut stderr) = (String::new(), String::new());
            let (out, err, status) = tokio::join!(
                out.read_to_string(&mut stdout),
                err.read_to_string(&mut stderr),
                child.wait()
            );
            out.unwrap();
            err.unwrap();
            Ran {
                stdout,
                stderr,
                status: status.unwrap(),
                report: self.report,
            }
        });
        let ran = ended.await.expect("somebody still holds the output");
        drop(self.hold);
        ran
    }

    /// Lets go of it, and gives what it said until everything was gone.
    async fn let_go(self) -> Ran {
        let Self {
            child,
            hold,
            report,
        } = self;
        drop(hold);
        let ended = tokio::time::timeout(PATIENCE, async {
            let output = child.wait_with_output().await.unwrap();
            Ran {
                stdout: String::from_utf8(output.stdout).unwrap(),
                stderr: String::from_utf8(output.stderr).unwrap(),
                status: output.status,
                report,
            }
        });
        ended.await.expect("somebody still holds the output")
    }
}

async fn run(plan: Plan, kernel: &Kernel) -> Ran {
    start(plan, kernel, None).await.unwrap().end().await
}

/// A directory of the test's own, by its name without links. Not below `/tmp`, where a program has its own.
fn scratch() -> (tempfile::TempDir, PathBuf) {
    let place = std::env::var_os("TOWLINE_TEST_SCRATCH");
    let place = place.unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let directory = tempfile::tempdir_in(place).unwrap();
    let path = directory.path().canonicalize().unwrap();
    (directory, path)
}

fn place(path: impl AsRef<std::path::Path>) -> Place {
    Place::open(path).unwrap()
}

/// What each line of a probe does is tried; what went well is printed. Nothing may go well.
fn attempts(setup: &str, tries: &[(&str, &str)]) -> String {
    let mut script = format!(
        "import ctypes, os, resource, socket, sys\nlibc = ctypes.CDLL(None, use_errno=True)\ndef call(*a):\n  r = libc.syscall(*a)\n  if r < 0: raise OSError(ctypes.get_errno(), '')\n  return r\n{setup}\n"
    );
    for (name, what) in tries {
        let indented = what.replace('\n', "\n  ");
        script.push_str(&format!(
            "try:\n  {indented}\n  print('{name}')\nexcept OSError as e:\n  print('{name}', 'refused', e.errno, file=sys.stderr)\n"
        ));
    }
    script
}
