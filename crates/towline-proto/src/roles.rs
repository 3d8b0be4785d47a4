//! Who may do what (§20): what one role says, decided on values alone.
//!
//! A [`Role`] answers three questions: whether an agent may be run ([`Role::may_run`]), what a lease may ask for at most
//! ([`Role::bound`]), and how far it reaches to the jobs of others ([`Reach`]). Who has which role is not known here.

use std::{fmt, str::FromStr};

use towline_wire::{AgentRef, ErrorCode, Lease, namespace};

use crate::{
    lease::{Amounts, BudgetError, LeaseError, LeaseSet, Violation, ViolationReason},
    refusal::Refusal,
};

/// What a role allows [ARCP 20-1]. A new one allows everything to its holder, and nothing of what is others'.
#[derive(Debug, Clone)]
pub struct Role {
    name: Option<String>,
    agents: Option<Agents>,
    ceiling: Ceiling,
    budget_per_job: Amounts,
    budget_per_day: Amounts,
    jobs: Option<usize>,
    may_watch: Reach,
    may_cancel: Reach,
    may_answer: Reach,
    admin: bool,
}

#[derive(Debug, Clone)]
struct Agents {
    patterns: Vec<String>,
    set: LeaseSet,
}

/// What a lease may ask for at most.
#[derive(Debug, Clone)]
enum Ceiling {
    /// Anything.
    None,
    /// Anything that does not reach the machine: no `fs.*`, no `net.fetch`, no tool `exec:NAME` [ARCP 14-10].
    OffTheMachine(LeaseSet),
    /// What these patterns cover.
    Lease { lease: Lease, set: Box<LeaseSet> },
}

/// Whose jobs an authority extends to. Everybody's own are always among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reach {
    /// Only the principal's own.
    #[default]
    Own,
    /// Those of the principals that have this role.
    Role(String),
    /// Everybody's.
    All,
}

/// A role that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoleError {
    /// The ceiling is no lease.
    #[error("lease_ceiling: {0}")]
    Ceiling(LeaseError),
    /// Amounts have a key of their own.
    #[error("lease_ceiling holds no cost.budget, give budget_per_job")]
    BudgetInCeiling,
    /// The agents are no patterns.
    #[error("agents: {0}")]
    Agents(LeaseError),
    /// The budget is none.
    #[error("budget_per_job: {0}")]
    Budget(BudgetError),
    /// The budget of a day is none.
    #[error("budget_per_day: {0}")]
    DailyBudget(BudgetError),
}

