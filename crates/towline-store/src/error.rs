//! What can go wrong, and what whoever hears of it is to do.

use std::{error::Error, fmt, ops::Deref, sync::Arc};

use towline_wire::{JobId, JobSeq};

/// What went wrong, in words, and the error it came from, if it came from one.
///
/// The words are whole: they hold what the error below says, so printing them loses nothing. It reads as a `str`.
#[derive(Clone)]
pub struct Reason {
    text: Arc<str>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Reason {
    /// Words for an error, which is kept as their source.
    pub fn because(text: impl Into<Arc<str>>, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            text: text.into(),
            source: Some(Arc::new(source)),
        }
    }

    /// The same, in other words.
    #[must_use]
    pub fn reworded(self, text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            ..self
        }
    }
}

impl<T: Into<Arc<str>>> From<T> for Reason {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            source: None,
        }
    }
}

impl Deref for Reason {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

impl Error for Reason {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}

/// One life of a process on a store that several processes share; a later life has a greater number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// The incarnation of a number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Why a store could not do what was asked. What to do about a commit that ended so says [`StoreError::remedy`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The log does not reach back that far any more.
    #[error("events of {job} from {from} on are no longer kept (the oldest kept one is {oldest})")]
    Evicted {
        /// Whose log.
        job: JobId,
        /// What was asked for.
        from: JobSeq,
        /// The oldest record that is still there.
        oldest: JobSeq,
    },
    /// The disk is full; frees itself when space returns.
    #[error("the store is out of space: {0}")]
    Full(#[source] Reason),
    /// Another process has the store open.
    #[error("{0}")]
    InUse(#[source] Reason),
    /// The store was written by a later version, is no store, or is where a store must not be.
    #[error("{0}")]
    Incompatible(#[source] Reason),
    /// Reading or writing failed.
    #[error("the store failed: {0}")]
    Failed(#[source] Reason),
    /// The store is out of reach.
    #[error("the store is out of reach: {0}")]
    Unavailable(#[source] Reason),
    /// This incarnation was declared dead: nothing of it is ever committed again.
    #[error("incarnation {0} was declared dead; another one has its jobs")]
    Fenced(Incarnation),
    /// The store no longer has what it had acknowledged.
    #[error("the store went back to {found}, though it had acknowledged {acknowledged}")]
    Rewound {
        /// The last commit that was acknowledged.
        acknowledged: u64,
        /// The last one it still has.
        found: u64,
    },
    /// The batch contradicts what is kept: a mistake of the caller, and trying again does not help.
    #[error("the store refused the batch: {0}")]
    Rejected(#[source] Reason),
    /// What was read does not make sense.
    #[error("the store is damaged: {0}")]
    Corrupt(#[source] Reason),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// What to do about a commit that ended in an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing is wrong with the batch: it may be tried again, later.
    Retry,
    /// Something is wrong with the batch, or with what it touches. Trying it again does not help; what is in it has to be
    /// tried piece by piece, so that only the piece at fault fails.
    Isolate,
    /// Nothing this process does with this store will ever be committed again.
    Fall,
}

impl StoreError {
    /// What to do about a commit that ended so.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Full(_) | Self::Failed(_) | Self::Unavailable(_) => Remedy::Retry,
            Self::Rejected(_) | Self::Corrupt(_) | Self::Evicted { .. } => Remedy::Isolate,
            Self::Fenced(_)
            | Self::Rewound { .. }
            | Self::Closed
            | Self::InUse(_)
            | Self::Incompatible(_) => Remedy::Fall,
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        self.remedy() == Remedy::Retry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_what_it_came_from() {
        let below = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = StoreError::Failed(Reason::because("cannot open `x`: denied", below));
        assert_eq!(
            error.to_string(),
            "the store failed: cannot open `x`: denied"
        );
        let reason = error.source().unwrap();
        let below = reason.source().unwrap();
        let below = below.downcast_ref::<std::io::Error>().unwrap();
        assert_eq!(below.kind(), std::io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn each_error_has_one_remedy() {
        let text = || Reason::from("test");
        let evicted = StoreError::Evicted {
            job: JobId::minted("1"),
            from: JobSeq::FIRST,
            oldest: JobSeq::new(2),
        };
        let rewound = StoreError::Rewound {
            acknowledged: 2,
            found: 1,
        };
        for (error, remedy) in [
            (StoreError::Full(text()), Remedy::Retry),
            (StoreError::Failed(text()), Remedy::Retry),
            (StoreError::Unavailable(text()), Remedy::Retry),
            (StoreError::Fenced(Incarnation::new(7)), Remedy::Fall),
            (rewound, Remedy::Fall),
            (StoreError::Closed, Remedy::Fall),
            (StoreError::InUse(text()), Remedy::Fall),
            (StoreError::Incompatible(text()), Remedy::Fall),
            (StoreError::Rejected(text()), Remedy::Isolate),
            (StoreError::Corrupt(text()), Remedy::Isolate),
            (evicted, Remedy::Isolate),
        ] {
            assert_eq!(error.remedy(), remedy, "{error}");
            assert_eq!(error.is_transient(), remedy == Remedy::Retry, "{error}");
        }
    }
}
