//! A runtime beside the other routes of an axum application, and who is let in.
//!
//! ```sh
//! cargo run -p towline --example hosting --features full
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::net::SocketAddr;

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use towline::{
    Client, ClientOptions, Runtime, WebSocketTransport,
    axum::{EndpointOptions, RouterExt, health_routes},
    runtime::{JobContext, agent_fn, auth::StaticTokens},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("me", "a-token")])?)
        .agent(
            "upper",
            agent_fn(|_: JobContext, text: String| async move { Ok(text.to_uppercase()) }),
        )
        .build()
        .await?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // On loopback only its own names are hosts, so that no web page gets in through a name that points here.
    let options =
        EndpointOptions::for_listener(address).allowed_origins(["https://app.example.com"]);
    let app = Router::new()
        .route("/", get(|| async { "the rest of the application" }))
        .merge(health_routes(&runtime))
        .route_arcp("/arcp", &runtime, options);
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(axum::serve(listener, service).into_future());

    let transport = WebSocketTransport::connect(&format!("ws://{address}/arcp")).await?;
    let client = Client::connect(transport, ClientOptions::bearer("a-token")).await?;
    let mut job = client.submit("upper").input("a word").send().await?;
    let result: String = job.result_json().await?;
    println!("{result}");
    assert_eq!(result, "A WORD");

    // Another path is not the runtime's, and a wrong token is nobody's.
    let elsewhere = WebSocketTransport::connect(&format!("ws://{address}/elsewhere")).await;
    println!(
        "another path: {}",
        elsewhere.err().ok_or("it is not there")?
    );
    let transport = WebSocketTransport::connect(&format!("ws://{address}/arcp")).await?;
    let refused = Client::connect(transport, ClientOptions::bearer("guessed")).await;
    println!("another token: {}", refused.err().ok_or("it is refused")?);

    client.close("done").await?;
    runtime.shutdown().await;
    assert!(!runtime.is_ready(), "`/readyz` says so too");
    Ok(())
}
