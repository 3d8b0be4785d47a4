//! `exec`: runs a program its lease names, confined to the files its lease names.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::json;
use towline_proto::lease::{LeaseSet, Operation};
use towline_runtime::{Agent, AgentError, AgentFuture, JobContext};
use towline_wire::{RawJson, Shown, event, explain_json, namespace};

use crate::{
    collected::ResultForm,
    confined::Confinement,
    environment::{self, Environment},
    launcher::Launcher,
    plain::{self, Manner},
    proxy::Network,
    sandbox::Bounds,
    spawn::Program,
    trouble::failed,
};

/// Runs a program that the job names and its lease covers (`tool.call`, `exec:NAME`), kept by the kernel to the files of the
/// lease's `fs.read` and `fs.write`. Its input is `{argv, cwd?, stdin?, env?}`, its result what the program prints; each line of
/// that is a log event as well, as soon as it is written.
///
/// The program finds a private directory in `HOME`, with `TMPDIR` in it, and the variables of `env`, whose values stand in no
/// event.
///
/// ```
/// use towline_agents::{ExecAgent, Launcher};
///
/// let exec = ExecAgent::new();
/// let exec = ExecAgent::new().launcher(Launcher::program("/opt/mine").arg("confine"));
/// ```
#[derive(Debug, Clone)]
pub struct ExecAgent {
    launcher: Option<Launcher>,
    confinement: Confinement,
    form: ResultForm,
    live: bool,
}

impl Default for ExecAgent {
    fn default() -> Self {
        Self {
            launcher: None,
            confinement: Confinement::default(),
            form: ResultForm::default(),
            live: true,
        }
    }
}

impl ExecAgent {
    /// With the launcher that [`Launcher::find`] finds.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the output of its programs is as a result. Default: [`ResultForm::Auto`].
    #[must_use]
    pub fn result(mut self, form: ResultForm) -> Self {
        self.form = form;
        self
    }

    /// Whether each line of output is a log event as well. Default: yes.
    #[must_use]
    pub fn live_lines(mut self, live: bool) -> Self {
        self.live = live;
        self
    }

    /// The program that starts programs. Default: as [`Launcher::find`] finds it; without one, jobs are refused.
    #[must_use]
    pub fn launcher(mut self, launcher: Launcher) -> Self {
        self.launcher = Some(launcher);
        self
    }

    /// What confines its programs. Default: the lease of the job.
    #[must_use]
    pub fn confinement(mut self, confinement: Confinement) -> Self {
        self.confinement = confinement;
        self
    }
}

impl Agent for ExecAgent {
    fn run(&self, ctx: JobContext, input: RawJson) -> AgentFuture {
        let mut exec = self.clone();
        Box::pin(async move {
            let input = input
                .read::<Input>()
                .map_err(|cause| AgentError::invalid_input(&explain_json(&cause)))?;
            check_names(&input.env)?;
            let launcher = exec.launcher.take().map_or_else(Launcher::find, Ok)?;
            exec.job(ctx, launcher, input).await
        })
    }

