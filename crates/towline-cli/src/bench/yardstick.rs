//! The yardstick: the same frames over a bare WebSocket, flushed every 64, in two processes as well.

use std::time::Instant;

use anstream::println;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{accept_async, connect_async, tungstenite::Message};

use towline::{
    env::{Clock as _, Ids, SystemClock},
    wire::{EventFrame, EventHeader, EventKind, EventPayload, EventSeq, JobSeq, RawJson, event},
};

use super::{
    scenarios::{EVENTS, MESSAGE_BYTES},
    server::{failed, itself, spawn},
};
use crate::failure::{Failure, Outcome};

/// Sends as many frames as the peer's first message asks for.
pub(super) async fn serve() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    println!(
        "listening on ws://{}/",
        listener.local_addr().map_err(failed)?
    );
    let (stream, _) = listener.accept().await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let mut socket = accept_async(stream).await.map_err(broken)?;
    let Some(Ok(Message::Text(count))) = socket.next().await else {
        return Ok(());
    };
    let count: u64 = count
        .parse()
        .map_err(|_| Failure::local("a count was expected".to_owned()))?;
    let frame = frame()?;
    for number in 1..=count {
        socket
            .feed(Message::text(frame.clone()))
            .await
            .map_err(broken)?;
        if number.is_multiple_of(64) || number == count {
            socket.flush().await.map_err(broken)?;
        }
    }
    // The peer closes when it has them all.
    while socket.next().await.is_some_and(|message| message.is_ok()) {}
    Ok(())
}

/// Frames a second.
pub(super) async fn measure(count: u64) -> Outcome<f64> {
    let here = std::env::temp_dir();
    let (_child, url) = spawn(itself()?, &here, None, &["bench", "--yardstick-serve"]).await?;
    let (mut socket, _) = connect_async(url).await.map_err(broken)?;
    if let tokio_tungstenite::MaybeTlsStream::Plain(stream) = socket.get_ref() {
        nodelay(stream)?;
    }
    socket
        .send(Message::text(count.to_string()))
        .await
        .map_err(broken)?;
    let started = Instant::now();
    for _ in 0..count {
        let message = socket.next().await;
        message
            .ok_or_else(|| Failure::local("the yardstick ended early".to_owned()))?
            .map_err(broken)?;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

fn nodelay(stream: &TcpStream) -> Outcome<()> {
    stream.set_nodelay(true).map_err(failed)
}

fn broken(error: tokio_tungstenite::tungstenite::Error) -> Failure {
    Failure::local(error.to_string())
}

/// A frame as a measured job's events come in.
fn frame() -> Outcome<String> {
    let ids = Ids::system();
    let number = format!("{} ", EVENTS / 2);
    let filling = "x".repeat(MESSAGE_BYTES - number.len());
    let log = event::Log {
        level: "info".to_owned(),
        message: format!("{number}{filling}"),
        attributes: None,
    };
    let payload = EventPayload {
        kind: EventKind::LOG,
        ts: Some(SystemClock.now()),
        body: RawJson::of(&log).map_err(|error| Failure::local(error.to_string()))?,
    };
    let header = EventHeader::new(ids.session(), ids.job(), Some(ids.trace()));
    let frame = EventFrame {
        header: &header,
        id: ids.message(),
        event_seq: EventSeq::new(EVENTS / 2),
        job_seq: JobSeq::new(EVENTS / 2),
        payload: payload.to_json(),
    };
    Ok(frame.to_envelope().encode())
}
