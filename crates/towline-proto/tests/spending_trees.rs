//! Random trees of delegations and spends against a plain sum.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use proptest::prelude::*;
use rust_decimal::Decimal;
use towline_proto::lease::{Authority, Operation, validate_request};
use towline_wire::{Amount, Lease, LeaseConstraints, Timestamp};

/// One job of the tree.
struct Job {
    authority: Authority,
    parent: Option<usize>,
    running: bool,
    /// What it reported last, in cents.
    last: i64,
}

/// What happens to the tree; indices are taken modulo the number of jobs.
#[derive(Debug, Clone)]
enum Step {
    /// A job delegates, with so many cents or with all that is left.
    Delegate(usize, Option<i64>),
    /// A job asks for an operation, and reports its cost when it was allowed.
    Spend(usize, i64),
    /// A job ends, its children before it.
    End(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<usize>(), prop::option::of(1i64..400)).prop_map(|(job, share)| Step::Delegate(job, share)),
        6 => (any::<usize>(), 0i64..300).prop_map(|(job, cost)| Step::Spend(job, cost)),
        2 => any::<usize>().prop_map(Step::End),
    ]
}

fn now() -> Timestamp {
    Timestamp::from_unix_micros(1_700_000_000_000_000)
}

fn cents(value: i64) -> Amount {
    Amount::from(Decimal::new(value, 2))
}

fn lease(budget: Option<i64>) -> Lease {
    let lease = Lease::new()
        .with("agent.delegate", "*")
        .with("tool.call", "*");
    match budget {
        Some(budget) => lease.with("cost.budget", format!("USD:{}", cents(budget))),
        None => lease,
    }
}

struct Tree {
    jobs: Vec<Job>,
    spent: i64,
}

impl Tree {
    fn new(cap: i64) -> Self {
        let valid =
            validate_request(&lease(Some(cap)), &LeaseConstraints::default(), now()).unwrap();
        let root = Job {
            authority: Authority::new(valid, true),
            parent: None,
            running: true,
            last: 0,
        };
        Self {
            jobs: vec![root],
            spent: 0,
        }
    }

    fn take(&mut self, step: &Step) {
        let at = |index: &usize| index % self.jobs.len();
        match step {
            Step::Delegate(job, share) => self.delegate(at(job), *share),
            Step::Spend(job, cost) => self.spend(at(job), *cost),
            Step::End(job) if at(job) != 0 => self.end(at(job)),
            Step::End(_) => {}
        }
    }

    fn delegate(&mut self, parent: usize, share: Option<i64>) {
        let job = &mut self.jobs[parent];
        let constraints = LeaseConstraints::default();
        let grant = job
            .authority
            .derive_child("agent", &lease(share), &constraints, now());
        let Some(grant) = grant.ok().filter(|_| job.running) else {
            return;
        };
        job.authority.budget_mut().reserve(&grant.reserve).unwrap();
        let authority = grant.into_authority();
        self.jobs.push(Job {
            authority,
            parent: Some(parent),
            running: true,
            last: 0,
        });
    }

    fn spend(&mut self, job: usize, cost: i64) {
        let job = &mut self.jobs[job];
        let allowed = job
            .authority
            .decide(Operation::ToolCall("tool"), now())
            .is_ok();
        if job.running && allowed {
            job.authority
                .budget_mut()
                .apply_metric("cost.tool", &cents(cost), Some("USD"))
                .unwrap();
            job.last = cost;
            self.spent += cost;
        }
    }

    fn end(&mut self, job: usize) {
        if !std::mem::replace(&mut self.jobs[job].running, false) {
            return;
        }
        let children: Vec<usize> = (0..self.jobs.len())
            .filter(|child| self.jobs[*child].parent == Some(job))
            .collect();
        children.into_iter().for_each(|child| self.end(child));
        let left = self.jobs[job].authority.budget().clone();
        if let Some(parent) = self.jobs[job].parent {
            self.jobs[parent].authority.budget_mut().settle(&left);
        }
    }

    fn last_reports(&self) -> i64 {
        self.jobs.iter().map(|job| job.last).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// [ARCP 9.4-2, 9.6-2, 9.6-3] whatever the tree, no more is ever spent than the root's cap and, for each agent, the one
    /// report that took it over its own share; and when all children have ended the root's counter is its cap less what
    /// was spent, to the cent.
    #[test]
    fn no_tree_outspends_its_root(cap in 1i64..2000, steps in prop::collection::vec(step(), 1..120)) {
        let mut tree = Tree::new(cap);
        for step in &steps {
            tree.take(step);
            prop_assert!(tree.spent <= cap + tree.last_reports(), "{} of {cap} spent", tree.spent);
        }
        for job in 1..tree.jobs.len() {
            tree.end(job);
        }
        let left: Vec<(String, Amount)> =
            tree.jobs[0].authority.budget().remaining().map(|(currency, left)| (currency.to_owned(), left)).collect();
        prop_assert_eq!(left, vec![("USD".to_owned(), cents(cap - tree.spent))]);
    }
}
