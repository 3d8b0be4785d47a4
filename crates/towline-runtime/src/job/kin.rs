//! How many jobs descend from one root.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A job's part in its root's family: the root has the family, each descendant counts in it from when it was planned until
/// it ends, or is dropped because it never came to be [ARCP 14-6].
pub(crate) struct Kin {
    /// How many descendants live.
    family: Arc<AtomicUsize>,
    /// Whether this job is one of them.
    counted: bool,
}

impl Kin {
    /// A job without a parent, and a family of its own.
    pub(crate) fn root() -> Self {
        Self {
            family: Arc::default(),
            counted: false,
        }
    }

    /// A child's part; `None` when the root has as many descendants as it may.
    pub(crate) fn join(&self, limit: usize) -> Option<Self> {
        let more = |living| (living < limit).then_some(living + 1);
        let joined = self
            .family
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        joined.ok().map(|_| self.counted())
    }

    /// The part of a child that was accepted in an earlier run of the runtime.
    pub(crate) fn join_again(&self) -> Self {
        self.family.fetch_add(1, Ordering::Relaxed);
        self.counted()
    }

    /// The job is over: its root may have another descendant.
    pub(crate) fn leave(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.family.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a descendant of a root lives.
    pub(crate) fn has_descendants(&self) -> bool {
        self.family.load(Ordering::Relaxed) > 0
    }

    fn counted(&self) -> Self {
        Self {
            family: Arc::clone(&self.family),
            counted: true,
        }
    }
}

impl Drop for Kin {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 14-6] however the tree is built, one root has so many living descendants, and each gives its part up once.
    #[test]
    fn a_root_has_so_many_descendants() {
        let root = Kin::root();
        let mut child = root.join(2).unwrap();
        let grandchild = child.join(2).unwrap();
        assert!(root.join(2).is_none() && grandchild.join(2).is_none());
        child.leave();
        child.leave();
        drop(child);
        let another = grandchild.join(2).unwrap();
        assert!(root.join(2).is_none());
        drop((grandchild, another));
        assert!(root.join(1).is_some());
    }
}
