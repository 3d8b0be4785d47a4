//! A job handed on to another runtime, over the network.

use tokio::sync::mpsc;
use towline_client::{Client, ClientOptions};
use towline_env::Ids;
use towline_runtime::{AgentError, JobContext};
use towline_wire::{ErrorCode, RawJson};

use super::{
    Broken, Complaints, FEATURES, Relay, Relayed,
    marks::{Followed, Marks},
};

/// Runs a job at another runtime, under `name` there. A later run of the same job goes on with the job that is there.
pub(crate) async fn run_elsewhere(
    ctx: JobContext,
    name: String,
    options: ClientOptions,
    input: RawJson,
) -> Result<RawJson, AgentError> {
    let subject = format!("the runtime of the agent `{name}`");
    let relay = Relay {
        ctx: &ctx,
        name: &name,
        subject: &subject,
        kept: None,
        allowance: None,
        complaints: Complaints::default(),
        relayed: Relayed::Elsewhere,
    };
    let options = options
        .name("towline", env!("CARGO_PKG_VERSION"))
        .features(FEATURES);
    let client = relay.connected(Client::dial(options)).await;
    let client = client.map_err(Broken::into_error)?;
    let gave = relay.take_up(&client, input).await;
    if !ctx.is_left() {
        // What it gave stands, whether the other side hears the goodbye or not.
        drop(client.close("done").await);
    }
    gave.map_err(Broken::into_error)
}

impl Relay<'_> {
    async fn take_up(&self, client: &Client, input: RawJson) -> Result<RawJson, Broken> {
        let followed = self.followed().await?;
        // Kept first: should this run end before the answer comes, the next one finds the job by its key.
        self.keep(&followed).await?;
        let job = self.submitted(client, input, Some(&followed.key)).await?;
        let (_nobody, strays) = mpsc::channel(1);
        let mut marks = Marks::new(self.ctx, followed);
        let gave = self.follow(client, job, strays, Some(&mut marks)).await;
        if gave.is_err() && !self.ctx.is_left() {
            // Another try of this job is another job over there.
            self.keep(&self.fresh()).await?;
        }
        gave
    }

    async fn followed(&self) -> Result<Followed, AgentError> {
        let kept: Option<Followed> = self.ctx.restored().await?;
        Ok(kept.unwrap_or_else(|| self.fresh()))
    }

    fn fresh(&self) -> Followed {
        Followed {
            key: format!("{}.{}", self.ctx.job_id(), Ids::system().call()),
            events: 0,
        }
    }

    async fn keep(&self, followed: &Followed) -> Result<(), AgentError> {
        let kept = self.ctx.checkpoint(followed).await;
        kept.map_err(|error| {
            AgentError::new(
                ErrorCode::INTERNAL_ERROR,
                format!("where the job is could not be kept: {error}"),
            )
        })
    }
}
