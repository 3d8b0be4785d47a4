//! The behaviour suite on every transport of ours [ARCP 4-4].

use tokio::{
    io::{duplex, split},
    net::TcpListener,
};
use towline_transport::{
    FrameSink, FrameSource, Inbound, MemoryTransport, StdioOptions, StdioTransport,
    WebSocketOptions, WebSocketTransport, testing::Chaos, testing::suite::Pair, transport_suite,
};
use towline_wire::Envelope;

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

/// [ARCP 4-4] Neither half of an end waits for the other when they live on different threads and the buffers are small.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_on_different_threads() {
    let frame = |seq: u64| {
        let size = (seq * 7919 % 20_000) as usize;
        let text = format!(
            r#"{{"type":"x","event_seq":{seq},"payload":{{"x":"{}"}}}}"#,
            "x".repeat(size)
        );
        Envelope::decode_text(text).unwrap()
    };
    let send = move |mut sink: Box<dyn FrameSink>| async move {
        for seq in 1..=2000 {
            sink.feed(frame(seq)).await.unwrap();
            if seq % 16 == 0 {
                sink.flush().await.unwrap();
            }
        }
        sink.flush().await.unwrap();
        sink
    };
    let receive = move |mut source: Box<dyn FrameSource>| async move {
        for seq in 1..=2000 {
            assert_eq!(source.receive().await, Some(Inbound::Envelope(frame(seq))));
        }
        source
    };
    for pair in [
        memory_for_one(),
        lines(),
        client_to_server().await,
        websocket_in_memory().await,
    ] {
        let [near, far] = pair.into_halves();
        let senders = [tokio::spawn(send(near.0)), tokio::spawn(send(far.0))];
        let receivers = [tokio::spawn(receive(near.1)), tokio::spawn(receive(far.1))];
        for task in senders {
            task.await.unwrap();
        }
        for task in receivers {
            task.await.unwrap();
        }
    }
}
