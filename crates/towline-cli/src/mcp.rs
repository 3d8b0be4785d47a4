//! Whom `towline mcp` asks: a runtime in this program, the one that another command runs on the same data directory, or a
//! server.

mod following;
mod remote;

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::Mutex;
use towline::{
    JobId, Runtime,
    mcp::{Asked, Desk, JobLog, JobView, Output},
    runtime::{CallTrace, Caller, policy::Refusal},
    wire::{
        JobSeq, RawJson, Secret,
        payload::{AgentListing, Answer, OpenQuestion},
    },
};

use crate::{
    args::ConnectArgs,
    connect::{self, Connection},
    context::Context,
    embedded::{Embedded, Purpose, Stay},
    failure::{Failure, Outcome},
};
use following::Following;
use remote::Remote;

/// Where this program asks. Cheap to clone.
///
/// The runtime that another command runs may end with it. Then this program is the next one to run one: whoever finds nobody
/// to ask looks anew.
#[derive(Clone)]
pub(crate) struct Office(Arc<Inner>);

struct Inner {
    context: Context,
    args: ConnectArgs,
    seat: Mutex<Seat>,
}

/// Somebody to ask, as it was when it was asked for.
struct Turn {
    desk: Arc<dyn Desk>,
    remote: Option<Arc<Remote>>,
}

impl Turn {
    /// Whether it has gone since: another can be asked.
    fn is_over(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.is_gone())
    }
}

enum Seat {
    /// A runtime in this program.
    Own(Embedded, Arc<Caller>),
    /// Somebody else's.
    Guest(Arc<Remote>),
    /// It was let go.
    Closed,
}

impl Office {
    pub(crate) async fn open(context: Context, args: ConnectArgs) -> Outcome<Self> {
        let seat = Seat::take(&context, &args).await?;
        Ok(Self(Arc::new(Inner {
            context,
            args,
            seat: Mutex::new(seat),
        })))
    }

    /// Whether jobs run in this program.
    pub(crate) async fn has_live_jobs(&self) -> bool {
        match &*self.0.seat.lock().await {
            Seat::Own(embedded, _) => embedded.runtime().live_jobs() > 0,
            _ => false,
        }
    }

    /// Ends the runtime if it is ours, and the session if it is not.
    pub(crate) async fn close(&self) {
        let seat = std::mem::replace(&mut *self.0.seat.lock().await, Seat::Closed);
        match seat {
            Seat::Own(embedded, _) => embedded.stop().await,
            Seat::Guest(remote) => remote.close().await,
            Seat::Closed => {}
        }
    }

    /// Whom to ask now.
    async fn turn(&self) -> Result<Turn, Refusal> {
        let mut seat = self.0.seat.lock().await;
        if let Seat::Guest(remote) = &*seat
            && remote.is_gone()
        {
            let taken = Seat::take(&self.0.context, &self.0.args).await;
            *seat = taken.map_err(|failure| Refusal::internal(failure.to_string()))?;
        }
        match &*seat {
            Seat::Own(_, caller) => Ok(Turn {
                desk: Arc::clone(caller) as Arc<dyn Desk>,
                remote: None,
            }),
            Seat::Guest(remote) => Ok(Turn {
                desk: Arc::clone(remote) as Arc<dyn Desk>,
                remote: Some(Arc::clone(remote)),
            }),
            Seat::Closed => Err(Refusal::internal("this program is about to end")),
        }
    }

    async fn desk(&self) -> Result<Arc<dyn Desk>, Refusal> {
        Ok(self.turn().await?.desk)
    }

    /// What changes nothing is asked again of the next one when the one that was asked goes.
    async fn asked<T, A, F>(&self, ask: A) -> Result<T, Refusal>
    where
        A: Fn(Arc<dyn Desk>) -> F,
        F: Future<Output = Result<T, Refusal>>,
    {
        let turn = self.turn().await?;
        match ask(Arc::clone(&turn.desk)).await {
            Err(_) if turn.is_over() => ask(self.desk().await?).await,
            told => told,
        }
    }
}

