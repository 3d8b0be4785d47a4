//! `towline demo`: the first minute. A server with the dashboard, a scratch repository, and a coding agent at work on it, all of
//! it gone at the end. The agent is a program that speaks ACP, confined as any other, and has a script instead of a model; what it
//! does to files, and what it is refused, is real.

mod script;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;
use towline::{
    ErrorCode, Event, JobId, Lease,
    client::{Client, ClientOptions, JobHandle, Outcome as JobOutcome},
    transport::MemoryTransport,
};

use super::{doctor, following};
use crate::{
    args::{DemoArgs, GlobalArgs, OutputFormat, ServeArgs},
    connect::failed,
    context::Context,
    data_dir::write_private,
    exit,
    failure::{Failure, Outcome},
    output::{self, Follower},
    serve::Server,
    signals::Signals,
    values::{ACP_SCRIPT, Span},
};

/// Whose jobs they are, and what they may at most.
const PRINCIPAL: &str = "you";
const AGENT: &str = "coder";
/// The namespace of what has to be asked.
const ASK: &str = "x-vendor.towline.ask";
const BUDGET: &str = "USD:0.50";

/// How long the agent thinks, for people to follow, …
const PACE: Duration = Duration::from_millis(1200);
/// … and where nobody does: long enough to be told that its money is spent.
const SHORT_PACE: Duration = Duration::from_millis(100);

pub(super) async fn run(global: &GlobalArgs, args: DemoArgs) -> Outcome {
    let mut signals = Signals::new()?;
    let confines = doctor::confines().await;
    let pace = if args.headless { SHORT_PACE } else { PACE };
    let place = Place::new(confines, pace)?;
    let global = GlobalArgs {
        config: Some(place.path("towline.toml")),
        data_dir: Some(place.path("data")),
        // Only where nothing can be confined, and then this program alone is what runs.
        dangerously_unconfined_as_root: global.dangerously_unconfined_as_root || !confines,
        ..global.clone()
    };
    let context = Context::new(&global, true)?;
    let listen = args.listen.unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let serve = ServeArgs {
        listen: Some(listen),
        // Whoever leaves does not wait for a job that is for show.
        drain: Some(Span(Duration::ZERO)),
        ..ServeArgs::default()
    };
    output::note(WELCOME);
    if !confines {
        output::note(UNCONFINED);
    }
    let mut server = Server::open(&context, &serve, |builder| builder).await?;
    server.tell(Some(&place.token))?;
    output::note(&place.tour());
    let client = session(&server, &place).await?;
    // Who answers is somebody else than who asked for the job.
    let answerer = if args.headless {
        Some(session(&server, &place).await?)
    } else {
        None
    };
    let outcome = tokio::select! {
        outcome = work(&client, &place, answerer.as_ref()) => outcome,
        _ = signals.next() => Ok(exit::INTERRUPTED),
    };
    let stays = !args.headless
        && outcome
            .as_ref()
            .is_ok_and(|status| *status != exit::INTERRUPTED);
    if stays {
        output::note(FAREWELL);
        tokio::select! {
            _ = signals.next() => {}
            ended = server.ended() => ended?,
        }
    }
    // The end of everything: how the session ends changes nothing.
    drop(client.close("done").await);
    server.stop().await;
    let status = outcome?;
    Ok(if args.headless { status } else { exit::SUCCESS })
}

async fn session(server: &Server<'_>, place: &Place) -> Outcome<Client> {
    let (near, far) = MemoryTransport::pair();
    server.runtime().accept(far);
    let connected = Client::connect(near, ClientOptions::bearer(place.token.as_str())).await;
    connected.map_err(failed)
}

/// Has the jobs done, and shows the one. Its question waits for a person, unless there is somebody to answer it.
async fn work(client: &Client, place: &Place, answerer: Option<&Client>) -> Outcome {
    let repository = place.repository();
    let read = Lease::new().with("fs.read", format!("{repository}/**"));
    let index = client.submit("index").input(json!({"root": repository}));
    let mut index = index.lease(read.clone()).send().await.map_err(failed)?;
    index.discard_events();
    let lease = read
        .with("fs.write", format!("{repository}/src/**"))
        .with(ASK, place.asks_about())
        .with("cost.budget", BUDGET);
    let input = json!({"cwd": repository, "prompt": TASK});
    let job = client.submit(AGENT).input(input).lease(lease);
    let handle = job.send().await.map_err(failed)?;
    let job = handle.id().clone();
    let followed = follow(client, handle);
    match answerer {
        None => followed.await,
        Some(other) => {
            let (status, code) = tokio::try_join!(followed, approve(other, job))?;
            // Where its money ends is where the job is meant to end.
            let as_it_should = code == Some(ErrorCode::BUDGET_EXHAUSTED);
            Ok(if as_it_should { exit::SUCCESS } else { status })
        }
    }
}

