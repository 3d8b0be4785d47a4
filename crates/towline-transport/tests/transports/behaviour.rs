//! The behaviour suite on every transport of ours [ARCP 4-4].

use tokio::{
    io::{duplex, split},
    net::TcpListener,
};
use towline_transport::{
    MemoryTransport, StdioOptions, StdioTransport, WebSocketOptions, WebSocketTransport,
    testing::Chaos, testing::suite::Pair, transport_suite,
};

fn memory() -> Pair {
    let (near, far) = MemoryTransport::pair();
    Pair::new(near, far)
}

fn memory_for_one() -> Pair {
    let (near, far) = MemoryTransport::pair_with(1);
    Pair::new(near, far)
}

fn uneventful_chaos() -> Pair {
    let (near, far) = MemoryTransport::pair();
    let (near, _) = Chaos::seeded(1).wrap(near);
    Pair::new(near, far)
}

fn lines() -> Pair {
    let (near, far) = duplex(64 << 10);
    let end = |io| {
        let (reader, writer) = split(io);
        StdioTransport::over(reader, writer, StdioOptions::default())
    };
    Pair::new(end(near), end(far))
}

async fn sockets() -> (WebSocketTransport, impl towline_transport::Transport) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let options = WebSocketOptions::server();
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        WebSocketTransport::accept(stream, &options).await
    };
    let (client, server) = tokio::join!(WebSocketTransport::connect(&url), accept);
    (client.unwrap(), server.unwrap())
}

async fn client_to_server() -> Pair {
    let (client, server) = sockets().await;
    Pair::new(client, server)
}

async fn server_to_client() -> Pair {
    let (client, server) = sockets().await;
    Pair::new(server, client)
}

async fn websocket_in_memory() -> Pair {
    let (near, far) = duplex(8 << 10);
    let options = (WebSocketOptions::client(), WebSocketOptions::server());
    let (client, server) = tokio::join!(
        WebSocketTransport::connect_on(near, "ws://localhost", &options.0),
        WebSocketTransport::accept_on(far, None, &options.1),
    );
    Pair::new(client.unwrap(), server.unwrap())
}

transport_suite!(on_memory, memory());
transport_suite!(on_memory_with_room_for_one, memory_for_one());
transport_suite!(on_chaos_without_misfortune, uneventful_chaos());
transport_suite!(on_lines, lines());
transport_suite!(on_websocket_client_to_server, client_to_server().await);
transport_suite!(on_websocket_server_to_client, server_to_client().await);
transport_suite!(on_websocket_in_memory, websocket_in_memory().await);
