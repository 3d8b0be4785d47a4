//! Operations that a person may let through [ARCP 15-6, 15-8].

use towline_proto::{
    lease::{Denial, Operation},
    questions::Question,
};
use towline_wire::{CallId, ErrorCode, namespace};

use super::{JobContext, Permit};
use crate::agent_options::OnBudgetExhausted;

/// What a person is asked before an operation is refused.
enum Approval {
    /// Whether the job may do this.
    Operation { pattern: String, value: String },
    /// Whether it may spend more.
    Money { currency: String, amount: String },
}

impl JobContext {
    /// Whether the job may do something, now; where the lease does not say so and a person may, they are asked, and this waits.
    pub(super) async fn decide_or_ask(
        &self,
        operation: Operation<'_>,
        call: &CallId,
    ) -> Result<Permit, Denial> {
        loop {
            let denial = match self.decide(operation) {
                Ok(permit) => return Ok(permit),
                Err(denial) => denial,
            };
            match self.approval(operation, &denial) {
                None => return Err(denial),
                Some(Approval::Money { currency, amount }) => {
                    self.ask_for_money(&currency, &amount, denial, call).await?;
                }
                Some(Approval::Operation { pattern, value }) => {
                    let asked = self.ask_for(operation, pattern, &value, denial, call).await;
                    if let Some(permit) = asked? {
                        return Ok(permit);
                    }
                }
            }
        }
    }

    /// What a person may be asked about a denied operation.
    fn approval(&self, operation: Operation<'_>, denial: &Denial) -> Option<Approval> {
        let options = &self.hub.services.options;
        if *denial.code() == ErrorCode::BUDGET_EXHAUSTED {
            return self.money();
        }
        if *denial.code() != ErrorCode::PERMISSION_DENIED {
            return None;
        }
        let asked = self.job.lock().authority.ask(operation, self.hub.now());
        let question = asked.ok()?.question()?;
        let on_files = matches!(operation, Operation::FsRead(_) | Operation::FsWrite(_));
        // What is the runtime's own nobody lets through.
        if on_files && options.protects(&question.value) {
            return None;
        }
        Some(Approval::Operation {
            pattern: question.pattern,
            value: question.value.into_owned(),
        })
    }

    /// As much again as the job was given, within what its submitter's role may spend on one job. A child's money is its
    /// parent's, so a child does not ask; nor does a job of a principal whose days have a budget of their own in that currency,
    /// for what a job may spend was set aside from the day when it was accepted [ARCP 20-1].
    fn money(&self) -> Option<Approval> {
        let core = self.job.lock();
        let default = self.hub.services.options.on_budget_exhausted;
        let then = core.rules.options.on_budget_exhausted.unwrap_or(default);
        if then != OnBudgetExhausted::Ask || self.job.row.parent.is_some() {
            return None;
        }
        let authority = &core.authority;
        let currency = authority.budget().exhausted()?.currency;
        let mut amount = authority.leases().amounts().of(&currency)?;
        let policy = self.hub.services.access.as_ref();
        let day = policy.and_then(|policy| policy.budget_per_day(self.principal()));
        if day.is_some_and(|day| day.of(&currency).is_some()) {
            return None;
        }
        let ceiling = policy.and_then(|policy| policy.budget_ceiling(self.principal(), &currency));
        if let Some(ceiling) = ceiling {
            let left = ceiling.checked_sub(authority.budget().cap(&currency)?)?;
            amount = amount.min(left);
        }
        let is_something = !amount.is_negative() && !amount.decimal().is_zero();
        is_something.then(|| Approval::Money {
            currency,
            amount: amount.to_string(),
        })
    }

    /// Asks for one operation. `None` when somebody else used the answer up, and it has to be asked once more.
    async fn ask_for(
        &self,
        operation: Operation<'_>,
        pattern: String,
        value: &str,
        denial: Denial,
        call: &CallId,
    ) -> Result<Option<Permit>, Denial> {
        let of = operation.namespace();
        let key = format!("operation:{of}={value}");
        let question = Question::approval(format!("Allow {of} {}?", excerpt(value)))
            .about(of, value)
            .granting(Some(pattern))
            .of_call(call.clone());
        let settled = match self.settle(&key, question).await {
            Ok(settled) => settled,
            Err(super::AskError::Refused(why)) => {
                return Err(Denial::not_approved(operation, why.message()));
            }
            Err(_) => return Err(denial),
        };
        if !self.use_up(&key, &settled).await {
            return Ok(None);
        }
        if !settled.is_yes() {
            let why = match &settled.resolved.by {
                Some(by) => format!("`{by}` was asked and said no"),
                None => "nobody approved it in time".to_owned(),
            };
            return Err(Denial::not_approved(operation, &why));
        }
        // Time may have run out meanwhile, and money.
        let asked = self.job.lock().authority.ask(operation, self.hub.now());
        asked.map(|_| Some(Permit::approved(operation, value)))
    }

    /// Asks for more money; when there is some, the operation is decided anew.
    async fn ask_for_money(
        &self,
        currency: &str,
        amount: &str,
        denial: Denial,
        call: &CallId,
    ) -> Result<(), Denial> {
        let key = format!("budget:{currency}");
        let question = Question::approval(format!("Spend {currency} {amount} more?"))
            .message("The job's budget is used up.")
            .about(namespace::COST_BUDGET, format!("{currency}:{amount}"))
            .granting(None)
            .of_call(call.clone());
        let Ok(settled) = self.settle(&key, question).await else {
            return Err(denial);
        };
        // Several operations may wait for the same money, and the one yes is good for all of them.
        self.use_up(&key, &settled).await;
        if settled.is_yes() {
            Ok(())
        } else {
            Err(denial)
        }
    }
}

/// At most 120 characters of a value.
fn excerpt(value: &str) -> String {
    match value.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
