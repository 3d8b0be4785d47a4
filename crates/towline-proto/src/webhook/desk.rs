//! Which of many messages is to be tried next.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use towline_wire::{JobId, JobSeq, Timestamp};

use super::Delivery;

/// What is delivered in order: the messages of one job to one URL [ARCP 16-6].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line {
    /// The job.
    pub job: JobId,
    /// The URL.
    pub url: Arc<str>,
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Its name, the same over all tries.
    pub id: Arc<str>,
    /// Whose it is: how many somebody has waiting is counted.
    pub owner: Arc<str>,
    /// The line it stands in.
    pub line: Line,
    /// Its place in the line: the record that it tells of.
    pub seq: JobSeq,
    /// What receivers share that are slow together: the host.
    pub receiver: Arc<str>,
    /// How far it came.
    pub delivery: Delivery,
}

/// How much is tried at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// In all.
    pub all: usize,
    /// At one receiver, so that a slow one leaves room for others.
    pub receiver: usize,
}

impl Bounds {
    /// Of one owner in all: some room is left for others, where there is more than for one.
    fn of_owner(self) -> usize {
        self.all - self.all / 4
    }

    /// Of one owner at one receiver.
    fn of_owner_at_receiver(self) -> usize {
        self.receiver.saturating_sub(1).max(1)
    }
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Try this one. It is being tried until [`Desk::tried`] says otherwise.
    Try(Post),
    /// Wait until this moment, or until something changes.
    Wait(Timestamp),
    /// Wait until something changes.
    Idle,
}

/// The messages that wait, by line and by receiver.
///
/// Of a line only the first message is tried, and the next one when that has been delivered or given up. Of several that are
/// due, one of the owner of whom the fewest are being tried comes first, and of these the one that has been due for longest, save
/// where its receiver has as many as it may. An owner never has all the room: what is slow for one holds up nobody
/// else [ARCP 14-6]. Ask [`Desk::next`] until
/// it names none; after each try call [`Desk::tried`] and ask again.
#[derive(Debug)]
pub struct Desk {
    bounds: Bounds,
    lines: HashMap<Line, Waiting>,
    receivers: BTreeMap<Arc<str>, Window>,
    /// How many are being tried, by owner.
    busy: Counts,
    /// How many wait or are being tried, by owner.
    owners: Counts,
}

/// A line with at least one message.
#[derive(Debug, Default)]
struct Waiting {
    posts: BTreeMap<JobSeq, Post>,
    /// The one that is being tried.
    trying: Option<JobSeq>,
    /// Somebody wants that one delivered once more, whatever comes of the try.
    again: bool,
}

/// The lines that lead to one receiver.
#[derive(Debug, Default)]
struct Window {
    /// The first message of each line that is not being tried, by owner and by when it is due.
    due: BTreeMap<Arc<str>, BTreeSet<(Timestamp, Line)>>,
    /// How many are being tried.
    busy: Counts,
}

/// How many of each owner, and in all.
#[derive(Debug, Default)]
struct Counts {
    of: HashMap<Arc<str>, usize>,
    all: usize,
}

impl Counts {
    fn of(&self, owner: &str) -> usize {
        self.of.get(owner).copied().unwrap_or_default()
    }

    fn add(&mut self, owner: &Arc<str>) {
        *self.of.entry(Arc::clone(owner)).or_default() += 1;
        self.all += 1;
    }

    fn take(&mut self, owner: &Arc<str>) {
        if let Entry::Occupied(mut of) = self.of.entry(Arc::clone(owner)) {
            self.all -= 1;
            *of.get_mut() -= 1;
            if *of.get() == 0 {
                of.remove();
            }
        }
    }
}

