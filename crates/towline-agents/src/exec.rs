//! `exec`: runs a program its lease names, confined to the files its lease names.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;
use towline_proto::lease::{LeaseSet, Operation};
use towline_runtime::{Agent, AgentError, AgentFuture, JobContext};
use towline_wire::{Lease, RawJson, event, explain_json, namespace};

use crate::{
    environment::{self, Environment},
    launcher::Launcher,
    plain,
    sandbox::{Bounds, Granted},
    spawn::Program,
};

/// What every program needs to start: itself, the libraries, and what they read.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
    "/dev/zero",
    "/dev/urandom",
    "/dev/random",
];

/// What a program that may use the network needs beside.
const NETWORK: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl",
    "/etc/pki",
];

/// Runs a program that the job names and its lease covers (`tool.call`, `exec:NAME`), kept by the kernel to the files of the
/// lease's `fs.read` and `fs.write`. Its input is `{argv, cwd?, stdin?}`, its result what the program prints.
///
/// ```
/// use towline_agents::{ExecAgent, Launcher};
///
/// let exec = ExecAgent::new();
/// let exec = ExecAgent::new().launcher(Launcher::program("/opt/mine").arg("confine"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct ExecAgent {
    launcher: Option<Launcher>,
}

impl ExecAgent {
    /// With the launcher that [`Launcher::find`] finds.
    pub fn new() -> Self {
        Self::default()
    }

    /// The program that starts programs. Default: as [`Launcher::find`] finds it; without one, jobs are refused.
    #[must_use]
    pub fn launcher(mut self, launcher: Launcher) -> Self {
        self.launcher = Some(launcher);
        self
    }
}

impl Agent for ExecAgent {
    fn run(&self, ctx: JobContext, input: RawJson) -> AgentFuture {
        let launcher = self.launcher.clone();
        Box::pin(async move {
            let input = input
                .read::<Input>()
                .map_err(|cause| AgentError::invalid_input(&explain_json(&cause)))?;
            let launcher = launcher.map_or_else(Launcher::find, Ok)?;
            run(ctx, launcher, input).await
        })
    }
}

#[derive(Deserialize)]
struct Input {
    argv: Vec<String>,
    #[serde(default)]
    cwd: Option<String>,
    #[serde(default)]
    stdin: Option<String>,
}

