//! `x-vendor.towline.webhook`: looking at messages, and having one delivered once more [ARCP 16-6].

use std::sync::Arc;

use serde_json::{Value, json};
use towline_proto::{
    refusal::Refusal,
    server::{WEBHOOKS, WebhookRequest},
};
use towline_store::{Change, DeliveryQuery, DeliveryRow};
use towline_wire::ErrorCode;

use super::asker::{Asker, store_refusal};
use crate::{
    hub::Hub,
    session::SessionEntry,
    webhook::{Kept, WebhookDocument},
};

pub(super) async fn run(hub: &Arc<Hub>, asker: &Asker, asked: WebhookRequest) {
    asker.answer(WEBHOOKS, carried_out(hub, asker, asked).await);
}

async fn carried_out(
    hub: &Arc<Hub>,
    asker: &Asker,
    asked: WebhookRequest,
) -> Result<Value, Refusal> {
    match asked {
        WebhookRequest::List { limit } => {
            let listed = webhooks(hub, &asker.session, limit).await?;
            Ok(json!({ "webhooks": listed }))
        }
        WebhookRequest::Redeliver { id } => {
            let again = redeliver(hub, &asker.session, &id).await?;
            Ok(json!({ "webhook": again }))
        }
    }
}

/// The latest messages that a principal may know of: those of its jobs, and an administrator of all.
///
/// # Errors
/// The refusal, when the store cannot be read.
pub(crate) async fn webhooks(
    hub: &Hub,
    session: &SessionEntry,
    limit: usize,
) -> Result<Vec<WebhookDocument>, Refusal> {
    let is_admin = hub.services.is_admin(&session.principal);
    let own = (!is_admin).then(|| session.principal.clone());
    let query = DeliveryQuery {
        principal: own,
        limit,
    };
    let rows = hub.services.store.deliveries(query).await;
    let rows = rows.map_err(|error| store_refusal(&error))?;
    let documents = rows
        .iter()
        .filter_map(|row| Some(Kept::of(row)?.document(row, is_admin)));
    Ok(documents.collect())
}

/// Has a message delivered once more, whatever became of it, under the name it has.
///
/// # Errors
/// The refusal: there is none of the name that the principal may know of.
pub(crate) async fn redeliver(
    hub: &Hub,
    session: &SessionEntry,
    id: &str,
) -> Result<WebhookDocument, Refusal> {
    let row = hub.services.store.delivery(id).await;
    let row = row.map_err(|error| store_refusal(&error))?;
    let may_know = |row: &DeliveryRow| {
        row.principal == session.principal || hub.services.is_admin(&session.principal)
    };
    let row = row.filter(may_know).ok_or_else(|| unknown(id))?;
    let kept = Kept::of(&row).ok_or_else(|| Refusal::internal("the message cannot be read"))?;
    let again = kept.with(kept.delivery().again(hub.now()));
    let state = again.state(id);
    let row = DeliveryRow {
        pending: state.pending,
        data: state.data.clone(),
        ..row
    };
    let write = || hub.write(vec![Change::DeliveryState(state)], Vec::new());
    let written = hub.books.webhooks.again(&kept.post(&row), write);
    written.await.map_err(|error| store_refusal(&error))?;
    hub.books.webhooks.put(std::slice::from_ref(&row));
    Ok(again.document(&row, hub.services.is_admin(&session.principal)))
}

fn unknown(id: &str) -> Refusal {
    let id: String = id.chars().take(64).collect();
    let message = format!(
        "there is no webhook message `{id}`, or it is of a job of another principal; list those there are"
    );
    Refusal::new(ErrorCode::PERMISSION_DENIED, message)
}
