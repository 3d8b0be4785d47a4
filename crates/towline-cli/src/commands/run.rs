//! `towline run`

use towline::{
    JobId,
    env::{Clock as _, SystemClock},
    wire::{RawJson, namespace},
};

use super::{following, following::Followed, lease};
use crate::{
    args::{OutputFormat, RerunArgs, RunArgs},
    connect::{self, Connection, failed},
    context::Context,
    embedded::Purpose,
    exit,
    failure::{Failure, Outcome},
    job_name::job_id,
    output::{self, Follower},
    sessions::SavedSession,
};

/// `towline rerun`
pub(super) async fn again(context: &Context, mut args: RerunArgs) -> Outcome {
    if args.connect.url.is_none() {
        // A job that was left behind here is at the server its session knows.
        args.connect.url = connect::url_of(context, &args.job);
    }
    run(context, args.into_run()).await
}

pub(super) async fn run(context: &Context, args: RunArgs) -> Outcome {
    let server = args.connect.url.as_deref();
    let stays = server
        .map(connect::target)
        .transpose()?
        .is_some_and(|target| !target.is_child());
    if args.detach && !stays {
        let failure =
            Failure::usage("--detach needs a server: any other runtime ends with this program");
        return Err(failure.help("start one with `towline serve` and name it with --url"));
    }
    if args.connect.url.is_none() && args.rerun_of.is_none() {
        context.config.check_trust(&args.agent)?;
    }
    // Read before connecting: a wrong input is no reason to open a session.
    let input = args
        .input
        .as_ref()
        .map(crate::values::Input::load)
        .transpose()
        .map_err(Failure::usage)?;
    if let Some(url) = server.filter(|_| args.detach) {
        let connection = Connection::open_for_others(url, context, &args.connect).await?;
        let outcome = detach(context, &connection, &args, input).await;
        match outcome {
            Ok(_) => connection.leave().await,
            Err(_) => connection.close().await,
        }
        return outcome;
    }
    let connection = Connection::open(context, &args.connect, Purpose::Work).await?;
    let outcome = follow(context, &connection, &args, input).await;
    connection.close().await;
    outcome
}

async fn follow(
    context: &Context,
    connection: &Connection,
    args: &RunArgs,
    input: Option<RawJson>,
) -> Outcome {
    let mut follower = Follower::new(args.format.output, args.quiet, args.raw);
    let handle = submit(context, connection, args, input).await?;
    let job = handle.id().clone();
    follower.accepted(&job, &following::accepted(&handle))?;
    following::follow(
        &connection.client,
        &job,
        Followed::Own(handle),
        &mut follower,
    )
    .await
}

async fn detach(
    context: &Context,
    connection: &Connection,
    args: &RunArgs,
    input: Option<RawJson>,
) -> Outcome {
    let handle = submit(context, connection, args, input).await?;
    let job = handle.id().to_string();
    let agent = following::accepted(&handle).agent;
    let saved = SavedSession {
        url: args.connect.url.clone().unwrap_or_default(),
        session_id: String::new(),
        job_id: job.clone(),
        agent: agent.clone(),
        created_at: SystemClock.now().to_string(),
        token: connect::token(&args.connect)?.map(|token| token.expose().to_owned()),
        until: None,
        resume: serde_json::Value::Null,
    };
    connect::save(&connection.client, saved, &context.sessions()).await?;
    let document = serde_json::json!({"job_id": job, "agent": agent, "detached": true});
    match args.format.output {
        OutputFormat::Human => output::line(&output::clean(&job))?,
        OutputFormat::Json | OutputFormat::Ndjson => output::json(&document)?,
    }
    output::note(&format!(
        "detached; follow it with: towline watch {}",
        output::clean(&job)
    ));
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
    args: &RunArgs,
    input: Option<RawJson>,
) -> Outcome<towline::client::JobHandle> {
    let mut submit = match &args.rerun_of {
        None => connection.client.submit(&args.agent),
        Some(job) => {
            let job = job_id(job)?;
            let agent = agent_of(connection, job.clone()).await?;
            if args.connect.url.is_none() {
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
    if let Some(key) = &args.key {
        submit = submit.idempotency_key(key);
    }
    submit.send().await.map_err(failed)
}
