//! What a call costs, and how the job is told.

use std::sync::Arc;

use serde_json::json;
use towline_runtime::EventError;
use towline_wire::{Amount, CallId, RawJson, event};

use super::{
    Models,
    flight::Seat,
    price::Price,
    style::Endpoint,
    usage::{Most, Seen, Usage},
};

/// A call that was allowed and is not paid for yet. Pay it once.
pub(super) struct Bill {
    pub(super) models: Arc<Models>,
    pub(super) endpoint: Endpoint,
    pub(super) call: CallId,
    pub(super) model: String,
    pub(super) price: Option<Price>,
    pub(super) most: Most,
    /// The call is under way as long as this is there.
    pub(super) seat: Seat,
}

impl Bill {
    /// What was used is known, or what was seen of it before the answer broke off.
    pub(super) async fn settle(self, used: Result<Usage, Seen>) {
        let ctx = &self.models.ctx;
        if self.endpoint.free {
            self.over(json!({"status": 200})).await;
            return;
        }
        let whole = used.is_ok();
        let used = used.unwrap_or_else(|seen| seen.broken_off(self.endpoint.shape, self.most));
        let cost = self.price.as_ref().map(|price| price.cost(&used));
        if !whole {
            tracing::warn!(
                target: "towline::models", job = %ctx.job_id(), model = ?self.model,
                "the answer does not say what it used; the most that it may be is charged"
            );
        }
        if let (Some(cost), Some(price)) = (cost, &self.price)
            && let Err(error) = self.charge(cost, price, &used).await
        {
            tracing::error!(
                target: "towline::models", job = %ctx.job_id(), cost = ?cost, currency = price.currency(),
                error = ?error, "a call could not be charged"
            );
        }
        let mut said = json!({
            "input_tokens": used.input + used.cached + used.written,
            "cached_input_tokens": used.cached,
            "output_tokens": used.output,
        });
        if let (Some(cost), Some(price)) = (cost, &self.price) {
            said["cost"] = json!(format!("{}:{cost}", price.currency()));
        }
        if !whole {
            said["estimated"] = true.into();
        }
        self.over(said).await;
    }

    /// The call came to nothing, and costs nothing.
    pub(super) async fn nothing(self, error: event::ToolError) {
        // A job that has ended needs no record of it.
        let _ = self.models.ctx.tool_failed(&self.call, error).await;
        drop(self.seat);
    }

    async fn charge(&self, cost: Amount, price: &Price, used: &Usage) -> Result<(), EventError> {
        let dimensions = json!({
            "model": self.model,
            "input_tokens": used.input,
            "cached_input_tokens": used.cached,
            "cache_write_tokens": used.written,
            "output_tokens": used.output,
        });
        let metric = event::Metric {
            name: "cost.model".to_owned(),
            value: cost,
            unit: Some(price.currency().to_owned()),
            dimensions: RawJson::of(&dimensions).ok(),
        };
        let charged = self.models.ctx.emit_metric_and_finish(metric).await;
        let left = self.models.ctx.budget();
        if left.values().any(|left| *left <= Amount::ZERO) {
            self.models.flight.spent();
        }
        charged
    }

    async fn over(self, said: serde_json::Value) {
        let _ = self.models.ctx.tool_result(&self.call, said).await;
        drop(self.seat);
    }
}
