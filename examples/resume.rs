//! A client over WebSocket whose connection is cut, and who notices nothing.
//!
//! The runtime is mounted on axum, on a free port; between the two stands a relay that drops every connection after a while.
//!
//! ```sh
//! cargo run -p towline --example resume --features full
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use towline::{
    Event,
    axum::{EndpointOptions, RouterExt},
    client::{Client, ClientOptions},
    runtime::{AgentError, JobContext, Level, Runtime, auth::StaticTokens},
    transport::WebSocketTransport,
};

const LINES: u32 = 30;

async fn counting(ctx: JobContext, _: Option<()>) -> Result<u32, AgentError> {
    for n in 1..=LINES {
        ctx.log(Level::Info, n.to_string()).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(LINES)
}

/// Passes bytes on, and hangs up every 200 ms.
async fn unreliable(listener: TcpListener, target: SocketAddr) {
    while let Ok((mut near, _)) = listener.accept().await {
        if let Ok(mut far) = TcpStream::connect(target).await {
            let cut = tokio::time::timeout(
                Duration::from_millis(200),
                copy_bidirectional(&mut near, &mut far),
            )
            .await;
            if cut.is_err() {
                println!("-- the connection is cut");
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("me", "a-token")])?)
        .agent("counting", counting)
        .build()
        .await?;
    let server = TcpListener::bind("127.0.0.1:0").await?;
    let target = server.local_addr()?;
    let app =
        axum::Router::new().route_arcp("/arcp", &runtime, EndpointOptions::for_listener(target));
    tokio::spawn(
        axum::serve(
            server,
            app.into_make_service_with_connect_info::<SocketAddr>(),
        )
        .into_future(),
    );

    let relay = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}/arcp", relay.local_addr()?);
    tokio::spawn(unreliable(relay, target));

    // The connector is asked whenever a connection is needed; the client resumes by itself.
    let connector = move || {
        let url = url.clone();
        async move { WebSocketTransport::connect(&url).await }
    };
    let client = Client::dial(ClientOptions::bearer("a-token").connector(connector)).await?;
    let mut job = client
        .submit("counting")
        .idempotency_key("once")
        .send()
        .await?;
    let mut expected = 1;
    while let Some(event) = job.next_event().await? {
        if let Event::Log(log) = event.event()? {
            println!("{}", log.message);
            assert_eq!(
                log.message,
                expected.to_string(),
                "every line once, in order"
            );
            expected += 1;
        }
    }
    println!(
        "all {} lines, none lost, none twice",
        job.result_json::<u32>().await?
    );
    runtime.shutdown().await;
    Ok(())
}
