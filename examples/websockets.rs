//! WebSockets that the program has connected by itself: axum's own on the server, tungstenite's on the client. Towline takes
//! them as they are, on either side.
//!
//! ```sh
//! cargo run -p towline --features axum-ws --example websockets
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use axum::{
    Router,
    extract::{Path, ws::WebSocketUpgrade},
    response::Response,
    routing::any,
};
use towline::{
    Client, ClientOptions, JobContext, Runtime, WebSocketTransport,
    axum::AxumStream,
    runtime::auth::StaticTokens,
    transport::{WebSocketOptions, websocket::LibrarySocket},
};

/// A handler of one's own, with whatever it wants to look at before it upgrades.
fn app(runtime: Runtime) -> Router {
    let upgrade = async move |Path(tenant): Path<String>, upgrade: WebSocketUpgrade| -> Response {
        println!("a session for {tenant}");
        upgrade
            .max_message_size(4 << 20)
            .on_upgrade(async move |socket| {
                let options = WebSocketOptions::server();
                let socket = AxumStream::socket(socket);
                runtime.accept(WebSocketTransport::over(socket, None, &options));
            })
    };
    Router::new().route("/tenants/{tenant}/arcp", any(upgrade))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder()
        .authenticator(StaticTokens::new([("alice", "a-token")])?)
        .agent(
            "double",
            |_ctx: JobContext, n: u64| async move { Ok(2 * n) },
        )
        .build()
        .await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let served = runtime.clone();
    tokio::spawn(async move { axum::serve(listener, app(served)).await });

    // Connected with whatever proxy, TLS and headers the program needs.
    let url = format!("ws://{address}/tenants/acme/arcp");
    let (stream, _) = tokio_tungstenite::connect_async(url).await?;
    let options = WebSocketOptions::client();
    let transport = WebSocketTransport::over(LibrarySocket::new(stream), Some(address), &options);

    let client = Client::connect(transport, ClientOptions::bearer("a-token")).await?;
    let mut job = client.submit("double").input(21).await?;
    let doubled: u64 = job.result_json().await?;
    println!("twice 21 is {doubled}");
    assert_eq!(doubled, 42);
    client.close("done").await?;
    runtime.shutdown().await;
    Ok(())
}
