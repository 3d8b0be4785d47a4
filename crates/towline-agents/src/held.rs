//! A program that is held to a lease: what it gets is put together here, for every kind of agent, and it is started here.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::TempDir;
use tokio::process::{Child, ChildStdin};
use towline_proto::lease::LeaseSet;
use towline_runtime::{AgentError, JobContext};
use towline_wire::ErrorCode;

use crate::{
    confine::{Access, Door, Input, Kernel, Place, Plan, Program, Refusal},
    confined::Confinement,
    grants::Grants,
    launcher::Launcher,
    process::{Kept, Process, Streams},
    proxy::{Network, Shared},
    side::{self, Theirs},
    trouble::failed,
};

/// A program with what a lease gives it, about to be started.
#[derive(Debug)]
pub(crate) struct Held {
    plan: Plan,
    confinement: Confinement,
    home: Option<TempDir>,
}

impl Held {
    /// A program that the job's lease names: it gets the files of the lease, may read and run what an operator says, and has a
    /// directory of its own, which is also given back, for its environment.
    ///
    /// # Errors
    /// The lease gives what no confined program can be given.
    pub(crate) async fn named(
        ctx: &JobContext,
        confinement: &Confinement,
        program: Program,
        directory: Place,
        read: &[PathBuf],
        subject: &str,
    ) -> Result<(Self, PathBuf), AgentError> {
        let mut plan = Plan::new(program).directory(directory);
        for path in read {
            let place = Place::open(path).map_err(|error| cannot(subject, path, &error))?;
            plan = plan.grant(place, Access::Run);
        }
        Self::at_home(ctx, confinement, plan, subject).await
    }

    /// A program the operator names: it gets the files of the lease, those its command names, what the operator says, and a
    /// directory of its own, which is also given back, for its environment.
    ///
    /// # Errors
    /// As [`Held::named`]; or something the operator named is not there.
    pub(crate) async fn of_operator(
        ctx: &JobContext,
        confinement: &Confinement,
        command: Command<'_>,
        subject: &str,
    ) -> Result<(Self, PathBuf), AgentError> {
        let open = |path: &Path| Place::open(path).map_err(|error| cannot(subject, path, &error));
        // A bare name is told as the file it was found as: an interpreter looks for its libraries beside the name it is
        // called by, and in there not every directory that it would look for itself in can be seen.
        let found = command.program.to_string_lossy();
        let called = if command.given.contains('/') {
            command.given
        } else {
            &*found
        };
        let program = Program::open(&command.program, called)
            .map_err(|error| cannot(subject, &command.program, &error))?;
        let mut plan = Plan::new(program).directory(open(command.directory)?);
        let files = command
            .words
            .iter()
            .map(|word| command.directory.join(word));
        for file in files.filter(|file| file.is_file()) {
            plan = plan.grant(open(&file)?, Access::Read);
        }
        for path in environment_of(&command.program)
            .iter()
            .chain(&confinement.read)
        {
            plan = plan.grant(open(path)?, Access::Run);
        }
        Self::at_home(ctx, confinement, plan, subject).await
    }

    /// Adds a directory of the program's own, which ends with the job unless the operator names it, and what the lease gives
    /// [ARCP 18-1].
    async fn at_home(
        ctx: &JobContext,
        confinement: &Confinement,
        plan: Plan,
        subject: &str,
    ) -> Result<(Self, PathBuf), AgentError> {
        let (home, kept) = match &confinement.state {
            Some(state) => (state.clone(), None),
            None => {
                let own = tempfile::Builder::new().prefix("towline-").tempdir()?;
                (own.path().to_owned(), Some(own))
            }
        };
        make_private(&home.join("tmp")).map_err(|error| cannot(subject, &home, &error))?;
        let place = Place::open(&home).map_err(|error| cannot(subject, &home, &error))?;
        let home = place.path().to_owned();
        let plan = granted(ctx, plan.grant_own(place, Access::ReadWrite)).await?;
        let held = Self {
            plan,
            confinement: confinement.clone(),
            home: kept,
        };
        Ok((held, home))
    }