    fn spends_unasked(&self) -> bool {
        true
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    argv: Vec<String>,
    #[serde(default)]
    cwd: Option<String>,
    #[serde(default)]
    stdin: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

/// Begins of names that a job does not choose: which code a program is, and what it is told by us.
const NOT_CHOSEN: [&str; 5] = ["LD_", "DYLD_", "GLIBC_", "TOWLINE_", "ARCP_"];

/// The variables of `env` must not make another program of the one that the lease covers.
fn check_names(env: &BTreeMap<String, String>) -> Result<(), AgentError> {
    for (name, value) in env {
        let why = if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            "is no variable: a name has no `=`, and neither it nor the value a NUL"
        } else if name == "PATH" || NOT_CHOSEN.iter().any(|begin| name.starts_with(begin)) {
            "is not a job's to set: it decides which code runs, or is set by the runtime"
        } else {
            continue;
        };
        let words = format!(
            "`env` names `{}`, which {why}; leave it out",
            Shown::new(name)
        );
        return Err(AgentError::invalid_input(&words));
    }
    Ok(())
}

impl ExecAgent {
    async fn job(
        self,
        ctx: JobContext,
        launcher: Launcher,
        input: Input,
    ) -> Result<RawJson, AgentError> {
        let name = program(&input.argv)?;
        let set = LeaseSet::compile(ctx.lease())?;
        let found = Found::new(name, &set);
        let tool = format!("exec:{}", found.asked);
        let call = ctx.tool_call(&tool, json!({"argv": input.argv})).await?;
        let permit = ctx
            .authorize_call(Operation::ToolCall(&tool), &call)
            .await?;
        tracing::debug!(job = %ctx.job_id(), tool = permit.value(), "running a program");
        let network = Network::of(&ctx, &self.confinement.network);
        let ran = self.start_and_run(&ctx, launcher, found, (&set, network.clone()), &input);
        let gave = Network::run(network, Box::pin(ran)).await;
        match &gave {
            Ok(_) => ctx.tool_result(&call, json!({"exit_code": 0})).await?,
            // A job that has to end takes no more events.
            Err(_) if ctx.is_cancelled() => {}
            Err(error) => ctx.tool_failed(&call, tool_error(error)).await?,
        }
        gave
    }

    async fn start_and_run(
        &self,
        ctx: &JobContext,
        launcher: Launcher,
        found: Found,
        (set, network): (&LeaseSet, Option<Network>),
        input: &Input,
    ) -> Result<RawJson, AgentError> {
        let confinement = &self.confinement;
        let name = program(&input.argv)?;
        let subject = format!("the program `{name}`");
        let directory = directory(ctx, set, input.cwd.as_deref()).await?;
        let (bounds, home) = if confinement.off {
            (Bounds::Off, None)
        } else {
            bounds(ctx, confinement, found, &directory, &subject).await?
        };
        let mut program = Program {
            argv: input.argv.iter().map(Into::into).collect(),
            environment: variables(home.as_deref(), &directory, input),
            directory: Some(directory),
            bounds,
            network,
            launcher: Some(launcher),
        };
        program.tell_job(ctx).await?;
        let stdin = input.stdin.clone().map(String::into_bytes);
        let manner = Manner {
            form: self.form,
            live: self.live,
            output: confinement.limits.output,
        };
        plain::run(ctx, program, &subject, stdin, manner).await
    }
}

/// What the program sees, beside what it is told of its job.
fn variables(home: Option<&Path>, directory: &Path, input: &Input) -> Environment {
    let mut variables = Environment::default();
    // Never in a directory that a job may choose.
    variables.set("PATH", environment::PATH);
    variables.set("LANG", "C.UTF-8");
    // A program that is not confined has nothing of its own.
    variables.set("HOME", home.unwrap_or(directory).to_string_lossy());
    if let Some(home) = home {
        variables.set("TMPDIR", home.join("tmp").to_string_lossy());
    }
    for (name, value) in &input.env {
        variables.set(name, value);
    }
    variables
}

#[cfg(target_os = "linux")]
async fn bounds(
    ctx: &JobContext,
    confinement: &Confinement,
    found: Found,
    directory: &Path,
    subject: &str,
) -> Result<(Bounds, Option<PathBuf>), AgentError> {
    use crate::{confine::Place, held::Held};

    let program = found.program.map_err(|error| {
        let details = RawJson::of(&json!({"exit_code": NOT_FOUND})).unwrap_or(RawJson::NULL);
        failed(
            subject,
            &format!("ended with status {NOT_FOUND}: it cannot be run: {error}"),
        )
        .with_details(details)
    })?;
    let place = Place::open(directory)?;
    // It is asked about what is open: a link that was put there meanwhile leads nowhere.
    if place.path() != directory {
        return Err(failed(
            subject,
            "is not started: its directory was replaced",
        ));
    }
    let (held, home) = Held::named(ctx, confinement, program, place, subject).await?;
    Ok((Bounds::Lease(Box::new(held)), Some(home)))
}

#[cfg(not(target_os = "linux"))]
async fn bounds(
    _: &JobContext,
    _: &Confinement,
    _: Found,
    _: &Path,
    subject: &str,
) -> Result<(Bounds, Option<PathBuf>), AgentError> {
    Err(failed(
        subject,
        "is not started: this system cannot confine programs",
    ))
}

/// The status of shells for a program that is not there.
const NOT_FOUND: u8 = 127;

/// The program that a name leads to, and the name the lease is asked about [ARCP 18-1].
struct Found {
    asked: String,
    #[cfg(target_os = "linux")]
    program: std::io::Result<crate::confine::Program>,
}

impl Found {
    /// Of the names that stand for it the first that the lease covers, else the one without links.
    #[cfg(target_os = "linux")]
    fn new(name: &str, set: &LeaseSet) -> Self {
        let program = crate::confine::Program::find(name);
        let covered = |name: &String| {
            set.check(namespace::TOOL_CALL, &format!("exec:{name}"))
                .is_allowed()
        };
        let asked = match &program {
            Ok(program) => {
                let mut names = program.names();
                let at = names.iter().position(covered).unwrap_or(0);
                names.swap_remove(at)
            }
            // What is not there has no other name; but it is not asked about with a way around.
            Err(_) => climbed(name),
        };
        Self { asked, program }
    }

