//! Carrying out a connection's requests, one after the other.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use towline_proto::server::Request;

use crate::{
    command::{self, Asker},
    hub::Hub,
};

/// Requests take effect in the order they came; a task for them exists only while there are any, so a silent session
/// costs none. Bounded by the reader, which stops reading when too many replies are owed.
#[derive(Clone, Default)]
pub(super) struct Worker(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Asker, Request)>,
    running: bool,
}

impl Worker {
    pub(super) fn push(&self, hub: &Arc<Hub>, asker: Asker, request: Request) {
        let start = {
            let mut queue = self.0.lock();
            queue.waiting.push_back((asker, request));
            !std::mem::replace(&mut queue.running, true)
        };
        if start {
            let (worker, hub) = (self.clone(), Arc::clone(hub));
            hub.scope
                .tasks
                .clone()
                .spawn(async move { worker.run(&hub).await });
        }
    }

    async fn run(&self, hub: &Arc<Hub>) {
        while let Some((asker, request)) = self.next() {
            command::run(hub, asker, request).await;
        }
    }

    fn next(&self) -> Option<(Asker, Request)> {
        let mut queue = self.0.lock();
        let next = queue.waiting.pop_front();
        queue.running = next.is_some();
        next
    }
}
