//! A credential of its own for each job: issued when the job is accepted, worthless when it has ended.
//!
//! ```sh
//! cargo run -p towline --example credentials
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use towline::{
    Client, ClientOptions, Lease, MemoryTransport, Runtime,
    runtime::{AgentError, JobContext, auth::StaticTokens, credentials::InMemoryProvisioner},
    store::SqliteStore,
};

/// Waits for its end; the client uses the credential meanwhile.
async fn waiting(ctx: JobContext, _: Option<()>) -> Result<(), AgentError> {
    ctx.cancelled().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory =
        std::env::temp_dir().join(format!("towline-credentials-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    // A gateway for models that issues keys with a budget; this one stands for it.
    let gateway = InMemoryProvisioner::new("https://models.example.com/v1");
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("me", "a-token")])?)
        // What has to be revoked is written down before it is issued, or a crash would leave it behind.
        .store(SqliteStore::open(directory.join("towline.db")).await?)
        .credentials(gateway.clone())
        .agent("waiting", waiting)
        .build()
        .await?;
    let (near, far) = MemoryTransport::pair();
    runtime.accept(far);
    let client = Client::connect(near, ClientOptions::bearer("a-token")).await?;

    let lease = Lease::new()
        .with("model.use", "fast-*")
        .with("cost.budget", "USD:1.00");
    let mut job = client.submit("waiting").lease(lease).send().await?;
    let credential = job
        .accepted()
        .and_then(|accepted| accepted.credentials.as_ref()?.first().cloned())
        .ok_or("a credential comes with the job")?;
    let value = credential
        .value
        .as_ref()
        .ok_or("with its value")?
        .expose()
        .to_owned();
    println!("{} is good at {}", credential.id, credential.endpoint);
    assert!(gateway.accepts(&value));

    job.cancel("done with it").await?;
    job.outcome().await?;
    runtime.shutdown().await;
    assert!(!gateway.accepts(&value), "revoked with the job's end");
    assert!(gateway.outstanding().is_empty());
    println!("and is not any more");
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