    #[cfg(not(target_os = "linux"))]
    fn new(name: &str, _: &LeaseSet) -> Self {
        Self {
            asked: climbed(name),
        }
    }
}

/// A path without `.` and `..`, as it is written.
fn climbed(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    let root = if name.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

fn tool_error(error: &AgentError) -> event::ToolError {
    let code = error.code().clone();
    event::ToolError {
        retryable: code.is_retryable(),
        message: error.message().to_owned(),
        code,
    }
}

/// The program's name as it stands in the lease: a bare name, or an absolute path.
fn program(argv: &[String]) -> Result<&str, AgentError> {
    let name = argv.first().map_or("", String::as_str);
    let well = !name.is_empty() && (!name.contains('/') || name.starts_with('/'));
    if well {
        Ok(name)
    } else {
        Err(AgentError::invalid_input(&format!(
            "`argv[0]` is `{name}`; give a program's bare name, or its absolute path"
        )))
    }
}

/// Where the program runs: where it is told to, if it may read there; else here, if it may read here; else at the root.
async fn directory(
    ctx: &JobContext,
    set: &LeaseSet,
    given: Option<&str>,
) -> Result<PathBuf, AgentError> {
    if let Some(given) = given {
        let permit = ctx.authorize(Operation::FsRead(given)).await?;
        let found = std::fs::canonicalize(permit.value());
        let found = found
            .map_err(|error| AgentError::invalid_input(&format!("`cwd` is `{given}`: {error}")))?;
        // A link must not lead out of the lease.
        let permit = ctx
            .authorize(Operation::FsRead(&found.to_string_lossy()))
            .await?;
        return Ok(PathBuf::from(permit.value()));
    }
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let may = set
        .check(namespace::FS_READ, &here.to_string_lossy())
        .is_allowed();
    Ok(if may { here } else { PathBuf::from("/") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_bare_names_or_absolute() {
        let name = |text: &str| program(&[text.to_owned()]).map(str::to_owned).ok();
        assert_eq!(name("ls").as_deref(), Some("ls"));
        assert_eq!(name("/usr/bin/ls").as_deref(), Some("/usr/bin/ls"));
        assert_eq!((name("./ls"), name("a/ls"), name("")), (None, None, None));
        assert!(program(&[]).is_err());
    }

    /// A lease that covers one program must not become one for any code by a variable.
    #[test]
    fn variables_make_no_other_program() {
        let check = |name: &str| check_names(&BTreeMap::from([(name.to_owned(), "v".to_owned())]));
        for name in ["MODE", "HOME", "TMPDIR", "PYTHONPATH_", "LDFLAGS"] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "A=B",
            "A\0",
            "PATH",
            "LD_PRELOAD",
            "TOWLINE_EVENTS",
            "ARCP_JOB_ID",
        ] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
