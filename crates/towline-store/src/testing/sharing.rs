//! Cases: several members of one store.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use towline_wire::{AgentRef, EventSeq};

use super::fixture::*;
use crate::{
    Batch, Change, EventStore, Incarnation, JobRow, MemoryStore, SessionRow, Shared, StoreError,
    Wanted,
};

/// Runs the cases about several members of one store; the argument is an expression whose value is a future of [`Members`],
/// or of an `Option` of them.
#[macro_export]
macro_rules! store_sharing_suite {
    ($members:expr) => {
        $crate::store_cases!($members, sharing:
            a_member_that_was_fenced_commits_nothing, nobody_is_fenced_whose_number_moved,
            trees_change_hands_whole, adoption_goes_by_handfuls, only_trees_are_adopted_whose_agents_are_there, nobody_changes_what_is_anothers,
            a_session_goes_to_whoever_has_its_token, what_was_taken_is_not_brought_back,
            the_next_life_of_a_name_has_what_the_one_before_left, one_that_may_still_be_there_keeps_what_it_has,
            a_key_stands_for_one_job_whoever_commits_it, whoever_leaves_leaves_everything,
            sessions_of_nobody_end_with_their_window, retention_spares_what_others_need,
        );
    };
}

type Joined = Pin<Box<dyn Future<Output = Member> + Send>>;

/// A store under test, and how members join it.
pub struct Members(Box<dyn Fn(&str) -> Joined + Send + Sync>);

/// A member under test.
pub struct Member {
    /// Its side of the store.
    pub store: Arc<dyn EventStore>,
    /// Its process dies, as far as anybody can see.
    pub hang_up: Box<dyn Fn() + Send + Sync>,
}

impl Members {
    /// A store, by how a member of a name joins it.
    pub fn new<F>(join: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Member> + Send + 'static,
    {
        Self(Box::new(move |name| Box::pin(join(name.to_owned()))))
    }

    /// Those of a store in memory.
    pub fn in_memory() -> Self {
        let store = Arc::new(MemoryStore::new());
        Self::new(move |name| {
            let node = Arc::new(store.join(&name));
            let connection = Arc::clone(&node);
            let hang_up: Box<dyn Fn() + Send + Sync> = Box::new(move || connection.hang_up());
            std::future::ready(Member {
                store: node,
                hang_up,
            })
        })
    }

    async fn join(&self, name: &str) -> Member {
        (self.0)(name).await
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members").finish_non_exhaustive()
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").finish_non_exhaustive()
    }
}

impl Member {
    fn shared(&self) -> &dyn Shared {
        self.store.shared().expect("the store is shared")
    }

    fn who(&self) -> Incarnation {
        self.shared().incarnation()
    }

    async fn commit(&self, changes: impl IntoIterator<Item = Change>) {
        commit(&*self.store, changes).await;
    }

    async fn refused(&self, changes: impl IntoIterator<Item = Change>) -> StoreError {
        try_commit(&*self.store, changes).await.unwrap_err()
    }

    /// Which sessions a batch has lost.
    async fn lost(&self, changes: impl IntoIterator<Item = Change>) -> Vec<u64> {
        let changes = changes.into_iter().collect();
        let committed = self.store.commit(Batch { changes }).await.unwrap();
        let number = |lost| (1..9).find(|number| session_id(*number) == lost).unwrap();
        committed.lost.into_iter().map(number).collect()
    }

    /// Fences another member as it stands.
    async fn fences(&self, other: &Member) {
        let heard = self.shared().pulse(&[]).await.unwrap();
        let pulse = heard
            .others
            .iter()
            .find(|pulse| pulse.incarnation == other.who());
        let n = pulse.expect("it lives").n;
        let fenced = self.shared().fence(other.who(), n, at(50)).await.unwrap();
        assert!(fenced);
    }

    async fn adopts(&self, most: usize) -> Vec<u64> {
        self.adopts_of(Wanted { most, agents: None }).await
    }

