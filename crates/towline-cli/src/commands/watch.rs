//! `towline watch`

use towline::{
    JobId,
    wire::{
        JobSeq,
        payload::{Accepted, Subscribed},
    },
};

use super::{following, following::Followed, past::Past};
use crate::{
    args::WatchArgs,
    connect::{Connection, failed},
    context::Context,
    failure::Outcome,
    output::Follower,
};

pub(super) async fn run(context: &Context, args: WatchArgs) -> Outcome {
    // The flag names the first event that is wanted, the protocol the one before it.
    let before = args.from.map_or(0, |from| from.saturating_sub(1));
    let mut watch = Watch {
        follower: Follower::new(args.format.output, false, args.raw),
        seen: JobSeq::new(before),
        has_begun: false,
        live: args.live,
    };
    loop {
        let (connection, job) = Connection::to_look_at(context, &args.connect, &args.job).await?;
        let outcome = watch.follow(&connection, job).await;
        match connection.close_after(&outcome).await {
            Some(why) => watch.follower.note(why),
            None => return outcome,
        }
    }
}

/// What is kept when the job is watched through one runtime after another.
struct Watch {
    follower: Follower,
    /// The last event that was told, or is not wanted.
    seen: JobSeq,
    has_begun: bool,
    live: bool,
}

impl Watch {
    async fn follow(&mut self, connection: &Connection, job: JobId) -> Outcome {
        let wants_past = !self.live || self.has_begun;
        let mut subscribe = connection.client.subscribe(job.clone()).history(wants_past);
        if self.seen > JobSeq::ZERO {
            subscribe = subscribe.from(self.seen);
        }
        let subscription = subscribe.send().await.map_err(failed)?;
        let subscribed = subscription.subscribed();
        if !std::mem::replace(&mut self.has_begun, true) {
            self.follower.accepted(&job, &accepted(&job, subscribed))?;
            if self.live {
                self.seen = subscribed.subscribed_from;
            }
        }
        let is_left = connection.nobody_runs_jobs() && !subscribed.current_status.is_terminal();
        let followed = if is_left {
            Followed::Left(Past::after(subscription, self.seen))
        } else {
            Followed::Watched(subscription)
        };
        let client = &connection.client;
        let (follower, seen) = (&mut self.follower, &mut self.seen);
        let end = following::follow(client, &job, followed, follower, seen).await?;
        Ok(end.status)
    }
}

fn accepted(job: &JobId, subscribed: &Subscribed) -> Accepted {
    Accepted {
        agent: subscribed.agent.clone(),
        lease: subscribed.lease.clone(),
        lease_constraints: subscribed.lease_constraints.clone(),
        budget: subscribed.budget.clone(),
        trace_id: subscribed.trace_id,
        parent_job_id: subscribed.parent_job_id.clone(),
        ..following::bare(job)
    }
}
