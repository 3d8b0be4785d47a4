//! `towline watch`

use towline::{
    JobId,
    wire::{JobSeq, payload::Accepted},
};

use super::{following, following::Followed};
use crate::{
    args::WatchArgs,
    connect::{Connection, failed},
    context::Context,
    failure::Outcome,
    output::Follower,
};

pub(super) async fn run(context: &Context, args: WatchArgs) -> Outcome {
    let (connection, job) = Connection::to_look_at(context, &args.connect, &args.job).await?;
    let outcome = watch(&connection, job, &args).await;
    connection.close().await;
    outcome
}

async fn watch(connection: &Connection, job: JobId, args: &WatchArgs) -> Outcome {
    let mut subscribe = connection.client.subscribe(job.clone());
    if !args.live {
        subscribe = subscribe.history(true);
    }
    if let Some(from) = args.from {
        // The flag names the first event that is wanted, the protocol the one before it.
        subscribe = subscribe.from(JobSeq::new(from.saturating_sub(1)));
    }
    let subscription = subscribe.send().await.map_err(failed)?;
    let mut follower = Follower::new(args.format.output, false, args.raw);
    let subscribed = subscription.subscribed();
    let accepted = Accepted {
        agent: subscribed.agent.clone(),
        lease: subscribed.lease.clone(),
        lease_constraints: subscribed.lease_constraints.clone(),
        budget: subscribed.budget.clone(),
        trace_id: subscribed.trace_id,
        parent_job_id: subscribed.parent_job_id.clone(),
        ..following::bare(&job)
    };
    follower.accepted(&job, &accepted)?;
    following::follow(
        &connection.client,
        &job,
        Followed::Watched(subscription),
        &mut follower,
    )
    .await
}
