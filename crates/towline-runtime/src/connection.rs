//! One connection: a handshake, then a reader and a writer that meet only at the session.
//!
//! The reader turns what the peer sends into effects of the session's machine. The writer pulls: replies first, then the
//! session's stream from its position, at the speed of the socket. Neither waits for the other.

mod fit;
mod frames;
mod goodbye;
mod handshake;
mod proving;
mod reader;
mod size;
mod worker;
mod writer;

use std::sync::Arc;

use tokio::task::JoinHandle;
use towline_transport::Transport;

use crate::hub::Hub;

pub(crate) use frames::without_form;
pub(crate) use proving::{Unproven, prove};

/// A connection the runtime has taken. It lives by itself; dropping this changes nothing.
#[derive(Debug)]
pub struct Connection {
    task: JoinHandle<()>,
}

impl Connection {
    /// Waits until the connection is over. Cancel safe.
    pub async fn closed(self) {
        // A connection's task ends by itself, also when the runtime shuts down.
        let _ = self.task.await;
    }
}

/// Takes a connection.
pub(crate) fn accept(hub: &Arc<Hub>, transport: Box<dyn Transport>) -> Connection {
    let hub = Arc::clone(hub);
    let task = hub.scope.tasks.clone().spawn(drive(hub, transport));
    Connection { task }
}

async fn drive(hub: Arc<Hub>, transport: Box<dyn Transport>) {
    let info = transport.info();
    let (mut sink, mut source) = transport.split();
    metrics::counter!("towline_connections_total").increment(1);
    // Apart from each other, so that a silent session does not hold the room its handshake took.
    let shaken = Box::pin(handshake::run(&hub, &info, sink.as_mut(), source.as_mut())).await;
    if let Some(live) = shaken {
        Box::pin(reader::run(hub, live, sink, source)).await;
    }
}