    async fn adopts_of(&self, wanted: Wanted) -> Vec<u64> {
        let adopted = self.shared().adopt(&wanted).await.unwrap();
        assert!(adopted.sessions.is_empty() && adopted.schedules.is_empty());
        let number = |row: &JobRow| (1..9).find(|number| job_id(*number) == row.id).unwrap();
        adopted.jobs.iter().map(number).collect()
    }
}

fn child(number: u64, parent: u64) -> Change {
    let row = JobRow {
        parent: Some(job_id(parent)),
        depth: 1,
        ..job(number)
    };
    row.into()
}

/// After the fence nothing of an incarnation is committed, it hears of it without asking, and its number never lives again.
pub async fn a_member_that_was_fenced_commits_nothing(members: Members) {
    let (a, b) = (members.join("a").await, members.join("b").await);
    a.commit([job(1).into(), session(1).into()]).await;
    b.fences(&a).await;
    for changes in [
        vec![],
        vec![job(2).into()],
        vec![block(&job_id(1), 1, 1).into()],
    ] {
        assert!(matches!(a.refused(changes).await, StoreError::Fenced(inc) if inc == a.who()));
    }
    assert!(matches!(a.store.fallen().await, StoreError::Fenced(inc) if inc == a.who()));
    assert!(matches!(
        a.shared().pulse(&[]).await,
        Err(StoreError::Fenced(_))
    ));
    assert!(matches!(
        a.shared().adopt(&Wanted::EVERYTHING).await,
        Err(StoreError::Fenced(_))
    ));
    assert!(matches!(
        a.shared().fence(b.who(), 0, at(1)).await,
        Err(StoreError::Fenced(_))
    ));
    assert!(b.store.job(&job_id(2)).await.unwrap().is_none());
    let row = b.store.session(&session_id(1)).await.unwrap().unwrap();
    assert_eq!(
        row.detached_at,
        Some(at(50)),
        "its sessions are detached from the fence on"
    );
    assert!(
        members.join("a").await.who() > b.who(),
        "a later life has a greater number"
    );
}

/// A member that counts lives; only what was seen last can be fenced, and only once.
pub async fn nobody_is_fenced_whose_number_moved(members: Members) {
    let (a, b) = (members.join("a").await, members.join("b").await);
    let seen = b.shared().pulse(&[]).await.unwrap().others[0].n;
    a.shared().pulse(&[]).await.unwrap();
    assert!(!b.shared().fence(a.who(), seen, at(50)).await.unwrap());
    a.commit([job(1).into()]).await;
    b.fences(&a).await;
    assert!(!b.shared().fence(a.who(), seen + 1, at(50)).await.unwrap());
    assert!(b.shared().pulse(&[]).await.unwrap().others.is_empty());
}

/// Nobody gets a part of a tree, and what is adopted comes with everything that belongs to it.
pub async fn trees_change_hands_whole(members: Members) {
    let (a, b, c) = (
        members.join("a").await,
        members.join("b").await,
        members.join("c").await,
    );
    a.commit([job(1).into(), child(2, 1), child(3, 2), job(4).into()])
        .await;
    a.commit([
        becomes(&job_id(4), succeeded(at(3))),
        Change::Credential(credential(1, &job_id(2), true)),
        Change::Credential(credential(2, &job_id(4), true)),
        Change::Credential(credential(3, &job_id(1), false)),
        Change::Checkpoint {
            job: job_id(1),
            value: towline_wire::RawJson::NULL,
        },
        Change::Talk {
            job: job_id(1),
            value: towline_wire::RawJson::NULL,
        },
    ])
    .await;
    assert!(
        c.adopts(9).await.is_empty(),
        "what has an owner is not to be had"
    );
    b.fences(&a).await;
    assert!(c.shared().pulse(&[]).await.unwrap().orphans);
    let adopted = c.shared().adopt(&Wanted::EVERYTHING).await.unwrap();
    let ids: Vec<_> = adopted.jobs.iter().map(|row| row.id.clone()).collect();
    assert_eq!(ids, [job_id(1), job_id(2), job_id(3)]);
    let out: Vec<_> = adopted
        .credentials
        .iter()
        .map(|row| row.job.clone())
        .collect();
    assert_eq!(out, [job_id(2), job_id(4)], "also those whose job is over");
    assert_eq!(adopted.talks.len(), 1);
    assert!(b.adopts(9).await.is_empty());
    assert!(!b.shared().pulse(&[]).await.unwrap().orphans);
    c.commit([
        block(&job_id(3), 1, 2).into(),
        Change::Credential(credential(1, &job_id(2), false)),
    ])
    .await;
}

/// Survivors share what one of them left.
pub async fn adoption_goes_by_handfuls(members: Members) {
    let (a, b, c) = (
        members.join("a").await,
        members.join("b").await,
        members.join("c").await,
    );
    a.commit([job(1).into(), job(2).into(), child(3, 1), job(4).into()])
        .await;
    b.fences(&a).await;
    assert_eq!(b.adopts(1).await, [1, 3]);
    assert!(b.shared().pulse(&[]).await.unwrap().orphans);
    assert_eq!(c.adopts(1).await, [2]);
    assert_eq!(b.adopts(5).await, [4]);
    assert!(c.adopts(5).await.is_empty());
}

/// A tree waits for somebody who has the agents of all its jobs, or who takes any.
pub async fn only_trees_are_adopted_whose_agents_are_there(members: Members) {
    let (a, b) = (members.join("a").await, members.join("b").await);
    let of_another = JobRow {
        agent: AgentRef::parse("another@1").unwrap(),
        parent: Some(job_id(1)),
        depth: 1,
        ..job(3)
    };
    a.commit([job(1).into(), job(2).into(), of_another.into()])
        .await;
    b.fences(&a).await;
    let name = job(1).agent.name().to_owned();
    let of = |agents| Wanted {
        most: 9,
        agents: Some(agents),
    };
    assert!(b.adopts_of(of(vec![])).await.is_empty());
    assert_eq!(b.adopts_of(of(vec![name.clone()])).await, [2]);
    assert!(b.shared().pulse(&[]).await.unwrap().orphans);
    let both = vec!["another".to_owned(), name];
    assert_eq!(b.adopts_of(of(both)).await, [1, 3]);
}

/// A record, a state, a child or a credential of another's job is refused, and so is everything it came with.
pub async fn nobody_changes_what_is_anothers(members: Members) {
    let (a, b) = (members.join("a").await, members.join("b").await);
    a.commit([
        job(1).into(),
        Change::Credential(credential(1, &job_id(1), true)),
    ])
    .await;
    for change in [
        block(&job_id(1), 1, 1).into(),
        becomes(&job_id(1), running()),
        child(2, 1),
        Change::Credential(credential(1, &job_id(1), false)),
    ] {
        let refused = b.refused([job(3).into(), change]).await;
        assert!(matches!(refused, StoreError::Rejected(_)), "{refused}");
    }
    assert!(a.store.job(&job_id(3)).await.unwrap().is_none());
    a.commit([block(&job_id(1), 1, 1).into()]).await;
}

/// A session has one owner. Whoever comes with its token has it, whole, and the one before hears of it.
pub async fn a_session_goes_to_whoever_has_its_token(members: Members) {
    let (a, b) = (members.join("a").await, members.join("b").await);
    let row = session(1);
    a.commit([
        job(1).into(),
        block(&job_id(1), 1, 3).into(),
        row.clone().into(),
        sees(1, span(1, &job_id(1), 1, 3)),
        Change::Subscribed {
            session: session_id(1),
            job: job_id(1),
        },
    ])
    .await;
    assert_eq!(
        b.lost([row.clone().into(), sees(1, span(4, &job_id(1), 1, 1))])
            .await,
        [1]
    );
    assert!(b.shared().take_session(&[77; 32]).await.unwrap().is_none());
    let taken = b
        .shared()
        .take_session(&row.token_hash)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((&taken.row, taken.last), (&row, EventSeq::new(3)));
    assert_eq!(taken.spans, [span(1, &job_id(1), 1, 3)]);
    assert_eq!(taken.subscriptions, [job_id(1)]);

    // The others of a batch are not concerned.
    let more = [
        sees(1, span(4, &job_id(1), 1, 1)),
        session(2).into(),
        block(&job_id(1), 4, 1).into(),
    ];
    assert_eq!(a.lost(more).await, [1]);
    assert_eq!(
        a.store.stream_end(&session_id(1)).await.unwrap(),
        Some(EventSeq::new(3))
    );
    assert!(a.store.session(&session_id(2)).await.unwrap().is_some());
    assert_eq!(a.shared().pulse(&[]).await.unwrap().taken, [session_id(1)]);
    assert!(
        b.lost([sees(1, span(4, &job_id(1), 4, 1))])
            .await
            .is_empty()
    );

    let again = a.shared().take_session(&row.token_hash).await.unwrap();
    assert_eq!(again.unwrap().last, EventSeq::new(4));
    assert!(a.shared().pulse(&[]).await.unwrap().taken.is_empty());
    assert_eq!(b.lost([Change::SessionGone(session_id(1))]).await, [1]);
}

/// Whoever lost a session does not make it anew when the other has ended it, until it is known to have let go of it.
pub async fn what_was_taken_is_not_brought_back(members: Members) {
    let (a, b) = (members.join("a").await, members.join("b").await);
    let row = session(1);
    a.commit([row.clone().into()]).await;
    b.shared()
        .take_session(&row.token_hash)
        .await
        .unwrap()
        .unwrap();
    b.commit([Change::SessionGone(session_id(1))]).await;
    assert_eq!(a.lost([row.clone().into()]).await, [1]);
    assert!(a.store.session(&session_id(1)).await.unwrap().is_none());
    let heard = a.shared().pulse(&[]).await.unwrap();
    assert_eq!(heard.taken, [session_id(1)]);
    assert!(
        a.shared()
            .pulse(&heard.taken)
            .await
            .unwrap()
            .taken
            .is_empty()
    );
}

/// A restart has its jobs, sessions and credentials at once, though nobody fenced the life before.
pub async fn the_next_life_of_a_name_has_what_the_one_before_left(members: Members) {
    let (a, b) = (members.join("a").await, members.join("b").await);
    a.commit([
        job(1).into(),
        session(1).into(),
        Change::Credential(credential(1, &job_id(1), true)),
    ])
    .await;
    b.commit([job(2).into(), session(2).into()]).await;
    (a.hang_up)();
    let next = members.join("a").await;
    let found = next.store.recover().await.unwrap();
    assert_eq!(found.jobs.len(), 1);
    assert_eq!(
        (&found.jobs[0].id, found.credentials.len()),
        (&job_id(1), 1)
    );
    assert_eq!(found.sessions.len(), 1);
    assert!(
        next.lost([session(1).into(), block(&job_id(1), 1, 1).into()])
            .await
            .is_empty()
    );
    assert!(matches!(a.refused([]).await, StoreError::Fenced(_)));
    b.commit([block(&job_id(2), 1, 1).into()]).await;
    assert!(b.adopts(9).await.is_empty());
}

/// Two processes of one name: the first keeps what it has until it falls silent.
pub async fn one_that_may_still_be_there_keeps_what_it_has(members: Members) {
    let a = members.join("a").await;
    a.commit([job(1).into(), session(1).into()]).await;
    let second = members.join("a").await;
    let found = second.store.recover().await.unwrap();
    assert!(found.jobs.is_empty() && found.sessions.is_empty());
    a.commit([block(&job_id(1), 1, 1).into()]).await;
    second.fences(&a).await;
    assert_eq!(second.adopts(9).await, [1]);
}

/// (a part of 21-4) two nodes cannot come to different jobs by one key.
pub async fn a_key_stands_for_one_job_whoever_commits_it(members: Members) {
    let (a, b) = (members.join("a").await, members.join("b").await);
    a.commit([
        job(1).into(),
        Change::Idempotency(key("k", &job_id(1), at(1))),
    ])
    .await;
    let other = Change::Idempotency(key("k", &job_id(2), at(2)));
    let refused = b.refused([job(2).into(), other]).await;
    assert!(matches!(refused, StoreError::Rejected(_)), "{refused}");
    assert!(b.store.job(&job_id(2)).await.unwrap().is_none());
    let after_a_day = Change::Idempotency(key("k", &job_id(3), at(90_000)));
    b.commit([job(3).into(), after_a_day]).await;
}

/// Closing gives everything up: nobody has to wait for a silence.
pub async fn whoever_leaves_leaves_everything(members: Members) {
    let (a, b) = (members.join("a").await, members.join("b").await);
    a.commit([job(1).into(), session(1).into()]).await;
    a.store.close().await.unwrap();
    assert!(matches!(a.refused([]).await, StoreError::Closed));
    assert!(b.shared().pulse(&[]).await.unwrap().orphans);
    assert_eq!(b.adopts(9).await, [1]);
    let token = session(1).token_hash;
    assert!(b.shared().take_session(&token).await.unwrap().is_some());
    assert!(b.lost([session(1).into()]).await.is_empty());
}

/// What nobody comes for goes, and what somebody has does not.
pub async fn sessions_of_nobody_end_with_their_window(members: Members) {
    let (a, b) = (members.join("a").await, members.join("b").await);
    a.commit([session(1).into()]).await;
    b.commit([SessionRow {
        detached_at: Some(at(1)),
        ..session(2)
    }
    .into()])
        .await;
    let minute = Duration::from_secs(60);
    b.fences(&a).await;
    assert_eq!(
        b.shared().end_left_sessions(at(60), minute).await.unwrap(),
        0
    );
    assert_eq!(
        b.shared().end_left_sessions(at(111), minute).await.unwrap(),
        1
    );
    assert!(b.store.session(&session_id(1)).await.unwrap().is_none());
    assert!(b.store.session(&session_id(2)).await.unwrap().is_some());
}

/// A member does not know whose streams point where; the store does.
pub async fn retention_spares_what_others_need(members: Members) {
    let (a, b) = (members.join("a").await, members.join("b").await);
    a.commit([
        job(1).into(),
        block(&job_id(1), 1, 1).into(),
        end(&job_id(1), 2).into(),
    ])
    .await;
    a.commit([
        becomes(&job_id(1), succeeded(at(3))),
        session(1).into(),
        sees(1, span(1, &job_id(1), 1, 2)),
    ])
    .await;
    let policy = crate::RetentionPolicy {
        max_jobs: 0,
        ..Default::default()
    };
    b.store.retain(at(9), &policy, &[]).await.unwrap();
    assert!(b.store.job(&job_id(1)).await.unwrap().is_some());
    a.commit([Change::Trim {
        session: session_id(1),
        up_to: EventSeq::new(2),
    }])
    .await;
    b.store.retain(at(9), &policy, &[]).await.unwrap();
    assert!(b.store.job(&job_id(1)).await.unwrap().is_none());
}
