//! Models, through the lease (§9.7, §9.8).

use towline_proto::lease::Operation;
use towline_wire::ErrorCode;

use super::{Denied, JobContext, Permit};

impl JobContext {
    /// Asks whether the job may use a model [ARCP 9.7-1]. The call itself is the agent's: to the model named by the permit,
    /// with the job's own credential where the runtime issued one.
    ///
    /// # Errors
    /// [`Denied`] with PERMISSION_DENIED, LEASE_EXPIRED or BUDGET_EXHAUSTED.
    pub async fn model(&self, name: &str) -> Result<ModelPermit, Denied> {
        let permit = self.authorize(Operation::ModelUse(name)).await?;
        Ok(ModelPermit {
            ctx: self.clone(),
            permit,
        })
    }
}

/// Proof that the job may use a model.
#[derive(Debug)]
#[must_use = "a permit is for carrying the call out"]
pub struct ModelPermit {
    ctx: JobContext,
    permit: Permit,
}

/// Why an upstream refused a call that the lease allowed: it counts for itself, and may be ahead of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamRefusal {
    /// The credential's budget is used up.
    Budget,
    /// The credential does not cover the model.
    Model,
}

impl ModelPermit {
    /// The model to call.
    pub fn model(&self) -> &str {
        self.permit.value()
    }

    /// Tells the job that the upstream refused: for its budget as BUDGET_EXHAUSTED, for the model as PERMISSION_DENIED
    /// [ARCP 9.8-4]. Like every refusal it goes into the log, and the agent may give up with it.
    pub async fn refused(self, refusal: UpstreamRefusal) -> Denied {
        let model = self.permit.value();
        let denied = match refusal {
            UpstreamRefusal::Budget => Denied::new(
                ErrorCode::BUDGET_EXHAUSTED,
                format!("model.use `{model}` denied: the budget is used up at the upstream"),
            ),
            UpstreamRefusal::Model => Denied::new(
                ErrorCode::PERMISSION_DENIED,
                format!("model.use `{model}` denied: the upstream does not let this job use it"),
            ),
        };
        self.ctx
            .denied(&denied, &self.ctx.hub.services.ids.call())
            .await;
        denied
    }
}

impl UpstreamRefusal {
    /// What an answer in the manner of OpenAI's API says, as LiteLLM and others give it; `None` when it refuses for another
    /// reason or not at all. `body` is the answer's body, or as much of it as there is.
    pub fn of_answer(status: u16, body: &str) -> Option<Self> {
        if !(400..500).contains(&status) {
            return None;
        }
        let answer: Answer = serde_json::from_str(body).ok()?;
        let words = [answer.error.kind, answer.error.code, answer.error.message];
        let texts = words.iter().filter_map(serde_json::Value::as_str);
        texts.map(Self::of_words).find_map(|found| found)
    }

    fn of_words(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let tells = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if tells(BUDGET) {
            Some(Self::Budget)
        } else if tells(MODEL) {
            Some(Self::Model)
        } else {
            None
        }
    }
}

#[derive(serde::Deserialize)]
struct Answer {
    error: Reason,
}

/// Any of these may be missing, null, or a number.
#[derive(serde::Deserialize)]
struct Reason {
    #[serde(default, rename = "type")]
    kind: serde_json::Value,
    #[serde(default)]
    code: serde_json::Value,
    #[serde(default)]
    message: serde_json::Value,
}

/// How upstreams say that money ran out.
const BUDGET: &[&str] = &[
    "budget_exceeded",
    "budget has been exceeded",
    "exceededbudget",
    "exceeded budget",
    "insufficient_quota",
];
/// How upstreams say that a model is not for this key.
const MODEL: &[&str] = &[
    "model_access_denied",
    "not allowed to access model",
    "model_not_found",
    "key not allowed",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 9.8-4] upstream refusals for budget and for model are told apart, and from everything else.
    #[test]
    fn upstream_answers_are_told_apart() {
        let budget = r#"{"error":{"message":"Budget has been exceeded! Current cost: 1, Max budget: 1","type":"budget_exceeded","param":null,"code":"400"}}"#;
        let model = r#"{"error":{"message":"key not allowed to access model","type":"key_model_access_denied","param":"model","code":"401"}}"#;
        let quota =
            r#"{"error":{"message":"…","type":"insufficient_quota","code":"insufficient_quota"}}"#;
        assert_eq!(
            UpstreamRefusal::of_answer(400, budget),
            Some(UpstreamRefusal::Budget)
        );
        assert_eq!(
            UpstreamRefusal::of_answer(429, quota),
            Some(UpstreamRefusal::Budget)
        );
        assert_eq!(
            UpstreamRefusal::of_answer(401, model),
            Some(UpstreamRefusal::Model)
        );
        let busy = r#"{"error":{"message":"slow down","type":"rate_limit_exceeded","code":429}}"#;
        assert_eq!(UpstreamRefusal::of_answer(429, busy), None);
        assert_eq!(UpstreamRefusal::of_answer(500, budget), None);
        assert_eq!(UpstreamRefusal::of_answer(400, "not json"), None);
    }
}
