//! `x-vendor.towline.whoami`: who asks, and what holds for them [ARCP 20-2].

use serde_json::{Value, json};
use towline_proto::server::IDENTITY;
use towline_wire::{Envelope, MessageType};

use super::asker::Asker;
use crate::{hub::Hub, session::Reply};

pub(super) fn whoami(hub: &Hub, asker: &Asker) {
    let principal = &asker.session.principal;
    let mut identity = json!({"request_id": asker.request, "principal": principal.as_str()});
    let policy = hub.services.access.as_ref();
    let holds = policy.map(|policy| policy.describe(principal));
    if let (Some(fields), Some(Value::Object(holds))) = (identity.as_object_mut(), holds) {
        fields.extend(holds);
    }
    let mut envelope = Envelope::new(MessageType::new(IDENTITY));
    envelope.payload = identity.into();
    asker.reply(Reply::plain(envelope));
}