impl Seat {
    async fn take(context: &Context, args: &ConnectArgs) -> Outcome<Self> {
        if args.url.is_some() {
            return Ok(Self::Guest(Arc::new(Remote::to(context, args).await?)));
        }
        // Whoever can be asked at once is not waited for beside a message that somebody has the store.
        if let (Some(asking), Some(watching)) = (
            connect::look_beside(context, Stay::Ends).await,
            connect::look_beside(context, Stay::Ends).await,
        ) {
            return Ok(Self::Guest(Arc::new(Remote::new(asking, watching))));
        }
        tokio::select! {
            biased;
            remote = beside(context) => remote.map(|remote| Self::Guest(Arc::new(remote))),
            embedded = Embedded::start(&context.config, &context.data, Purpose::Work) => {
                let embedded = embedded?;
                let caller = caller(embedded.runtime(), embedded.token()).await?;
                Ok(Self::Own(embedded, Arc::new(caller)))
            }
        }
    }
}

/// Two sessions with the runtime that another command runs on this data directory; waits for one for ever.
async fn beside(context: &Context) -> Outcome<Remote> {
    let asking = connect::beside(context, Stay::Ends).await;
    let watching = connect::beside(context, Stay::Ends).await;
    Ok(Remote::new(asking, watching))
}

async fn caller(runtime: &Runtime, token: &str) -> Outcome<Caller> {
    let proven = runtime.prove(None, Some(Secret::from(token)), None).await;
    let proven = proven.map_err(|error| Failure::local(error.to_string()))?;
    Ok(runtime.caller(proven, true))
}

impl Remote {
    /// Two sessions with a server; one where each would be a runtime of its own.
    async fn to(context: &Context, args: &ConnectArgs) -> Outcome<Self> {
        let target = args.url.as_deref().map(connect::target).transpose()?;
        let asking = Connection::open(context, args, Purpose::Work).await?.client;
        let watching = if target.is_some_and(|target| target.is_child()) {
            asking.clone()
        } else {
            Connection::open(context, args, Purpose::Work).await?.client
        };
        Ok(Self::new(asking, watching))
    }
}

/// Each asks whoever is there to be asked.
impl Desk for Office {
    fn agents(&self) -> Asked<'_, Vec<AgentListing>> {
        Box::pin(self.asked(|desk| async move { desk.agents().await }))
    }

    fn submit(&self, submit: RawJson, trace: CallTrace) -> Asked<'_, JobId> {
        Box::pin(async move { self.desk().await?.submit(submit, trace).await })
    }

    fn job<'a>(&'a self, job: &'a JobId) -> Asked<'a, JobView> {
        Box::pin(self.asked(move |desk| async move { desk.job(job).await }))
    }

    fn jobs(&self, list: RawJson) -> Asked<'_, Map<String, Value>> {
        Box::pin(self.asked(move |desk| {
            let list = list.clone();
            async move { desk.jobs(list).await }
        }))
    }

    fn log<'a>(&'a self, job: &'a JobId, after: JobSeq) -> Asked<'a, Box<dyn JobLog>> {
        Box::pin(async move {
            let following = Following::from(self.clone(), job.clone(), after).await?;
            Ok(Box::new(following) as Box<dyn JobLog>)
        })
    }

    fn output<'a>(&'a self, job: &'a JobId, most: usize) -> Asked<'a, Output> {
        Box::pin(self.asked(move |desk| async move { desk.output(job, most).await }))
    }

    fn cancel<'a>(&'a self, job: &'a JobId, reason: Option<String>) -> Asked<'a, ()> {
        Box::pin(async move { self.desk().await?.cancel(job, reason).await })
    }

    fn inbox(&self) -> Asked<'_, Vec<OpenQuestion>> {
        Box::pin(async move { self.desk().await?.inbox().await })
    }

    fn answer<'a>(&'a self, job: &'a JobId, answer: Answer) -> Asked<'a, ()> {
        Box::pin(async move { self.desk().await?.answer(job, answer).await })
    }
}
