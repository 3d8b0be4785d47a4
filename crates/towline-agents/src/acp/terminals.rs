//! Terminals of a session: commands that the agent has its client run [ARCP 17-5]. Each is a call that the lease covers, confined
//! as everything of the job is, with the last of its output kept, and gone with the session.

use std::{
    collections::{BTreeMap, VecDeque},
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use towline_runtime::{AgentError, JobContext};
use towline_wire::CallId;

use super::{
    permission,
    wire::{INTERNAL, INVALID_PARAMS, RpcError},
};
use crate::{
    named::{Allowed, Starter, check_variables, tool_error},
    pipe::{Allowance, Output},
    process::{Process, Streams},
};

/// The terminals of one session.
pub(super) struct Terminals {
    ctx: JobContext,
    starter: Starter,
    /// Where commands run that do not say.
    cwd: String,
    open: Mutex<BTreeMap<String, Arc<Terminal>>>,
    last: AtomicU64,
    places: Arc<Semaphore>,
}

/// A command that was started, until it is released.
struct Terminal {
    screen: Arc<Mutex<Screen>>,
    /// How it ended, once it did.
    ended: watch::Receiver<Option<Value>>,
    /// Ends the command.
    kill: CancellationToken,
    /// Who attends to it. Dropped with the terminal, the command ends.
    task: JoinHandle<()>,
    _place: OwnedSemaphorePermit,
}

/// The last of what a command wrote.
struct Screen {
    bytes: VecDeque<u8>,
    most: usize,
    is_cut: bool,
}

/// `terminal/create`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    command: String,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    env: Option<Vec<Variable>>,
    #[serde(default)]
    cwd: Option<String>,
    #[serde(default)]
    output_byte_limit: Option<u64>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    value: String,
}

impl Terminals {
    pub(super) fn new(ctx: &JobContext, starter: Starter, cwd: &str) -> Arc<Self> {
        Arc::new(Self {
            ctx: ctx.clone(),
            starter,
            cwd: cwd.to_owned(),
            open: Mutex::default(),
            last: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(MOST)),
        })
    }

    /// Answers one of the methods of terminals; `None` for any other.
    pub(super) async fn answer(
        &self,
        method: &str,
        params: &Value,
    ) -> Option<Result<Value, RpcError>> {
        let verb = method.strip_prefix("terminal/")?;
        if verb == "create" {
            return Some(self.create(params).await);
        }
        let name = params["terminalId"].as_str().unwrap_or_default();
        let terminal = self.open.lock().get(name).cloned();
        let Some(terminal) = terminal else {
            let message = format!("there is no terminal `{name}`, or it was released");
            return Some(Err(RpcError::new(INVALID_PARAMS, message)));
        };
        match verb {
            "output" => Some(Ok(terminal.output())),
            "wait_for_exit" => Some(Ok(terminal.exit().await)),
            "kill" => {
                terminal.end().await;
                Some(Ok(json!({})))
            }
            "release" => {
                terminal.end().await;
                self.open.lock().remove(name);
                Some(Ok(json!({})))
            }
            _ => None,
        }
    }

    /// Ends all that still run; what became of them is in the log then.
    pub(super) async fn end(&self) {
        let open = std::mem::take(&mut *self.open.lock());
        for terminal in open.values() {
            terminal.kill.cancel();
        }
        for terminal in open.values() {
            terminal.exit().await;
        }
    }

    async fn create(&self, params: &Value) -> Result<Value, RpcError> {
        let invalid = |why: String| RpcError::new(INVALID_PARAMS, why);
        let asked = Asked::deserialize(params).map_err(|error| invalid(error.to_string()))?;
        let argv = words(&asked.command, asked.args.unwrap_or_default()).map_err(invalid)?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| {
            RpcError::new(
                INTERNAL,
                format!("{MOST} terminals are open already; release one"),
            )
        })?;
        let cwd = asked.cwd.as_deref().unwrap_or(&self.cwd);
        let args = json!({"argv": argv, "cwd": cwd});
        let refused = |error: AgentError| RpcError::new(INTERNAL, error.message());
        let allowed = Allowed::ask(&self.ctx, &argv, args)
            .await
            .map_err(refused)?;
        let call = allowed.call.clone();
        let variables = asked.env.unwrap_or_default();
        let (process, streams) = match self.start(allowed, cwd, variables).await {
            Ok(started) => started,
            Err(error) => {
                // A job that has ended needs no record of it.
                drop(self.ctx.tool_failed(&call, tool_error(&error)).await);
                return Err(refused(error));
            }
        };
        let most = usize::try_from(asked.output_byte_limit.unwrap_or(u64::MAX));
        let most = most.unwrap_or(usize::MAX).min(SCREEN);
        let limit = self.starter.confinement.limits.output;
        let terminal = Terminal::new(&self.ctx, call, (process, streams), most, limit, place);
        let name = format!("t{}", self.last.fetch_add(1, Ordering::Relaxed) + 1);
        self.open.lock().insert(name.clone(), Arc::new(terminal));
        Ok(json!({"terminalId": name}))
    }

    async fn start(
        &self,
        allowed: Allowed<'_>,
        cwd: &str,
        variables: Vec<Variable>,
    ) -> Result<(Process, Streams), AgentError> {
        let subject = allowed.subject();
        let named = variables
            .iter()
            .map(|it| (it.name.as_str(), it.value.as_str()));
        check_variables(named)?;
        let program = allowed.program(&self.ctx, self.starter.clone(), Some(cwd));
        let mut program = program.await?;
        for Variable { name, value } in variables {
            program.environment.set(name, value);
        }
        program.start(&self.ctx, &subject, None).await
    }
}

