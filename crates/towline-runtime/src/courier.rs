//! Delivering messages when their time has come (16-6): one task asks the desk what to try, each try is a task of its own.

use std::{sync::Arc, time::Duration};

use towline_proto::webhook::{Next, Post};
use towline_store::{Change, DeliveryRow, StoreError};
use towline_wire::Shown;

use crate::{
    hub::Hub,
    webhook::{Kept, WebhookMessage},
};

/// Begins to deliver. A runtime that is only looked at delivers nothing [ARCP 14-9].
pub(crate) fn begin(hub: &Arc<Hub>) {
    if !hub.services.options.starts_recovered {
        return;
    }
    let hub = Arc::clone(hub);
    hub.scope.tasks.clone().spawn(async move {
        let ends = hub.scope.stopping.clone();
        tokio::select! {
            () = ends.cancelled() => {}
            () = deliver(&hub) => {}
        }
    });
}

async fn deliver(hub: &Arc<Hub>) {
    let waiting = &hub.books.webhooks;
    loop {
        // Made before the look.
        let news = waiting.news();
        match waiting.next(hub.now()) {
            Next::Try(post) => {
                let (hub, ends) = (Arc::clone(hub), hub.scope.stopping.clone());
                hub.scope.tasks.clone().spawn(async move {
                    tokio::select! {
                        () = ends.cancelled() => {}
                        () = attempt(&hub, post) => {}
                    }
                });
            }
            Next::Wait(until) => {
                let wait = until.since(hub.now()).min(LOOK);
                tokio::select! {
                    () = news => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
            Next::Idle => news.await,
        }
        metrics::gauge!("towline_webhooks_waiting").set(waiting.len() as f64);
    }
}

/// Tries once, and has it kept how that went. What was delivered and not kept, for the process died between the two, is
/// delivered once more under the same name.
async fn attempt(hub: &Arc<Hub>, post: Post) {
    let began = hub.now();
    let tried = match find(hub, &post).await {
        Ok(Some((row, kept))) => {
            let outcome = send(hub, &post, &row).await;
            Some((kept, outcome))
        }
        Ok(None) => None,
        Err(error) => {
            tracing::warn!(target: "towline::webhook", id = &*post.id, %error, "the store has not given the message; it is tried again");
            tokio::time::sleep(RETRY).await;
            return hub.books.webhooks.tried(post, hub.now());
        }
    };
    let Some((kept, outcome)) = tried else {
        tracing::error!(target: "towline::webhook", id = &*post.id, "the store has the message no more; it is not delivered");
        let delivery = post.delivery.tried(began, hub.now(), Ok(()));
        let post = Post { delivery, ..post };
        return hub.books.webhooks.tried(post, hub.now());
    };
    let word = if outcome.is_ok() {
        "delivered"
    } else {
        "failed"
    };
    metrics::counter!("towline_webhook_tries_total", "outcome" => word).increment(1);
    if let Err(error) = &outcome {
        tracing::warn!(target: "towline::webhook", id = &*post.id, job = %Shown::new(&post.line.job), error = %Shown::new(error), "a try failed");
    }
    let delivery = post.delivery.tried(began, hub.now(), outcome);
    let written = |again| {
        let delivery = if again {
            delivery.again(hub.now())
        } else {
            delivery.clone()
        };
        let state = kept.with(delivery).state(&post.id);
        hub.write(vec![Change::DeliveryState(state)], Vec::new())
    };
    while let Err(error) = hub.books.webhooks.keep(&post, written).await {
        if matches!(error, StoreError::Closed) {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
    let post = Post { delivery, ..post };
    hub.books.webhooks.tried(post, hub.now());
}

async fn find(hub: &Hub, post: &Post) -> Result<Option<(DeliveryRow, Kept)>, StoreError> {
    let row = hub.services.store.delivery(&post.id).await?;
    Ok(row.and_then(|row| {
        let kept = Kept::of(&row)?;
        Some((row, kept))
    }))
}

/// Where it goes is looked at anew: what is allowed may have changed since the submit.
async fn send(hub: &Hub, post: &Post, row: &DeliveryRow) -> Result<(), String> {
    let webhooks = &hub.services.webhooks;
    let receiver = webhooks.allowed.admit(&post.line.url);
    let receiver = receiver.map_err(|error| error.to_string())?;
    let sender = webhooks.sender.as_ref();
    let sender = sender.ok_or_else(|| "this runtime has nobody who posts webhooks".to_owned())?;
    let message = WebhookMessage {
        id: row.id.clone(),
        timestamp: hub.now().unix_micros().div_euclid(1_000_000),
        receiver,
        body: row.body.clone(),
    };
    match tokio::time::timeout(LIMIT, sender.send(&message)).await {
        Ok(outcome) => outcome.map_err(|failure| failure.to_string()),
        Err(_) => Err(format!(
            "the receiver did not answer within {} s",
            LIMIT.as_secs()
        )),
    }
}

/// How long a receiver has to answer [ARCP 16-6].
const LIMIT: Duration = Duration::from_secs(10);

/// How long a clock is trusted, for it may be set, and machines sleep.
const LOOK: Duration = Duration::from_secs(30);

/// How long a store that failed is left alone.
const RETRY: Duration = Duration::from_secs(1);