impl Role {
    /// A role with a name.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::of_nobody()
        }
    }

    /// What holds for those who have no role.
    pub const fn of_nobody() -> Self {
        Self {
            name: None,
            agents: None,
            ceiling: Ceiling::None,
            budget_per_job: Amounts::none(),
            budget_per_day: Amounts::none(),
            jobs: None,
            may_watch: Reach::Own,
            may_cancel: Reach::Own,
            may_answer: Reach::Own,
            admin: false,
        }
    }

    /// Which agents may be run: patterns as those of `agent.delegate`. Default: all.
    ///
    /// # Errors
    /// [`RoleError::Agents`] for a malformed pattern.
    pub fn agents(mut self, patterns: &[String]) -> Result<Self, RoleError> {
        let lease = patterns
            .iter()
            .map(|pattern| (namespace::AGENT_DELEGATE, pattern))
            .fold(Lease::new(), |lease, (namespace, pattern)| {
                lease.with(namespace, pattern)
            });
        self.agents = Some(Agents {
            patterns: patterns.to_vec(),
            set: LeaseSet::compile(&lease).map_err(RoleError::Agents)?,
        });
        Ok(self)
    }

    /// What a lease may ask for at most; of a namespace that is not in it, nothing. Default: anything.
    ///
    /// # Errors
    /// [`RoleError`] for a malformed pattern, and for `cost.budget`, which [`Role::budget_per_job`] bounds.
    pub fn lease_ceiling(mut self, lease: Lease) -> Result<Self, RoleError> {
        if lease.grants(namespace::COST_BUDGET) {
            return Err(RoleError::BudgetInCeiling);
        }
        let set = Box::new(LeaseSet::compile(&lease).map_err(RoleError::Ceiling)?);
        self.ceiling = Ceiling::Lease { lease, set };
        Ok(self)
    }

    /// The ceiling "all but `fs.*`, `net.fetch` and `exec:`", for tokens that nobody gave a role [ARCP 14-10].
    ///
    /// # Errors
    /// None that a caller could cause; the ceiling is compiled like any other.
    pub fn off_the_machine(mut self) -> Result<Self, RoleError> {
        let lease = TOOLS_BUT_EXEC.iter().fold(Lease::new(), |lease, pattern| {
            lease.with(namespace::TOOL_CALL, *pattern)
        });
        let set = LeaseSet::compile(&lease).map_err(RoleError::Ceiling)?;
        self.ceiling = Ceiling::OffTheMachine(set);
        Ok(self)
    }

    /// What one job may spend at most, as `USD:5.00`; a lease without a budget in one of the currencies gets this one.
    /// Default: no bound.
    ///
    /// # Errors
    /// [`RoleError::Budget`] for what is no amount.
    pub fn budget_per_job(mut self, amounts: &[String]) -> Result<Self, RoleError> {
        self.budget_per_job = Amounts::parse(amounts).map_err(RoleError::Budget)?;
        Ok(self)
    }

    /// What all jobs of a principal may spend on one day, which begins at midnight UTC, as `USD:20.00`. Default: no bound.
    ///
    /// # Errors
    /// [`RoleError::DailyBudget`] for what is no amount.
    pub fn budget_per_day(mut self, amounts: &[String]) -> Result<Self, RoleError> {
        self.budget_per_day = Amounts::parse(amounts).map_err(RoleError::DailyBudget)?;
        Ok(self)
    }

    /// How many jobs of a principal run at once; more wait. Default: the runtime's own bound.
    #[must_use]
    pub const fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = Some(jobs);
        self
    }

    /// Whose jobs may be watched and listed. Default: one's own.
    #[must_use]
    pub fn may_watch(mut self, reach: Reach) -> Self {
        self.may_watch = reach;
        self
    }

    /// Whose jobs may be cancelled. Default: one's own.
    #[must_use]
    pub fn may_cancel(mut self, reach: Reach) -> Self {
        self.may_cancel = reach;
        self
    }

    /// Whose questions may be answered. Default: those of one's own jobs.
    #[must_use]
    pub fn may_answer(mut self, reach: Reach) -> Self {
        self.may_answer = reach;
        self
    }

    /// Whether the runtime itself may be administered, which includes watching, cancelling and answering everybody's jobs.
    /// Default: no.
    #[must_use]
    pub const fn admin(mut self, admin: bool) -> Self {
        self.admin = admin;
        self
    }

    /// The role's name; nothing for those without a role.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whose jobs may be watched; for an administrator, everybody's.
    pub const fn watches(&self) -> &Reach {
        if self.admin {
            &Reach::All
        } else {
            &self.may_watch
        }
    }

    /// Whose jobs may be cancelled; for an administrator, everybody's.
    pub const fn cancels(&self) -> &Reach {
        if self.admin {
            &Reach::All
        } else {
            &self.may_cancel
        }
    }

    /// Whose questions may be answered; for an administrator, everybody's.
    pub const fn answers(&self) -> &Reach {
        if self.admin {
            &Reach::All
        } else {
            &self.may_answer
        }
    }

    /// How many jobs of a principal run at once.
    pub const fn jobs_at_once(&self) -> Option<usize> {
        self.jobs
    }

    /// Whether the runtime itself may be administered.
    pub const fn is_admin(&self) -> bool {
        self.admin
    }

    /// The patterns of the agents that may be run; `None` means all.
    pub fn agent_patterns(&self) -> Option<&[String]> {
        self.agents.as_ref().map(|agents| &*agents.patterns)
    }

    /// What a lease may ask for at most, when that is a list of patterns.
    pub const fn ceiling_lease(&self) -> Option<&Lease> {
        match &self.ceiling {
            Ceiling::Lease { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// What one job may spend at most.
    pub const fn budget(&self) -> &Amounts {
        &self.budget_per_job
    }

    /// What all jobs of a principal may spend on one day.
    pub const fn daily_budget(&self) -> &Amounts {
        &self.budget_per_day
    }

    /// All of it, for programs.
    pub fn describe(&self) -> serde_json::Value {
        serde_json::json!({
            "role": self.name,
            "agents": self.agent_patterns(),
            "lease_ceiling": self.ceiling_lease(),
            "lease_ceiling_text": self.ceiling_in_words(),
            "budget_per_job": self.budget_per_job.to_texts(),
            "budget_per_day": self.budget_per_day.to_texts(),
            "jobs": self.jobs,
            "may_watch": self.watches().to_string(),
            "may_cancel": self.cancels().to_string(),
            "may_answer": self.answers().to_string(),
            "admin": self.admin,
        })
    }

    /// What a lease may ask for at most, in words.
    pub fn ceiling_in_words(&self) -> String {
        match &self.ceiling {
            Ceiling::None => "anything".to_owned(),
            Ceiling::OffTheMachine(_) => OFF_THE_MACHINE.to_owned(),
            Ceiling::Lease { lease, .. } if lease.is_empty() => "nothing".to_owned(),
            Ceiling::Lease { lease, .. } => lease
                .iter()
                .map(|(namespace, patterns)| format!("{namespace}: {}", patterns.join(" ")))
                .collect::<Vec<_>>()
                .join("; "),
        }
    }

    /// Whether the agent, with its version, may be run.
    ///
    /// # Errors
    /// PERMISSION_DENIED naming the role and its agents.
    pub fn may_run(&self, agent: &AgentRef) -> Result<(), Refusal> {
        let Some(agents) = &self.agents else {
            return Ok(());
        };
        let decision = agents
            .set
            .check(namespace::AGENT_DELEGATE, &agent.to_string())
            .is_allowed();
        if decision {
            return Ok(());
        }
        let message = format!(
            "`agent`: {self} may not run `{agent}`, it may run {}",
            in_words(&agents.patterns)
        );
        Err(Refusal::new(ErrorCode::PERMISSION_DENIED, message))
    }

    /// The lease to grant for what is asked: as it is asked for, with the role's budget in each currency that it does not
    /// name.
    ///
    /// # Errors
    /// LEASE_SUBSET_VIOLATION naming what is too much and the ceiling; INVALID_REQUEST for what is no lease.
    pub fn bound(&self, asked: &Lease) -> Result<Lease, Refusal> {
        let set = LeaseSet::compile(asked)
            .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
        match &self.ceiling {
            Ceiling::None => {}
            Ceiling::OffTheMachine(tools) => self.off_machine(asked, tools)?,
            Ceiling::Lease { set: ceiling, .. } => ceiling
                .contains(&set)
                .map_err(|violation| self.over(&violation))?,
        }
        self.with_budget(asked, set.amounts())
    }

    /// Everything but what reaches the machine. What one would only be asked about counts as asked for, or whoever submits
    /// could approve himself past his ceiling.
    fn off_machine(&self, asked: &Lease, tools: &LeaseSet) -> Result<(), Refusal> {
        for (namespace, patterns) in asked.iter() {
            for pattern in patterns {
                let (of, pattern) = match (namespace, pattern.split_once('=')) {
                    (ASK, Some(asks_for)) => asks_for,
                    _ => (namespace, pattern.as_str()),
                };
                let beyond = of.starts_with("fs.") || of == namespace::NET_FETCH;
                if beyond {
                    let what = format!("{namespace} pattern `{pattern}`");
                    return Err(self.refused(&what, None));
                }
                if of == namespace::TOOL_CALL {
                    let one = Lease::new().with(namespace::TOOL_CALL, pattern);
                    let one = LeaseSet::compile(&one)
                        .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
                    tools
                        .contains(&one)
                        .map_err(|violation| self.over(&violation))?;
                }
            }
        }
        Ok(())
    }

    fn with_budget(&self, asked: &Lease, amounts: &Amounts) -> Result<Lease, Refusal> {
        let mut lease = asked.clone();
        for (currency, most) in self.budget_per_job.iter() {
            match amounts.of(currency) {
                Some(amount) if amount > most => {
                    let message = format!(
                        "cost.budget `{currency}:{amount}` is over what {self} may spend on one job, \
                         {currency}:{most}; ask for less"
                    );
                    return Err(Refusal::new(ErrorCode::LEASE_SUBSET_VIOLATION, message));
                }
                Some(_) => {}
                None => lease.add(namespace::COST_BUDGET, format!("{currency}:{most}")),
            }
        }
        Ok(lease)
    }

    fn over(&self, violation: &Violation) -> Refusal {
        let what = format!(
            "{} pattern `{}`",
            violation.namespace(),
            violation.pattern()
        );
        let why = match violation.reason() {
            ViolationReason::NotGranted => None,
            ViolationReason::Escapes { witness } => Some(format!("it covers `{witness}`")),
            ViolationReason::TooComplex => Some("it is too complex to be compared".to_owned()),
        };
        self.refused(&what, why.as_deref())
    }

    fn refused(&self, what: &str, why: Option<&str>) -> Refusal {
        let because = why.map_or_else(String::new, |why| format!(": {why}"));
        let message = format!(
            "{what} is over the lease ceiling of {self} ({}){because}; ask for less, or the operator for a role",
            self.ceiling_in_words()
        );
        Refusal::new(ErrorCode::LEASE_SUBSET_VIOLATION, message)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "role `{name}`"),
            None => f.write_str("a token without a role"),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("own"),
            Self::Role(name) => write!(f, "role:{name}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for Reach {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("role:")) {
            ("own", _) => Ok(Self::Own),
            ("all", _) => Ok(Self::All),
            (_, Some(name)) if !name.is_empty() => Ok(Self::Role(name.to_owned())),
            _ => Err(format!("`{text}` is none of own, role:NAME and all")),
        }
    }
}

fn in_words(patterns: &[String]) -> String {
    if patterns.is_empty() {
        return "none".to_owned();
    }
    patterns
        .iter()
        .map(|pattern| format!("`{pattern}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Every name but those that begin with `exec:`, as patterns: they part from it at its first, second, … character, or end
/// before it does. A class matches no `/`, so that one is named.
const TOOLS_BUT_EXEC: [&str; 10] = [
    "[!e]**",
    "/**",
    "e/**",
    "e[!x]**",
    "ex/**",
    "ex[!e]**",
    "exe/**",
    "exe[!c]**",
    "exec/**",
    "exec[!:]**",
];

const OFF_THE_MACHINE: &str = "all but fs.*, net.fetch and exec:";

/// What a job may ask people for, as `NAMESPACE=PATTERN`.
const ASK: &str = "x-vendor.towline.ask";

#[cfg(test)]
mod tests;