impl Terminal {
    fn new(
        ctx: &JobContext,
        call: CallId,
        (process, streams): (Process, Streams),
        most: usize,
        limit: Option<u64>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let (tell, ended) = watch::channel(None);
        let attended = Attended {
            ctx: ctx.clone(),
            call,
            screen: Arc::new(Mutex::new(Screen::new(most))),
            kill: CancellationToken::new(),
            allowance: limit.map(Allowance::new),
        };
        Self {
            screen: Arc::clone(&attended.screen),
            ended,
            kill: attended.kill.clone(),
            task: tokio::spawn(async move {
                let exit = attended.attend(process, streams).await;
                tell.send_replace(Some(exit));
            }),
            _place: place,
        }
    }

    fn output(&self) -> Value {
        let (text, is_cut) = self.screen.lock().text();
        let mut output = json!({"output": text, "truncated": is_cut});
        if let Some(exit) = &*self.ended.borrow() {
            output["exitStatus"] = exit.clone();
        }
        output
    }

    /// Waits for its end; tells how it ended.
    async fn exit(&self) -> Value {
        let mut ended = self.ended.clone();
        let exit = ended.wait_for(Option::is_some).await;
        let exit = exit.ok().and_then(|exit| exit.clone());
        exit.unwrap_or_else(|| exit_status(None))
    }

    async fn end(&self) {
        self.kill.cancel();
        self.exit().await;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What attends to a command.
struct Attended {
    ctx: JobContext,
    call: CallId,
    screen: Arc<Mutex<Screen>>,
    kill: CancellationToken,
    allowance: Option<Allowance>,
}

impl Attended {
    /// Takes what the command writes until its end, and notes that in the log. Gives how it ended.
    async fn attend(&self, mut process: Process, streams: Streams) -> Value {
        // It reads nothing: nobody types.
        drop(streams.stdin);
        let gone = CancellationToken::new();
        let allowance = self.allowance.as_ref();
        let out = Output::new(streams.stdout, &gone).within(allowance);
        let err = Output::new(streams.stderr, &gone).within(allowance);
        let ended = async {
            let status = tokio::select! {
                status = process.ended() => status.ok(),
                () = self.kill.cancelled() => None,
                () = super::used_up(allowance) => None,
            };
            if status.is_none() {
                process.stop(FAREWELL).await;
            }
            gone.cancel();
            // Asked once more it tells the same.
            process.ended().await.ok()
        };
        let (status, (), ()) = tokio::join!(ended, self.watch(out), self.watch(err));
        let exit = exit_status(status);
        let (text, is_cut) = self.screen.lock().text();
        let (shown, is_short) = last_of(&text, SHOWN);
        let mut result = json!({"exit_code": exit["exitCode"], "output": shown});
        if !exit["signal"].is_null() {
            result["signal"] = exit["signal"].clone();
        }
        if is_cut || is_short {
            result["truncated"] = json!(true);
        }
        // A job that has ended needs no record of it.
        drop(self.ctx.tool_result(&self.call, result).await);
        exit
    }

    async fn watch(&self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 8192];
        // A pipe that cannot be read is at its end.
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.screen.lock().write(&buffer[..read]);
        }
    }
}