async fn run(ctx: JobContext, launcher: Launcher, input: Input) -> Result<RawJson, AgentError> {
    let name = program(&input.argv)?;
    let tool = format!("exec:{name}");
    let call = ctx.tool_call(&tool, json!({"argv": input.argv})).await?;
    let permit = ctx
        .authorize_call(Operation::ToolCall(&tool), &call)
        .await?;
    let lease = ctx.lease().clone();
    let set = LeaseSet::compile(&lease)?;
    let cwd = directory(&ctx, &set, input.cwd.as_deref()).await?;
    let mut grants = Grants::default();
    grants.add(&set, &lease, namespace::FS_READ);
    grants.add(&set, &lease, namespace::FS_WRITE);
    for pattern in &grants.left_out {
        ctx.log(
            "warn",
            format!("`{pattern}` cannot be told to the kernel, so the program does not get it"),
        )
        .await?;
    }
    let mut variables = Environment::default();
    // Never in a directory that a job may choose.
    variables.set("PATH", environment::PATH);
    variables.set("LANG", "C.UTF-8");
    variables.set("HOME", cwd.to_string_lossy());
    let mut program = Program {
        argv: input.argv.iter().map(Into::into).collect(),
        directory: Some(cwd),
        environment: variables,
        bounds: Bounds::Lease(grants.granted(&lease, name)),
        launcher: Some(launcher),
    };
    program.tell_job(&ctx);
    tracing::debug!(job = %ctx.job_id(), tool = permit.value(), "running a program");
    let gave = plain::run(
        &ctx,
        &program,
        &format!("the program `{name}`"),
        input.stdin.map(String::into_bytes),
    )
    .await;
    match &gave {
        Ok(_) => ctx.tool_result(&call, json!({"exit_code": 0})).await?,
        // A job that has to end takes no more events.
        Err(_) if ctx.is_cancelled() => {}
        Err(error) => ctx.tool_failed(&call, tool_error(error)).await?,
    }
    gave
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

/// The paths of a lease as the kernel can be told them: whole trees and single files.
#[derive(Default)]
struct Grants {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    left_out: Vec<String>,
}

impl Grants {
    fn add(&mut self, set: &LeaseSet, lease: &Lease, namespace: &str) {
        for pattern in lease.patterns(namespace) {
            match path_of(set, namespace, pattern) {
                Some(path) if namespace == namespace::FS_WRITE => self.write.push(path),
                Some(path) => self.read.push(path),
                None => self.left_out.push(format!("{namespace}={pattern}")),
            }
        }
    }

    /// All the program gets: what the lease gives it, and what every program needs.
    fn granted(self, lease: &Lease, program: &str) -> Granted {
        let absolute = program.starts_with('/').then(|| PathBuf::from(program));
        let null = || PathBuf::from("/dev/null");
        let network = !lease.patterns(namespace::NET_FETCH).is_empty();
        let names = NETWORK.iter().filter(|_| network).map(PathBuf::from);
        Granted {
            read: self.read.into_iter().chain([null()]).chain(names).collect(),
            write: self.write.into_iter().chain([null()]).collect(),
            execute: SYSTEM.iter().map(PathBuf::from).chain(absolute).collect(),
            network,
        }
    }
}

/// The path whose tree (or which, being a file) is just what the pattern covers. Links are resolved, and what they lead to
/// has to be covered by the lease as well.
fn path_of(set: &LeaseSet, namespace: &str, pattern: &str) -> Option<PathBuf> {
    let (prefix, tree) = match pattern.strip_suffix("/**") {
        Some(prefix) => (prefix, true),
        None => (pattern, false),
    };
    if prefix.contains(['*', '?', '[', ']', '{', '}', '\\']) {
        return None;
    }
    let path = std::fs::canonicalize(if prefix.is_empty() { "/" } else { prefix }).ok()?;
    let text = path.to_str()?;
    // To the kernel a directory means all of its tree; a pattern without `/**` means the directory alone.
    if !tree && path.is_dir() {
        return None;
    }
    let covered = if tree && path.is_dir() {
        let below = format!("{}/**", escaped(text.trim_end_matches('/')));
        let child = LeaseSet::compile(&Lease::new().with(namespace, below)).ok()?;
        set.contains(&child).is_ok()
    } else {
        set.check(namespace, text).is_allowed()
    };
    covered.then_some(path)
}

fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | ',') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(patterns: &[String]) -> (Vec<PathBuf>, Vec<String>) {
        let lease: Lease = patterns
            .iter()
            .map(|pattern| (namespace::FS_READ, pattern.as_str()))
            .collect();
        let mut grants = Grants::default();
        grants.add(
            &LeaseSet::compile(&lease).unwrap(),
            &lease,
            namespace::FS_READ,
        );
        (grants.read, grants.left_out)
    }

    /// What the kernel is told is never more than what the lease says.
    #[test]
    fn only_trees_and_files_reach_the_kernel() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::create_dir_all(root.join("secret")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        let at = |rest: &str| format!("{}/{rest}", root.display());
        assert_eq!(grant(&[at("a/**")]).0, [root.join("a")]);
        assert_eq!(grant(&[at("file")]).0, [root.join("file")]);
        for inexact in [at("a"), at("*"), at("a/*"), at("**/x"), at("missing/**")] {
            let (told, left_out) = grant(std::slice::from_ref(&inexact));
            assert!(told.is_empty(), "{inexact}");
            assert_eq!(left_out, [format!("fs.read={inexact}")]);
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(root.join("secret"), root.join("link")).unwrap();
            assert!(grant(&[at("link/**")]).0.is_empty());
            assert_eq!(grant(&[at("link/**"), at("secret/**")]).0.len(), 2);
        }
    }

    #[test]
    fn programs_are_bare_names_or_absolute() {
        let name = |text: &str| program(&[text.to_owned()]).map(str::to_owned).ok();
        assert_eq!(name("ls").as_deref(), Some("ls"));
        assert_eq!(name("/usr/bin/ls").as_deref(), Some("/usr/bin/ls"));
        assert_eq!((name("./ls"), name("a/ls"), name("")), (None, None, None));
        assert!(program(&[]).is_err());
    }
}
