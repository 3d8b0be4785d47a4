//! A peer that is a child process.

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    path::PathBuf,
    pin::Pin,
    process::{ExitStatus, Stdio},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use process_wrap::tokio::{ChildWrapper, CommandWrap};
use tokio::{
    io::{AsyncWrite, BufReader},
    process::{ChildStdin, Command},
    task::JoinHandle,
    time::timeout,
};

use super::{
    StdioOptions, StdioTransport,
    stderr::{OnLine, forward},
};
use crate::TransportError;

/// How to start a child that speaks ARCP on its stdin and stdout.
#[derive(Clone)]
pub struct ChildOptions {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    inherits_env: bool,
    dir: Option<PathBuf>,
    stdio: StdioOptions,
    on_stderr: Option<OnLine>,
}

impl ChildOptions {
    /// A program, by path or by a name that is looked up in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            inherits_env: true,
            dir: None,
            stdio: StdioOptions::default(),
            on_stderr: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Keeps this process's environment from the child: it sees only what [`env`](Self::env) sets. Default: it inherits.
    #[must_use]
    pub fn clear_env(mut self) -> Self {
        self.inherits_env = false;
        self
    }

    /// Where the child runs. Default: where this process does.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Limits and buffers of the connection.
    #[must_use]
    pub fn stdio(mut self, options: StdioOptions) -> Self {
        self.stdio = options;
        self
    }

    /// Also gives every line of the child's stderr to `on_line`, which must not block. Lines above 8 KiB come in pieces.
    /// They are logged under the target `towline::child` in any case.
    #[must_use]
    pub fn on_stderr(mut self, on_line: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_stderr = Some(Arc::new(on_line));
        self
    }

    fn command(&self) -> CommandWrap {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if !self.inherits_env {
            command.env_clear();
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        // Makes tokio reap a child whose owner has gone.
        command.kill_on_drop(true);
        let mut command = CommandWrap::from(command);
        #[cfg(unix)]
        command.wrap(process_wrap::tokio::ProcessGroup::leader());
        command
    }

    fn not_started(&self, cause: io::Error) -> TransportError {
        let reason = match (cause.kind(), &self.dir) {
            (_, Some(dir)) if !dir.is_dir() => {
                format!("its working directory `{}` is not there", dir.display())
            }
            (io::ErrorKind::NotFound, _) => {
                "there is no such program; give its path or put it on PATH".to_owned()
            }
            (io::ErrorKind::PermissionDenied, _) => "the file may not be executed".to_owned(),
            _ => cause.to_string(),
        };
        TransportError::impossible(format!("`{}`", self.program.display()), reason).because(cause)
    }
}

impl fmt::Debug for ChildOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of the environment may be secrets.
        let env: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("ChildOptions")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &env)
            .field("inherits_env", &self.inherits_env)
            .field("dir", &self.dir)
            .field("stdio", &self.stdio)
            .finish_non_exhaustive()
    }
}

/// A child process, apart from the connection to it.
///
/// On Unix it leads a process group of its own, and whatever ends it ends the group, so what it started does not outlive
/// it. Dropping this kills the group at once; the child is reaped by tokio. Keep it for as long as the connection is to
/// last, and end it with [`terminate`](Self::terminate).
pub struct ChildProcess {
    child: Box<dyn ChildWrapper>,
    stdin: SharedStdin,
    stderr: Option<JoinHandle<()>>,
    status: Option<ExitStatus>,
}

