//! This server as a node of a database.

use std::{future::pending, sync::Arc, time::Duration};

use towline::{
    postgres::PostgresStore,
    runtime::Runtime,
    store::{EventStore, StoreError},
};

use crate::{
    failure::{Failure, Outcome, chain},
    output,
    store_choice::StoreChoice,
};

/// What others that have the same database may want of this server; nothing where there is no database.
#[derive(Clone)]
pub(super) struct Node(Option<Arc<PostgresStore>>);

/// Why a node ends that nobody told to end here.
pub(super) enum Leaving {
    /// Somebody asked it to, through the database.
    Asked,
    /// It was declared dead, or the database went back.
    Fallen(StoreError),
}

impl Node {
    /// Opens the store of a server.
    pub(super) async fn open(choice: &StoreChoice) -> Outcome<(Arc<dyn EventStore>, Self)> {
        let StoreChoice::Postgres(database) = choice else {
            return Ok((choice.open(Duration::ZERO).await?, Self(None)));
        };
        let store = Box::pin(database.open(Duration::ZERO)).await?;
        Ok((Arc::clone(&store) as Arc<dyn EventStore>, Self(Some(store))))
    }

    /// Tells the others which agents are here.
    pub(super) async fn announce(&self, runtime: &Runtime) {
        let Some(store) = &self.0 else { return };
        if let Err(error) = store.announce(&runtime.agent_names()).await {
            tracing::warn!(%error, "the other nodes do not know which agents are here");
        }
    }

    /// Waits until the node has to end. Cancel safe.
    pub(super) async fn leaving(&self) -> Leaving {
        let Some(store) = &self.0 else {
            return pending().await;
        };
        tokio::select! {
            () = store.asked_to_leave() => Leaving::Asked,
            error = store.fallen() => Leaving::Fallen(error),
        }
    }
}

/// Ends a server that has its database no more. What it had is another's by now, so little is waited for.
pub(super) async fn fall(runtime: &Runtime, error: &StoreError) -> Failure {
    let limit = tokio::time::timeout(PATIENCE, runtime.shutdown());
    if limit.await.is_err() {
        output::note("what still ran here is given up");
    }
    Failure::fallen(chain(error)).help("start it again: it joins as a new node")
}

const PATIENCE: Duration = Duration::from_secs(2);