/// Says yes to whatever the job asks, until it ends; the code it failed with.
async fn approve(client: &Client, job: JobId) -> Outcome<Option<ErrorCode>> {
    let watch = client.subscribe(job.clone()).history(true).send().await;
    let mut watch = watch.map_err(failed)?;
    while let Some(event) = watch.next_event().await.map_err(failed)? {
        if let Ok(Event::InputRequest(request)) = event.event() {
            let answer = client.answer(job.clone(), request.question_id, true);
            answer
                .note("nobody is here: --headless")
                .await
                .map_err(failed)?;
        }
    }
    let outcome = watch.outcome().await.map_err(failed)?;
    Ok(match outcome {
        JobOutcome::Failure(failure) => Some(failure.code),
        JobOutcome::Success(_) => None,
    })
}

async fn follow(client: &Client, handle: JobHandle) -> Outcome {
    let mut follower = Follower::new(OutputFormat::Human, false, false);
    let end = following::follow_own(client, handle, None, &mut follower).await?;
    Ok(end.status)
}

/// The directory all of it is in, and the token of the one who looks.
struct Place {
    directory: TempDir,
    token: String,
}

impl Place {
    /// Whether agents are confined, and how long this one thinks between two steps.
    fn new(confines: bool, pace: Duration) -> Outcome<Self> {
        let failed =
            |error: std::io::Error| Failure::local(format!("cannot make a directory: {error}"));
        let mut directory = tempfile::Builder::new();
        directory.prefix("towline-demo-");
        // The token is in there.
        #[cfg(unix)]
        directory.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let directory = directory.tempdir().map_err(failed)?;
        let place = Self {
            directory,
            token: towline::env::Ids::system()
                .resume_token()
                .expose()
                .to_owned(),
        };
        for (name, text) in script::FILES {
            let path = place.path("repository").join(name);
            if let Some(above) = path.parent() {
                fs::create_dir_all(above).map_err(failed)?;
            }
            fs::write(path, text).map_err(failed)?;
        }
        let script = script::of(&place.repository(), pace).to_string();
        let program = std::env::current_exe().map_err(failed)?;
        let files = [
            ("script.json", script),
            ("towline.toml", place.configuration(&program, confines)),
        ];
        for (name, text) in files {
            fs::write(place.path(name), text).map_err(failed)?;
        }
        write_private(&place.path("token"), place.token.as_bytes()).map_err(failed)?;
        Ok(place)
    }

    /// Without links on the way: a lease is about where files really are.
    fn path(&self, name: &str) -> PathBuf {
        let directory = self.directory.path();
        let directory = directory.canonicalize();
        directory
            .unwrap_or_else(|_| self.directory.path().to_owned())
            .join(name)
    }

    fn repository(&self) -> String {
        self.path("repository").to_string_lossy().into_owned()
    }

    /// What the job may do if a person says so.
    fn asks_about(&self) -> String {
        format!("fs.write={}/{}", self.repository(), script::README)
    }

    fn configuration(&self, program: &Path, confines: bool) -> String {
        let tree = json!(format!("{}/**", self.repository()));
        let asks = json!(self.asks_about());
        let command = json!([program, ACP_SCRIPT, self.path("script.json")]);
        let confine = if confines { "lease" } else { "off" };
        format!(
            "[[auth.tokens]]\nprincipal = \"{PRINCIPAL}\"\ntoken_file = \"token\"\nrole = \"{PRINCIPAL}\"\n\n\
             [roles.{PRINCIPAL}]\nbudget_per_job = \"{BUDGET}\"\nlease_ceiling = {{ \"fs.read\" = [{tree}], \
             \"fs.write\" = [{tree}], \"{ASK}\" = [{asks}] }}\n\n[agents.index]\nbuiltin = \"index\"\n\n\
             [agents.{AGENT}]\ncommand = {command}\nprotocol = \"acp\"\nconfine = \"{confine}\"\n"
        )
    }

    fn tour(&self) -> String {
        format!(
            "repository: {}\n\n\
             Open the dashboard. The job `{AGENT}` may read the repository, write src/ and spend {BUDGET}:\n\
             \x20 - its timeline shows what it reads, and the edit as a diff;\n\
             \x20 - under Denials stands the read outside;\n\
             \x20 - in the Inbox it asks before it writes the README: approve it, or not;\n\
             \x20 - its budget gauge falls, and the job ends where the money does.\n",
            self.repository()
        )
    }
}

const TASK: &str = "The greeting is misspelt. Mend it, and tell readers about it.";

const WELCOME: &str = "\
towline demo: a coding agent that has a script instead of a model, a server and its dashboard, all on this machine.\n";

const UNCONFINED: &str = "\
This system cannot confine programs (`towline doctor` says why). The agent of this demo is a part of towline, and runs unconfined.\n";

const FAREWELL: &str =
    "\nThe job is done; the dashboard stays. Ctrl-C ends the demo and removes all of it.";
