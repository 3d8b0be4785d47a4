//! `towline run`

use towline::{
    JobId,
    env::{Clock as _, SystemClock},
    wire::{RawJson, namespace},
};

use super::{following, lease};
use crate::{
    args::{ConnectArgs, NewJobArgs, OutputFormat, RerunArgs, RunArgs},
    connect::{self, Connection, failed},
    context::Context,
    embedded::Purpose,
    exit,
    failure::{Failure, Outcome},
    job_name,
    output::{self, Follower},
    sessions::SavedSession,
    signals::Signals,
    target::absolute,
    values::without_user,
    work_dir::WorkDir,
};

/// What is run.
enum What<'w> {
    Agent(&'w str),
    /// Another run of this job.
    Again(&'w str),
}

/// `towline rerun`
pub(super) async fn again(context: &Context, mut args: RerunArgs) -> Outcome {
    if args.job.connect.url.is_none() {
        // A job that was left behind here is at the server its session knows.
        args.job.connect.url = connect::url_of(context, &args.earlier)?;
    }
    start(context, &What::Again(&args.earlier), &args.job, None).await
}

/// `towline run`
pub(super) async fn run(context: &Context, mut args: RunArgs) -> Outcome {
    if let Some(dir) = &args.dir {
        args.job.lease.extend(dir.grants());
    }
    let dir = args.dir.as_ref();
    start(context, &What::Agent(&args.agent), &args.job, dir).await
}

async fn start(
    context: &Context,
    what: &What<'_>,
    args: &NewJobArgs,
    dir: Option<&WorkDir>,
) -> Outcome {
    let server = args.connect.url.as_deref();
    let target = server.map(connect::target).transpose()?;
    // Read before connecting: a wrong input is no reason to open a session.
    let input = args
        .input
        .as_ref()
        .map(crate::values::Input::load)
        .transpose()
        .map_err(Failure::usage)?;
    let input = match dir {
        Some(dir) => Some(dir.named_in(input).map_err(Failure::usage)?),
        None => input,
    };
    let here = match server {
        Some(_) => None,
        None => Connection::to_server_here(context).await,
    };
    let stays = here.is_some() || target.is_some_and(|target| !target.is_child());
    if args.detach && !stays {
        let failure =
            Failure::usage("--detach needs a server: any other runtime ends with this program");
        return Err(failure.help(
            "start one with `towline serve`, on this data directory or elsewhere, and name that one with --url",
        ));
    }
    let connection = match (here, server) {
        (Some(here), _) => here,
        (None, Some(url)) if args.detach => {
            Connection::open_for_others(url, context, &args.connect).await?
        }
        (None, server) => {
            if let (None, What::Agent(agent)) = (server, what) {
                context.config.check_trust(agent)?;
            }
            Connection::open(context, &args.connect, Purpose::Work).await?
        }
    };
    if !args.detach {
        let end = follow(context, &connection, what, args, input).await;
        if end.as_ref().is_ok_and(|end| end.left) {
            // Nothing is waited for: what is left of an embedded runtime is as if it had been killed.
            drop(connection);
        } else {
            close(connection).await?;
        }
        return Ok(end?.status);
    }
    let outcome = detach(context, &connection, what, args, input).await;
    match outcome {
        Ok(_) => connection.leave().await,
        Err(_) => connection.close().await,
    }
    outcome
}

async fn follow(
    context: &Context,
    connection: &Connection,
    what: &What<'_>,
    args: &NewJobArgs,
    input: Option<RawJson>,
) -> Outcome<following::End> {
    let mut follower = Follower::new(args.format.output, args.quiet, args.raw);
    let handle = submit(context, connection, what, args, input).await?;
    let job = output::clean(handle.id());
    let found_by = found_by(connection, &args.connect, &job);
    let client = &connection.client;
    let outcome = following::follow_own(client, handle, found_by, &mut follower).await;
    if connection.went_away(&outcome) {
        let help = format!(
            "the server on this data directory has ended; at its next start `towline watch {job}` shows what became of the job"
        );
        return outcome.map_err(|failure| failure.help(help));
    }
    outcome
}

/// Closes the session. Signals were for the job; now that it has ended, one more ends the program.
async fn close(connection: Connection) -> Outcome<()> {
    let mut signals = Signals::new()?;
    tokio::select! {
        () = connection.close() => {}
        _ = signals.next() => {}
    }
    Ok(())
}

/// The command that finds a job where it goes on without this program, if it does.
fn found_by(connection: &Connection, args: &ConnectArgs, job: &str) -> Option<String> {
    if connection.is_of_this_program() {
        return None;
    }
    match &args.url {
        None => Some(format!("towline watch {job}")),
        Some(url) => {
            let stays = connect::target(url).is_ok_and(|target| !target.is_child());
            let url = output::clean(without_user(&absolute(url)));
            stays.then(|| format!("towline watch {job} --url {url}"))
        }
    }
}

async fn detach(
    context: &Context,
    connection: &Connection,
    what: &What<'_>,
    args: &NewJobArgs,
    input: Option<RawJson>,
) -> Outcome {
    // The server on this data directory needs no session of the past: its owner may do everything.
    let left_at = args.connect.url.as_ref();
    if left_at.is_some() {
        // Before there is a job that nobody could name.
        context.sessions().prepare()?;
    }
    let handle = submit(context, connection, what, args, input).await?;
    let job = handle.id().to_string();
    let agent = following::accepted(&handle).agent;
    let mut saved_it = Ok(());
    if let Some(url) = left_at {
        let saved = SavedSession {
            url: absolute(url),
            session_id: String::new(),
            job_id: job.clone(),
            agent: agent.clone(),
            created_at: SystemClock.now().to_string(),
            token: connect::token(&args.connect)?.map(|token| token.expose().to_owned()),
            until: None,
            resume: serde_json::Value::Null,
        };
        saved_it = connect::save(&connection.client, saved, &context.sessions()).await;
    }
    let document = serde_json::json!({"job_id": job, "agent": agent, "detached": true});
    match args.format.output {
        OutputFormat::Human => output::line(&output::clean(&job))?,
        OutputFormat::Json | OutputFormat::Ndjson => output::json(&document)?,
    }
    let job = output::clean(&job);
    // The job runs, and was named above, whatever became of its session.
    saved_it.map_err(|failure| {
        let url = left_at.map_or_else(String::new, |url| without_user(&absolute(url)));
        failure.told().help(format!(
            "job {job} runs all the same; follow it with: towline watch {job} --url {}",
            output::clean(url)
        ))
    })?;
    output::note(&format!("detached; follow it with: towline watch {job}"));
    Ok(exit::SUCCESS)
}

/// The agent of a job, with its version where it has one.
async fn agent_of(connection: &Connection, job: JobId) -> Outcome<String> {
    let earlier = connection.client.subscribe(job).send().await;
    Ok(earlier.map_err(failed)?.subscribed().agent.clone())
}

async fn submit(
    context: &Context,
    connection: &Connection,
    what: &What<'_>,
    args: &NewJobArgs,
    input: Option<RawJson>,
) -> Outcome<towline::client::JobHandle> {
    let mut submit = match what {
        What::Agent(agent) => connection.client.submit(*agent),
        What::Again(job) => {
            let job = job_name::resolve(&connection.client, job).await?;
            let agent = agent_of(connection, job.clone()).await?;
            if connection.is_of_this_program() {
                context.config.check_trust(&agent)?;
            }
            connection.client.submit(agent).rerun_of(job)
        }
    };
    if let Some(input) = input {
        submit = submit.input(input);
    }
    let mut lease = lease::lease_of(&args.lease, &args.budget);
    for ask in &args.ask {
        lease.add(namespace::ASK, format!("{}={}", ask.namespace, ask.pattern));
    }
    if !lease.is_empty() {
        submit = submit.lease(lease);
    }
    if let Some(span) = args.expires_in {
        submit = submit.expires_at(SystemClock.now().plus(span.0));
    }
    if let Some(span) = args.max_runtime {
        submit = submit.max_runtime(span.0);
    }
    let after = args.after.map(|span| SystemClock.now().plus(span.0));
    if let Some(at) = args.at.or(after) {
        submit = submit.not_before(at);
    }
    if let Some(queue) = &args.queue {
        submit = submit.queue(queue);
    }
    if let Some(priority) = args.priority {
        submit = submit.priority(priority);
    }
    if let Some(url) = &args.notify {
        submit = submit.notify(url, &args.notify_of);
    }
    if let Some(key) = &args.key {
        submit = submit.idempotency_key(key);
    }
    submit.send().await.map_err(failed)
}