impl ChildProcess {
    /// Starts the program; the transport is its stdin and stdout. Has to run inside a tokio runtime.
    ///
    /// # Errors
    /// [`TransportError::Setup`] when the program cannot be started.
    pub fn spawn(options: &ChildOptions) -> Result<(Self, StdioTransport), TransportError> {
        let mut child = options
            .command()
            .spawn()
            .map_err(|cause| options.not_started(cause))?;
        let pipes = (
            child.stdin().take(),
            child.stdout().take(),
            child.stderr().take(),
        );
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(options.not_started(io::Error::other("its pipes are missing")));
        };
        let program = options.program.to_string_lossy().into_owned();
        let lines = forward(
            BufReader::new(stderr),
            program,
            child.id(),
            options.on_stderr.clone(),
        );
        let stdin = SharedStdin(Arc::new(Mutex::new(Some(stdin))));
        let transport = StdioTransport::over(
            stdout,
            stdin.clone(),
            options.stdio.clone().declare_confidential(true),
        );
        let process = Self {
            child,
            stdin,
            stderr: Some(tokio::spawn(lines)),
            status: None,
        };
        Ok((process, transport))
    }

    /// Its process id, until its exit has been seen.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it exited, if it has.
    ///
    /// # Errors
    /// When the operating system will not say.
    pub fn try_status(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            // Not `try_wait`: that may reap the child behind tokio's back, which would later signal a stranger.
            if let Some(waited) = self.child.wait().now_or_never() {
                self.exited(waited?);
            }
        }
        Ok(self.status)
    }

    /// Waits until it has exited, ends what is left of its group, and lets the last lines of stderr through. Cancel safe.
    ///
    /// # Errors
    /// When the operating system will not say.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = match self.status {
            Some(status) => status,
            None => {
                let status = self.child.wait().await?;
                self.exited(status);
                status
            }
        };
        if let Some(lines) = &mut self.stderr {
            // Something outside the group may hold the pipe open.
            if timeout(LAST_LINES, &mut *lines).await.is_err() {
                lines.abort();
            }
            self.stderr = None;
        }
        Ok(status)
    }

    /// Ends it: closes its stdin, after half the grace sends SIGTERM to its group, after the other half SIGKILL. Returns
    /// when it has exited and is reaped. Cancel safe: calling it again starts the grace again.
    ///
    /// # Errors
    /// When the operating system will not say.
    pub async fn terminate(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        self.stdin.close();
        if let Ok(status) = timeout(grace / 2, self.wait()).await {
            return status;
        }
        self.ask_to_end();
        if let Ok(status) = timeout(grace / 2, self.wait()).await {
            return status;
        }
        self.kill_group();
        self.wait().await
    }

    /// The group is ended the moment its leader's exit is seen; later its number could belong to somebody else.
    fn exited(&mut self, status: ExitStatus) {
        self.status = Some(status);
        self.kill_group();
    }

    #[cfg(unix)]
    fn ask_to_end(&self) {
        // An error means that nobody is there any more.
        let _ = self.child.signal(SIGTERM);
    }

    #[cfg(not(unix))]
    fn ask_to_end(&self) {}

    fn kill_group(&mut self) {
        // An error means that nobody is there any more.
        let _ = self.child.start_kill();
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.kill_group();
        }
        if let Some(lines) = &self.stderr {
            lines.abort();
        }
    }
}

impl fmt::Debug for ChildProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildProcess")
            .field("id", &self.id())
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// The child's stdin, which its connection writes and [`ChildProcess::terminate`] closes.
#[derive(Clone)]
struct SharedStdin(Arc<Mutex<Option<ChildStdin>>>);

impl SharedStdin {
    fn close(&self) {
        self.0.lock().take();
    }

    fn with<T>(
        &self,
        poll: impl FnOnce(Pin<&mut ChildStdin>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut *self.0.lock() {
            Some(stdin) => poll(Pin::new(stdin)),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl AsyncWrite for SharedStdin {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.with(|stdin| stdin.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stdin| stdin.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A pipe has no shutdown; closing it is what the child sees.
        self.close();
        Poll::Ready(Ok(()))
    }
}

/// The same number on every Unix.
#[cfg(unix)]
const SIGTERM: i32 = 15;

/// How long the rest of stderr may take once the group is dead.
const LAST_LINES: Duration = Duration::from_secs(1);
