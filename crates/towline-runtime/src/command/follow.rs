//! Pushing what changes to those who follow a list (`x-vendor.towline.list`).

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use towline_wire::payload;

use super::{
    asker::{Asker, envelope},
    list::{listing, query},
};
use crate::{
    hub::{Follower, Hub},
    session::{Attachment, Reply, SessionEntry},
};

/// A session that begins to follow.
pub(super) struct Beginning {
    session: Arc<SessionEntry>,
    attachment: Arc<Attachment>,
    follower: Followed,
}

/// Notes what changes from now on, where that is asked for. To be begun before the page is read that it follows, so that nothing
/// falls between.
pub(super) fn begin(hub: &Arc<Hub>, asker: &Asker, list: &payload::ListJobs) -> Option<Beginning> {
    if list.follow != Some(true) {
        return None;
    }
    // What is in the list because of its status would leave it unseen.
    let mut wanted = list.clone();
    if let Some(filter) = &mut wanted.filter {
        filter.status = None;
    }
    wanted.cursor = None;
    // A list that is refused is followed by nobody.
    let query = query(hub, &asker.session.principal, wanted).ok()?;
    let followers = &hub.books.followers;
    Some(Beginning {
        session: Arc::clone(&asker.session),
        attachment: Arc::clone(&asker.attachment),
        follower: Followed {
            follower: followers.add(&asker.session.id, Follower::new(query)),
            hub: Arc::clone(hub),
        },
    })
}

/// A list that is followed, until this is dropped.
struct Followed {
    hub: Arc<Hub>,
    follower: Arc<Follower>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.hub.books.followers.remove(&self.follower);
    }
}

/// Pushes what changes, until the connection is over or follows anew.
pub(super) fn go_on(hub: &Arc<Hub>, beginning: Beginning) {
    let Beginning {
        session,
        attachment,
        follower,
    } = beginning;
    let (hub, session) = (Arc::clone(hub), Arc::downgrade(&session));
    hub.scope.tasks.clone().spawn(async move {
        while push_next(&hub, &session, &attachment, &follower.follower).await {}
    });
}

/// Pushes what has changed, once there is something. `false` when the connection is over.
async fn push_next(
    hub: &Arc<Hub>,
    session: &Weak<SessionEntry>,
    attachment: &Arc<Attachment>,
    follower: &Follower,
) -> bool {
    tokio::select! {
        () = follower.changed() => {}
        () = tokio::time::sleep(LOOK) => {}
        () = attachment.detach.cancelled() => return false,
        () = hub.scope.draining.cancelled() => return false,
    }
    let principal = session.upgrade().map(|session| session.principal.clone());
    let Some(principal) = principal else {
        return false;
    };
    let is_here = || {
        let session = session.upgrade();
        session.is_some_and(|session| session.lock().is_attached(attachment))
            && !attachment.is_closing()
            && !follower.is_replaced()
    };
    // Much that changes at once is told at once; and a peer that does not read is told nothing before it has read.
    tokio::time::sleep(GATHER).await;
    while is_here() && attachment.replies.lock().waiting() > 0 {
        tokio::time::sleep(GATHER).await;
    }
    if !is_here() {
        return false;
    }
    let mut jobs = Vec::new();
    for job in follower.take(MOST) {
        // As the store has it: nothing is told before it is durable.
        let row = hub.services.store.job(&job).await.ok().flatten();
        // What the principal could see when it began to follow it may not see any more [ARCP 20-1].
        let row = row.filter(|row| hub.services.observes(&principal, &row.principal));
        if let Some(row) = row {
            jobs.push(listing(hub, &row.summary(), true));
        }
    }
    if !jobs.is_empty() {
        let page = payload::Jobs {
            request_id: None,
            jobs,
            next_cursor: None,
        };
        let slot = attachment.replies.lock().reserve();
        attachment.fill(slot, Reply::plain(envelope(&page)));
    }
    true
}

/// How long changes are gathered.
const GATHER: Duration = Duration::from_millis(100);

/// How often it is looked whether the connection is still there when nothing changes.
const LOOK: Duration = Duration::from_secs(30);

/// How many jobs are told of at once.
const MOST: usize = 256;
