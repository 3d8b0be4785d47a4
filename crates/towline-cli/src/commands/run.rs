//! `towline run`

use towline::{
    env::{Clock as _, SystemClock},
    wire::RawJson,
};

use super::{following, following::Followed, lease};
use crate::{
    args::{OutputFormat, RunArgs},
    connect::{self, Connection, failed},
    context::Context,
    embedded::Purpose,
    exit,
    failure::{Failure, Outcome},
    output::{self, Follower},
    sessions::SavedSession,
};

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
    if args.connect.url.is_none() {
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
    let outcome = follow(&connection, &args, input).await;
    connection.close().await;
    outcome
}

async fn follow(connection: &Connection, args: &RunArgs, input: Option<RawJson>) -> Outcome {
    let mut follower = Follower::new(args.format.output, args.quiet, args.raw);
    let handle = submit(connection, args, input).await?;
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
    let handle = submit(connection, args, input).await?;
    let job = handle.id().to_string();
    let agent = following::accepted(&handle).agent;
    let saved = SavedSession {
        url: args.connect.url.clone().unwrap_or_default(),
        session_id: String::new(),
        job_id: job.clone(),
        agent: agent.clone(),
        created_at: SystemClock.now().to_string(),
        token: connect::token(&args.connect)?.map(|token| token.expose().to_owned()),
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

async fn submit(
    connection: &Connection,
    args: &RunArgs,
    input: Option<RawJson>,
) -> Outcome<towline::client::JobHandle> {
    let mut submit = connection.client.submit(&args.agent);
    if let Some(input) = input {
        submit = submit.input(input);
    }
    let lease = lease::lease_of(&args.lease, &args.budget);
    if !lease.is_empty() {
        submit = submit.lease(lease);
    }
    if let Some(span) = args.expires_in {
        submit = submit.expires_at(SystemClock.now().plus(span.0));
    }
    if let Some(span) = args.max_runtime {
        submit = submit.max_runtime(span.0);
    }
    if let Some(key) = &args.key {
        submit = submit.idempotency_key(key);
    }
    submit.send().await.map_err(failed)
}