impl Desk {
    /// An empty desk.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            lines: HashMap::new(),
            receivers: BTreeMap::new(),
            busy: Counts::default(),
            owners: Counts::default(),
        }
    }

    /// How many messages wait or are being tried.
    pub fn len(&self) -> usize {
        self.owners.all
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.owners.all == 0
    }

    /// How many of one owner wait or are being tried.
    pub fn of(&self, owner: &str) -> usize {
        self.owners.of(owner)
    }

    /// Whether nothing is being tried, and nothing is to be tried now.
    pub fn is_quiet(&self, now: Timestamp) -> bool {
        let lines = self.receivers.values().flat_map(|window| &window.due);
        let mut first = lines.filter_map(|(_, lines)| lines.first());
        self.busy.all == 0 && !first.any(|(due, _)| *due <= now)
    }

    /// Takes a message that is durable, or takes it anew; one that is being tried is left alone, as is one that waits for
    /// nothing.
    pub fn put(&mut self, post: Post) {
        let line = post.line.clone();
        let trying = self.lines.get(&line).and_then(|waiting| waiting.trying);
        if post.delivery.due().is_none() || trying == Some(post.seq) {
            return;
        }
        self.unlist(&line);
        let owner = Arc::clone(&post.owner);
        let waiting = self.lines.entry(line.clone()).or_default();
        if waiting.posts.insert(post.seq, post).is_none() {
            self.owners.add(&owner);
        }
        self.list(&line);
    }

    /// Somebody wants a message delivered once more. Whether it is being tried: then it is tried again after that, and what is
    /// kept of the try has to [say so](Self::is_wanted_again). Otherwise put it once that is durable.
    pub fn again(&mut self, line: &Line, seq: JobSeq) -> bool {
        let waiting = self.lines.get_mut(line);
        let tried = waiting.filter(|waiting| waiting.trying == Some(seq));
        tried.map(|waiting| waiting.again = true).is_some()
    }

    /// Whether the one of a line that is being tried is wanted once more.
    pub fn is_wanted_again(&self, line: &Line) -> bool {
        self.lines.get(line).is_some_and(|waiting| waiting.again)
    }

    /// What is to be done now.
    pub fn next(&mut self, now: Timestamp) -> Next {
        let line = match self.first(now) {
            Ok(line) => line,
            Err(wait) => return wait.map_or(Next::Idle, Next::Wait),
        };
        self.unlist(&line);
        let Some(waiting) = self.lines.get_mut(&line) else {
            return Next::Idle;
        };
        let Some((seq, post)) = waiting.posts.first_key_value() else {
            return Next::Idle;
        };
        let post = post.clone();
        waiting.trying = Some(*seq);
        self.busy.add(&post.owner);
        let window = self.receivers.entry(Arc::clone(&post.receiver));
        window.or_default().busy.add(&post.owner);
        Next::Try(post)
    }

    /// The line that has its turn, or when one will have.
    fn first(&self, now: Timestamp) -> Result<Line, Option<Timestamp>> {
        let bounds = self.bounds;
        if self.busy.all >= bounds.all {
            return Err(None);
        }
        let open = |window: &&Window| window.busy.all < bounds.receiver;
        let lines = self.receivers.values().filter(open).flat_map(|window| {
            let own = window.due.iter().filter(|(owner, _)| {
                window.busy.of(owner) < bounds.of_owner_at_receiver()
                    && self.busy.of(owner) < bounds.of_owner()
            });
            own.filter_map(|(owner, lines)| Some((owner, lines.first()?)))
        });
        let (mut first, mut wait) = (None, None);
        for (owner, (due, line)) in lines {
            if *due > now {
                wait = Some(wait.map_or(*due, |wait| *due.min(&wait)));
                continue;
            }
            let turn = (self.busy.of(owner), *due, line);
            if first.as_ref().is_none_or(|first| turn < *first) {
                first = Some(turn);
            }
        }
        first.map(|(_, _, line)| line.clone()).ok_or(wait)
    }

    /// A try is over `now`, and this is how far the message came.
    pub fn tried(&mut self, mut post: Post, now: Timestamp) {
        let line = post.line.clone();
        let (receiver, owner) = (Arc::clone(&post.receiver), Arc::clone(&post.owner));
        self.busy.take(&owner);
        if let Some(window) = self.receivers.get_mut(&receiver) {
            window.busy.take(&owner);
        }
        if let Some(waiting) = self.lines.get_mut(&line) {
            waiting.trying = None;
            if std::mem::take(&mut waiting.again) {
                post.delivery = post.delivery.again(now);
            }
            if post.delivery.due().is_some() {
                waiting.posts.insert(post.seq, post);
            } else if waiting.posts.remove(&post.seq).is_some() {
                self.owners.take(&owner);
            }
            if waiting.posts.is_empty() {
                self.lines.remove(&line);
            }
        }
        self.list(&line);
        let window = self.receivers.get(&receiver);
        if window.is_some_and(|window| window.busy.all == 0 && window.due.is_empty()) {
            self.receivers.remove(&receiver);
        }
    }

    /// The first of a line and when it is due, unless one of the line is being tried.
    fn head(&self, line: &Line) -> Option<(&Post, Timestamp)> {
        let waiting = self.lines.get(line)?;
        if waiting.trying.is_some() {
            return None;
        }
        let (_, post) = waiting.posts.first_key_value()?;
        Some((post, post.delivery.due()?))
    }

    fn list(&mut self, line: &Line) {
        if let Some((post, due)) = self.head(line) {
            let (receiver, owner) = (Arc::clone(&post.receiver), Arc::clone(&post.owner));
            let window = self.receivers.entry(receiver).or_default();
            let lines = window.due.entry(owner).or_default();
            lines.insert((due, line.clone()));
        }
    }

    fn unlist(&mut self, line: &Line) {
        let Some((post, due)) = self.head(line) else {
            return;
        };
        let (receiver, owner) = (Arc::clone(&post.receiver), Arc::clone(&post.owner));
        let Some(window) = self.receivers.get_mut(&receiver) else {
            return;
        };
        if let Some(lines) = window.due.get_mut(&owner) {
            lines.remove(&(due, line.clone()));
            if lines.is_empty() {
                window.due.remove(&owner);
            }
        }
    }
}