    /// Starts it, and says in the job's log what holds it.
    ///
    /// # Errors
    /// It cannot be held here, or not be run.
    pub(crate) async fn start(
        self,
        ctx: &JobContext,
        launcher: &Launcher,
        begin: Begin,
        subject: &str,
    ) -> Result<(Process, Streams), AgentError> {
        let Self {
            mut plan,
            confinement,
            home,
        } = self;
        plan = plan
            .args(begin.arguments)
            .limits(confinement.limits.clone())
            .protect(&confinement.protected);
        for (name, value) in begin.variables {
            plan = plan.env(name, value);
        }
        if let Some(events) = begin.events {
            plan = plan.pass(side::EVENTS, events);
        }
        let kernel = kernel(&confinement, launcher).await;
        let way;
        (plan, way) = opened(plan, begin.network, kernel, confinement.by_port)
            .map_err(|refusal| refused(subject, refusal))?;
        let mut command = launcher.command();
        let prepared = plan
            .prepare(command.as_std_mut(), kernel, Input::Piped)
            .map_err(|refusal| refused(subject, refusal))?;
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let cannot = |error: &io::Error| failed(subject, &format!("cannot be started: {error}"));
        let mut child = command.spawn().map_err(|error| cannot(&error))?;
        // The command has the launcher's end of the socket.
        drop(command);
        let mut hold = prepared.hold;
        let report = hold.begun().await;
        let report = report.map_err(|refusal| refused(subject, refusal))?;
        let input = prepared.stdin.map(OwnedFd::from).map(Into::into);
        let input = input.map(ChildStdin::from_std).transpose()?;
        let streams = streams_of(&mut child, input)
            .ok_or_else(|| cannot(&io::Error::other("it has no standard streams")))?;
        let mut process = Process::held(child, Kept::new(hold, home), confinement.limits.memory);
        if let Some((network, door, shared)) = way {
            let port = door.port();
            let listener = door.listener().await.map_err(|error| cannot(&error))?;
            process = process.with_proxy(Some(network.serve(listener, port, shared)));
        }
        ctx.log("debug", report.to_string()).await?;
        Ok((process, streams))
    }
}

fn cannot(subject: &str, what: &Path, error: &io::Error) -> AgentError {
    failed(
        subject,
        &format!("cannot be started: `{}`: {error}", what.display()),
    )
}

/// A way to the network: what is behind the door, and what has to be said there.
type Way = (Network, Door, Shared);

/// Opens the door to the network that a program is to have, and tells the program where it is. One that it can do without is not
/// opened where it would lead elsewhere too.
fn opened(
    mut plan: Plan,
    network: Option<Network>,
    kernel: &Kernel,
    by_port: bool,
) -> Result<(Plan, Option<Way>), Refusal> {
    let Some(network) = network else {
        return Ok((plan, None));
    };
    let mut door = match Door::open(kernel, by_port && network.is_needed()) {
        Ok(door) => door,
        Err(_) if !network.is_needed() => return Ok((plan, None)),
        Err(refusal) => return Err(refusal),
    };
    let shared = Shared::new(door.is_shared());
    for (name, value) in network.variables(door.port(), &shared, true) {
        plan = plan.env(name, value);
    }
    let plan = plan.door(&mut door);
    Ok((plan, Some((network, door, shared))))
}

fn streams_of(child: &mut Child, input: Option<ChildStdin>) -> Option<Streams> {
    Some(Streams {
        stdin: input?,
        stdout: child.stdout.take()?,
        stderr: child.stderr.take()?,
    })
}

/// How a program begins.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) arguments: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
    /// What it may reach over the network, when that is anything.
    pub(crate) network: Option<Network>,
    /// Its end of the side channel.
    pub(crate) events: Option<Theirs>,
}

/// A command of an operator.
#[derive(Debug)]
pub(crate) struct Command<'c> {
    /// Its file, wherever that was found.
    pub(crate) program: PathBuf,
    /// How it is written.
    pub(crate) given: &'c str,
    /// What follows it.
    pub(crate) words: &'c [String],
    /// Where it starts, and what its words count from.
    pub(crate) directory: &'c Path,
}

/// The libraries of an interpreter that lies in a virtual environment of Python's.
fn environment_of(program: &Path) -> Option<PathBuf> {
    let root = program.parent()?.parent()?;
    root.join("pyvenv.cfg").is_file().then(|| root.to_owned())
}

/// Adds what the job's lease gives, and says what of it cannot be given.
async fn granted(ctx: &JobContext, mut plan: Plan) -> Result<Plan, AgentError> {
    let lease = ctx.lease();
    let grants = Grants::of(&LeaseSet::compile(lease)?, lease);
    for pattern in &grants.left_out {
        ctx.log(
            "warn",
            format!("`{pattern}` cannot be told to the kernel, so the program does not get it"),
        )
        .await?;
    }
    for (place, access) in grants.places {
        plan = plan.grant(place, access);
    }
    Ok(plan)
}

async fn kernel<'c>(confinement: &'c Confinement, launcher: &Launcher) -> &'c Kernel {
    confinement.kernel.get_or_init(|| launcher.probe()).await
}

/// A directory for its owner alone, with those above it.
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;

    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// What a job hears whose program does not run.
pub(crate) fn refused(subject: &str, refusal: Refusal) -> AgentError {
    match refusal {
        Refusal::Network(_)
        | Refusal::Protected { .. }
        | Refusal::Linked { .. }
        | Refusal::NotThere { .. } => {
            AgentError::new(ErrorCode::PERMISSION_DENIED, refusal.to_string())
        }
        Refusal::CannotRun(why) => failed(subject, &format!("cannot be started: {why}")),
        refusal => failed(subject, &format!("is not started: {refusal}")),
    }
}