impl Screen {
    fn new(most: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            most,
            is_cut: false,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let surplus = self.bytes.len().saturating_sub(self.most);
        if surplus > 0 {
            self.is_cut = true;
            self.bytes.drain(..surplus);
        }
    }

    /// What is there, from the beginning of a character on, and whether there was more.
    fn text(&mut self) -> (String, bool) {
        if self.is_cut {
            let middle = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
            let rest = self.bytes.iter().take(3).take_while(middle).count();
            self.bytes.drain(..rest);
        }
        let text = String::from_utf8_lossy(self.bytes.make_contiguous());
        (text.into_owned(), self.is_cut)
    }
}

/// At most so many bytes of the end of a text, and whether there is more.
fn last_of(text: &str, most: usize) -> (&str, bool) {
    let mut from = text.len().saturating_sub(most);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    (&text[from..], from > 0)
}

/// A command's words. One that stands in a single text has to be simple: nothing here is a shell.
fn words(command: &str, args: Vec<String>) -> Result<Vec<String>, String> {
    if !args.is_empty() || !command.contains(char::is_whitespace) {
        return Ok(std::iter::once(command.to_owned()).chain(args).collect());
    }
    permission::words(command).ok_or_else(|| {
        format!(
            "`{command}` is no simple command; give the program as `command` and its words as `args`, a shell among them where it \
             takes one"
        )
    })
}

/// How a command ended, as ACP has it.
fn exit_status(status: Option<ExitStatus>) -> Value {
    let code = status.and_then(|status| status.code());
    json!({"exitCode": code, "signal": status.and_then(signal)})
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<String> {
    use std::os::unix::process::ExitStatusExt as _;

    let number = status.signal()?;
    let name = nix::sys::signal::Signal::try_from(number);
    Some(name.map_or_else(|_| number.to_string(), |signal| signal.to_string()))
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> Option<String> {
    None
}

/// How many terminals a session has at once.
const MOST: usize = 16;

/// So much of a terminal's output is kept.
const SCREEN: usize = 1 << 20;

/// So much of it stands in the log.
const SHOWN: usize = 16 << 10;

/// How long a command has to end by itself.
const FAREWELL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// Of what is too much the end stays, whole characters of it.
    #[test]
    fn a_screen_keeps_the_end() {
        let mut screen = Screen::new(4);
        screen.write("ab".as_bytes());
        assert_eq!(screen.text(), ("ab".to_owned(), false));
        screen.write("cäé".as_bytes());
        assert_eq!(screen.text(), ("äé".to_owned(), true));
        screen.write(b"z");
        // The first character was cut in the middle.
        assert_eq!(screen.text(), ("éz".to_owned(), true));
        assert_eq!(last_of("äb", 2), ("b", true));
        assert_eq!(last_of("äb", 3), ("äb", false));
    }

    #[test]
    fn commands_are_words() {
        let of = |command: &str, args: &[&str]| {
            words(command, args.iter().map(|arg| (*arg).to_owned()).collect())
        };
        assert_eq!(of("git", &["a b"]).unwrap(), ["git", "a b"]);
        assert_eq!(of("git status", &[]).unwrap(), ["git", "status"]);
        for hidden in [
            "git a; sh",
            "echo \"a b\"",
            "ls *",
            "A=b git x",
            "cat ~/x",
            "a # b",
        ] {
            assert!(of(hidden, &[]).is_err(), "{hidden}");
        }
    }
}
