//! One raw connection.

use std::{future::poll_fn, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::timeout;
use towline_transport::{CloseFrame, FrameSink, FrameSource, Inbound, Transport};

use crate::{
    check::{Check, Stop, fail},
    report::Recorded,
    watch::Watch,
};

/// What the connections of a run write down, and who looks on.
pub(crate) struct Notes {
    pub(crate) frames: Vec<Recorded>,
    pub(crate) watch: Watch,
}

/// One connection. Every frame is written down and watched.
pub(crate) struct Link {
    conn: u32,
    sink: Box<dyn FrameSink>,
    source: Box<dyn FrameSource>,
    notes: Arc<Mutex<Notes>>,
    patience: Duration,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Came {
    Frame(Value),
    /// The connection ended.
    End,
    /// Nothing, for as long as the kit waits.
    Nothing,
}

impl Link {
    pub(crate) fn new(
        transport: Box<dyn Transport>,
        conn: u32,
        notes: Arc<Mutex<Notes>>,
        patience: Duration,
    ) -> Self {
        let (sink, source) = transport.split();
        notes.lock().watch.connected(conn);
        Self {
            conn,
            sink,
            source,
            notes,
            patience,
        }
    }

    pub(crate) const fn conn(&self) -> u32 {
        self.conn
    }

    pub(crate) fn notes(&self) -> &Mutex<Notes> {
        &self.notes
    }

    /// Sends a frame.
    pub(crate) async fn send(&mut self, frame: Value) -> Check {
        let text = frame.to_string();
        self.notes.lock().watch.sent(self.conn, &frame);
        self.put(frame, text).await
    }

    /// Sends a text that is no frame, or one spelled in a way of its own.
    pub(crate) async fn send_text(&mut self, text: &str) -> Check {
        let shown = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        self.put(shown, text.to_owned()).await
    }

    async fn put(&mut self, frame: Value, text: String) -> Check {
        self.notes.lock().frames.push(Recorded {
            conn: self.conn,
            dir: "c2s",
            frame,
        });
        let sink = &mut self.sink;
        let sending = async {
            poll_fn(|cx| sink.poll_ready(cx)).await?;
            sink.start_send_text(&text)?;
            poll_fn(|cx| sink.poll_flush(cx)).await
        };
        match timeout(self.patience, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => fail(format!("the connection broke while sending: {error}")),
            Err(_) => fail("the runtime took no more frames"),
        }
    }

    /// The next frame.
    pub(crate) async fn receive(&mut self) -> Check<Came> {
        self.receive_within(self.patience).await
    }

    pub(crate) async fn receive_within(&mut self, patience: Duration) -> Check<Came> {
        loop {
            let source = &mut self.source;
            let inbound = timeout(patience, poll_fn(|cx| source.poll_receive(cx))).await;
            let envelope = match inbound {
                Err(_) => return Ok(Came::Nothing),
                Ok(None | Some(Inbound::Closed(_))) => return Ok(Came::End),
                Ok(Some(Inbound::Malformed(error))) => {
                    return fail(format!(
                        "the runtime sent a frame that is no envelope: {error}"
                    ));
                }
                Ok(Some(Inbound::TooBig { limit, .. })) => {
                    return fail(format!(
                        "the runtime sent a frame of more than {limit} bytes"
                    ));
                }
                Ok(Some(Inbound::Envelope(envelope))) => envelope,
                // What else a transport reports is no frame.
                Ok(Some(_)) => continue,
            };
            let frame: Value = serde_json::from_str(&envelope.encode())
                .map_err(|error| Stop::Fail(format!("the frame cannot be read: {error}")))?;
            let mut notes = self.notes.lock();
            notes.watch.received(self.conn, &frame);
            notes.frames.push(Recorded {
                conn: self.conn,
                dir: "s2c",
                frame: frame.clone(),
            });
            return Ok(Came::Frame(frame));
        }
    }

    /// Says the transport's own goodbye.
    pub(crate) async fn close(mut self) {
        let frame = CloseFrame::normal();
        let closing = poll_fn(|cx| self.sink.poll_close(cx, &frame));
        // The case is over; how the connection ends is of no interest.
        let _ = timeout(self.patience, closing).await;
    }
}
