//! Deciding who somebody is, what of a lease they get, and whose jobs they may watch.
//!
//! ```sh
//! cargo run -p towline --example policies
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use futures_util::future::{BoxFuture, FutureExt as _};
use towline::{
    Client, ClientOptions, ErrorCode, Lease, MemoryTransport, Runtime,
    runtime::{
        JobContext, agent_fn,
        auth::{AuthRefusal, Chain, Credentials, StaticTokens, from_fn},
        policy::{GrantedLease, LeasePolicy, LeaseRequest, ObservePolicy, Refusal},
    },
    store::Principal,
};

/// Nobody gets the whole disk, whatever they ask for, and guests get no files at all.
struct NoWholeDisk;

impl LeasePolicy for NoWholeDisk {
    fn grant<'a>(
        &'a self,
        request: LeaseRequest<'a>,
    ) -> BoxFuture<'a, Result<GrantedLease, Refusal>> {
        async move {
            let asked = request.lease.patterns("fs.read");
            if request.principal.as_str().starts_with("guest:") && !asked.is_empty() {
                return Err(Refusal::new(
                    ErrorCode::PERMISSION_DENIED,
                    "`fs.read` is not for guests",
                ));
            }
            let mut lease = request.lease.clone();
            let kept = asked
                .iter()
                .filter(|pattern| pattern.as_str() != "/**")
                .cloned()
                .collect();
            lease.set("fs.read", kept);
            Ok(GrantedLease {
                lease,
                constraints: request.constraints.clone(),
            })
        }
        .boxed()
    }
}

/// `ops` watches everybody.
struct OpsSeesAll;

impl ObservePolicy for OpsSeesAll {
    fn may_observe(&self, observer: &Principal, _owner: &Principal) -> bool {
        observer.as_str() == "ops"
    }

    fn observable(&self, observer: &Principal) -> Option<Vec<Principal>> {
        (observer.as_str() != "ops").then(Vec::new)
    }
}

async fn session(runtime: &Runtime, token: &str) -> Result<Client, towline::ClientError> {
    let (near, far) = MemoryTransport::pair();
    runtime.accept(far);
    Client::connect(near, ClientOptions::bearer(token)).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A directory of one's own behind a list of tokens: the first that knows the peer decides.
    let guests = from_fn(|credentials: Credentials| async move {
        let token = credentials.token()?;
        let name = token
            .strip_prefix("guest-")
            .ok_or_else(|| AuthRefusal::new("the token is not known here"))?;
        Ok(Principal::new(format!("guest:{name}")))
    });
    let tokens = StaticTokens::new([("alice", "alices-token"), ("ops", "ops-token")])?;
    let runtime = Runtime::builder()
        .authenticator(Chain::new().or(tokens).or(guests))
        .lease_policy(NoWholeDisk)
        .observe_policy(OpsSeesAll)
        .agent(
            "lease",
            agent_fn(|ctx: JobContext, _: Option<()>| async move { Ok(ctx.lease().clone()) }),
        )
        .build()
        .await?;
    let asked = Lease::new()
        .with("fs.read", "/**")
        .with("fs.read", "/data/**")
        .with("tool.call", "search.*");

    let alice = session(&runtime, "alices-token").await?;
    let mut job = alice.submit("lease").lease(asked.clone()).send().await?;
    let granted: Lease = job.result_json().await?;
    println!("alice got {granted:?}");
    assert_eq!(granted.patterns("fs.read"), ["/data/**"]);
    assert_eq!(granted.patterns("tool.call"), ["search.*"]);

    let guest = session(&runtime, "guest-bob").await?;
    let refused = guest
        .submit("lease")
        .lease(asked)
        .send()
        .await
        .err()
        .ok_or("it is refused")?;
    println!("a guest: {refused}");
    assert_eq!(refused.code(), Some(&ErrorCode::PERMISSION_DENIED));
    assert!(session(&runtime, "guessed").await.is_err());

    let hidden = guest.subscribe(job.id().clone()).history(true).send().await;
    assert!(hidden.is_err(), "guests watch only their own");
    let ops = session(&runtime, "ops-token").await?;
    let mut watched = ops.subscribe(job.id().clone()).history(true).send().await?;
    println!(
        "ops saw alice's job end: {}",
        watched.outcome().await?.status()
    );

    runtime.shutdown().await;
    Ok(())
}
