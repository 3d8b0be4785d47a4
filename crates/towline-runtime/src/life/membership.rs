//! Being one of several runtimes on a store: showing that this one lives, and taking over from those that do not (§21).

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{task::JoinHandle, time::sleep};
use towline_proto::membership::{Membership, Standing};
use towline_store::{Heard, Incarnation, Remedy, Shared, StoreError, Wanted};
use towline_wire::SessionId;

use super::recovery;
use crate::{
    credentials::Ledger,
    hub::{Footing, Hub, PACE},
};

/// Runs until the runtime stops or is declared dead. Does nothing in one that has its store for itself.
pub(super) async fn run(hub: Arc<Hub>) {
    let store = Arc::clone(&hub.services.store);
    let (Some(shared), Some(footing)) = (store.shared(), &hub.footing) else {
        return;
    };
    let mut node = Node {
        hub: &hub,
        membership: Membership::new(PACE, footing.now()),
        letting_go: HashSet::new(),
        orphans_since: None,
        let_go: Arc::default(),
        chores: None,
    };
    tokio::select! {
        () = node.pulse(shared, footing) => {}
        () = send_away(&hub, footing) => {}
        () = hub.scope.stopping.cancelled() => {}
    }
}

/// Clients of a runtime that has been cut off for long do better elsewhere.
async fn send_away(hub: &Hub, footing: &Footing) {
    loop {
        footing.until(Standing::Alone).await;
        if hub.scope.stopping.is_cancelled() {
            return;
        }
        tracing::warn!(target: "towline::cluster", "the store has not been heard of for long; clients are sent away");
        hub.detach_all();
        sleep(PACE.every).await;
    }
}

struct Node<'h> {
    hub: &'h Arc<Hub>,
    membership: Membership<Incarnation>,
    /// Sessions others have taken, until the store has forgotten that.
    letting_go: HashSet<SessionId>,
    /// Since when there has been something to take over, without a break.
    orphans_since: Option<Duration>,
    /// Those of them that nothing under way names any more.
    let_go: Arc<Mutex<Vec<SessionId>>>,
    /// What follows from a pulse must not hold up the next one.
    chores: Option<JoinHandle<()>>,
}

impl Node<'_> {
    async fn pulse(&mut self, shared: &dyn Shared, footing: &Footing) {
        loop {
            let (asked, known) = (footing.now(), self.let_go.lock().clone());
            match shared.pulse(&known).await {
                Ok(heard) => {
                    footing.acknowledged(asked);
                    self.let_go
                        .lock()
                        .retain(|session| !known.contains(session));
                    self.heard(heard, asked, footing);
                }
                // The committer hears of it too, and everything ends.
                Err(error) if error.remedy() == Remedy::Fall => return,
                Err(error) => {
                    tracing::warn!(target: "towline::cluster", %error, "the store did not acknowledge that this node lives");
                    self.membership.failed(footing.now());
                }
            }
            sleep(PACE.every).await;
        }
    }

    fn heard(&mut self, heard: Heard, asked: Duration, footing: &Footing) {
        let now = footing.now();
        metrics::gauge!("towline_nodes").set((heard.others.len() + 1) as f64);
        let others = heard.others.iter();
        let others = others.map(|pulse| (pulse.incarnation, pulse.n));
        let silent = self.membership.answered(asked, now, others);
        self.let_go_of(heard.taken);
        let since = heard
            .orphans
            .then(|| *self.orphans_since.get_or_insert(now));
        self.orphans_since = since;
        let is_idle = self.chores.as_ref().is_none_or(JoinHandle::is_finished);
        if is_idle && !self.hub.scope.draining.is_cancelled() {
            let waited = since.map(|since| now.saturating_sub(since));
            let chores = do_chores(Arc::clone(self.hub), silent, waited);
            self.chores = Some(self.hub.scope.tasks.spawn(chores));
        }
    }

    /// Sessions that others took end here at once. The store is told when no batch names them any more.
    fn let_go_of(&mut self, taken: Vec<SessionId>) {
        let taken: HashSet<SessionId> = taken.into_iter().collect();
        let new: Vec<SessionId> = taken.difference(&self.letting_go).cloned().collect();
        self.letting_go = taken;
        if new.is_empty() {
            return;
        }
        self.hub.let_go_of(&new);
        let (hub, let_go) = (Arc::clone(self.hub), Arc::clone(&self.let_go));
        self.hub.scope.tasks.spawn(async move {
            hub.barrier().await;
            let_go.lock().extend(new);
        });
    }
}

/// Declares dead who is silent, and takes over what nobody has.
async fn do_chores(
    hub: Arc<Hub>,
    silent: Vec<(Incarnation, u64)>,
    mut orphaned_for: Option<Duration>,
) {
    let store = Arc::clone(&hub.services.store);
    let Some(shared) = store.shared() else { return };
    let work = async {
        for (other, seen) in silent {
            let fenced = shared.fence(other, seen, hub.now()).await?;
            if fenced {
                tracing::warn!(target: "towline::cluster", incarnation = other.number(), "a node fell silent and is declared dead");
                metrics::counter!("towline_nodes_fenced_total").increment(1);
                orphaned_for.get_or_insert(Duration::ZERO);
            }
        }
        if let Some(time) = orphaned_for {
            adopt(&hub, shared, time >= ANYBODY).await?;
        }
        let window = hub.services.options.resume_window;
        shared.end_left_sessions(hub.now(), window).await.map(drop)
    };
    let done: Result<(), StoreError> = tokio::select! {
        done = work => done,
        () = hub.scope.stopping.cancelled() => return,
    };
    if let Err(error) = done {
        tracing::warn!(target: "towline::cluster", %error, "what others left could not be looked after; it is tried again");
    }
}

/// Takes trees over by handfuls, so that other nodes get some as well: those whose agents are here, or `any`, which may end for
/// want of them.
async fn adopt(hub: &Arc<Hub>, shared: &dyn Shared, any: bool) -> Result<(), StoreError> {
    let here = || {
        let agents = hub.services.agents.listing();
        agents.into_iter().map(|agent| agent.name).collect()
    };
    let wanted = Wanted {
        most: HANDFUL,
        agents: (!any).then(here),
    };
    loop {
        let found = shared.adopt(&wanted).await?;
        if found.jobs.is_empty() && found.credentials.is_empty() {
            return Ok(());
        }
        let credentials: HashSet<_> = found
            .credentials
            .iter()
            .map(|row| row.job.clone())
            .collect();
        let jobs = found.jobs.len();
        tracing::info!(target: "towline::cluster", jobs, "jobs of a dead node are taken over");
        metrics::counter!("towline_jobs_adopted_total").increment(jobs as u64);
        let taken = recovery::take_up(hub, found);
        recovery::resume(hub, taken);
        for job in credentials {
            Ledger::resume_job(hub, &job);
        }
        tokio::task::yield_now().await;
    }
}

/// How many trees are taken at a time.
const HANDFUL: usize = 50;
/// How long trees wait for a node that has their agents.
const ANYBODY: Duration = Duration::from_secs(15);
