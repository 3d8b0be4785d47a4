//! How a SQLite store is to be opened.

/// What a commit that was answered survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The end of the process, however it comes (`kill -9`, a panic, running out of memory). A power failure or a crash
    /// of the system may take back the last moments; the file stays whole.
    #[default]
    Process,
    /// A power failure too: each commit waits for the disk.
    Power,
}

/// Options of a SQLite store.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    pub(super) durability: Durability,
    pub(super) readers: usize,
    pub(super) cache_bytes: usize,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            readers: 4,
            cache_bytes: 32 << 20,
        }
    }
}

impl SqliteOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a commit survives. By default [`Durability::Process`]; [`Durability::Power`] costs a sync of the disk for
    /// each transaction.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How many threads read, 4 by default and 1 at least. Each has a connection with a page cache of at most 4 MiB.
    #[must_use]
    pub fn readers(mut self, readers: usize) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// How many bytes of the latest events stay in memory, 32 MiB by default. Whoever follows jobs live reads from there;
    /// up to 16 MiB that are not yet in the file's index stay there in any case.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }
}
