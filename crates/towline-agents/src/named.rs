//! Programs that jobs name and their lease covers (`tool.call`, `exec:NAME`), kept to the files of the lease.

use std::path::{Path, PathBuf};

use serde_json::Value;
use towline_proto::lease::{LeaseSet, Operation};
use towline_runtime::{AgentError, JobContext};
use towline_wire::{CallId, Shown, event, namespace};

use crate::{
    confined::Confinement,
    environment::{self, Environment},
    launcher::Launcher,
    proxy::Network,
    sandbox::Bounds,
    spawn::Program,
    trouble::failed,
};

/// What starts the programs that a job names.
#[derive(Debug, Clone)]
pub(crate) struct Starter {
    /// Without one a program cannot be confined.
    pub(crate) launcher: Option<Launcher>,
    pub(crate) confinement: Confinement,
    /// What they may reach over the network, when that is anything.
    pub(crate) network: Option<Network>,
    /// What they may read and run beside what the lease gives.
    pub(crate) read: Vec<PathBuf>,
}

/// A program that the lease covers, or a person let through.
pub(crate) struct Allowed<'w> {
    /// The call in the log.
    pub(crate) call: CallId,
    argv: &'w [String],
    found: Found,
    set: LeaseSet,
}

impl<'w> Allowed<'w> {
    /// Asks whether the job may run a command. `args` are what the log shows of it.
    ///
    /// # Errors
    /// INVALID_REQUEST when it names no program; what the lease says.
    pub(crate) async fn ask(
        ctx: &JobContext,
        argv: &'w [String],
        args: Value,
    ) -> Result<Self, AgentError> {
        let name = program(argv)?;
        let set = LeaseSet::compile(ctx.lease())?;
        let found = Found::new(name, &set);
        let tool = format!("exec:{}", found.asked);
        let call = ctx.tool_call(&tool, args).await?;
        let permit = ctx
            .authorize_call(Operation::ToolCall(&tool), &call)
            .await?;
        tracing::debug!(job = %ctx.job_id(), tool = permit.value(), "running a program");
        Ok(Self {
            call,
            argv,
            found,
            set,
        })
    }

    /// What errors call it.
    pub(crate) fn subject(&self) -> String {
        let name = self.argv.first().map_or("", String::as_str);
        format!("the program `{name}`")
    }

    /// The program, about to be started in `cwd`, or where it may be.
    ///
    /// # Errors
    /// The directory is not covered; the program is not there, or what the lease gives it cannot be given.
    pub(crate) async fn program(
        self,
        ctx: &JobContext,
        starter: Starter,
        cwd: Option<&str>,
    ) -> Result<Program, AgentError> {
        let subject = self.subject();
        let directory = directory(ctx, &self.set, cwd).await?;
        let (bounds, home) = if starter.confinement.off {
            (Bounds::Off, None)
        } else {
            bounds(ctx, &starter, self.found, &directory, &subject).await?
        };
        let mut program = Program {
            argv: self.argv.iter().map(Into::into).collect(),
            environment: variables(home.as_deref(), &directory),
            directory: Some(directory),
            bounds,
            network: starter.network,
            launcher: starter.launcher,
        };
        program.tell_job(ctx).await?;
        Ok(program)
    }
}

/// Begins of names that a job does not choose: which code a program is, and what it is told by us.
const NOT_CHOSEN: [&str; 5] = ["LD_", "DYLD_", "GLIBC_", "TOWLINE_", "ARCP_"];

/// The variables of a job (`env`) must not make another program of the one that the lease covers.
///
/// # Errors
/// INVALID_REQUEST, naming the variable.
pub(crate) fn check_variables<'v>(
    env: impl IntoIterator<Item = (&'v str, &'v str)>,
) -> Result<(), AgentError> {
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

/// What the program sees, beside what it is told of its job.
fn variables(home: Option<&Path>, directory: &Path) -> Environment {
    let mut variables = Environment::default();
    // Never in a directory that a job may choose.
    variables.set("PATH", environment::PATH);
    variables.set("LANG", "C.UTF-8");
    // A program that is not confined has nothing of its own.
    variables.set("HOME", home.unwrap_or(directory).to_string_lossy());
    if let Some(home) = home {
        variables.set("TMPDIR", home.join("tmp").to_string_lossy());
    }
    variables
}

#[cfg(target_os = "linux")]
async fn bounds(
    ctx: &JobContext,
    starter: &Starter,
    found: Found,
    directory: &Path,
    subject: &str,
) -> Result<(Bounds, Option<PathBuf>), AgentError> {
    use towline_wire::RawJson;

    use crate::{confine::Place, held::Held};

    let program = found.program.map_err(|error| {
        let details = RawJson::of(&serde_json::json!({"exit_code": NOT_FOUND}));
        failed(
            subject,
            &format!("ended with status {NOT_FOUND}: it cannot be run: {error}"),
        )
        .with_details(details.unwrap_or(RawJson::NULL))
    })?;
    let place = Place::open(directory)?;
    // It is asked about what is open: a link that was put there meanwhile leads nowhere.
    if place.path() != directory {
        return Err(failed(
            subject,
            "is not started: its directory was replaced",
        ));
    }
    let read = &starter.read;
    let confinement = &starter.confinement;
    let (held, home) = Held::named(ctx, confinement, program, place, read, subject).await?;
    Ok((Bounds::Lease(Box::new(held)), Some(home)))
}

#[cfg(not(target_os = "linux"))]
async fn bounds(
    _: &JobContext,
    starter: &Starter,
    _: Found,
    _: &Path,
    subject: &str,
) -> Result<(Bounds, Option<PathBuf>), AgentError> {
    // What nothing can be started with.
    let _ = &starter.read;
    Err(failed(
        subject,
        "is not started: this system cannot confine programs",
    ))
}

/// The status of shells for a program that is not there.
#[cfg(target_os = "linux")]
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

/// Why it came to nothing, for the log.
pub(crate) fn tool_error(error: &AgentError) -> event::ToolError {
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
        let check = |name: &str| check_variables([(name, "v")]);
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
