//! How a runtime behaves.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use towline_proto::{Dialect, admission::AdmissionLimits, chunks::ChunkLimits, limits};
use towline_store::RetentionPolicy;

use crate::agent_options::OnBudgetExhausted;

/// The settings of a runtime. Every setter states its default and its effect.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    pub(crate) heartbeat: Duration,
    pub(crate) resume_window: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) hello_timeout: Duration,
    pub(crate) auth_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) drain: Duration,
    pub(crate) cancel_grace: Duration,
    pub(crate) expiry_grace: Duration,
    pub(crate) failed_tokens: usize,
    pub(crate) hello_bytes: usize,
    pub(crate) sessions_per_principal: usize,
    pub(crate) long_requests_per_principal: usize,
    pub(crate) detached_sessions: usize,
    pub(crate) detached_sessions_per_principal: usize,
    pub(crate) subscriptions_per_session: usize,
    pub(crate) requests_in_flight: usize,
    pub(crate) spans_per_session: usize,
    pub(crate) back_pressure: u64,
    pub(crate) admission: AdmissionLimits,
    pub(crate) chunks: ChunkLimits,
    pub(crate) inline_result: usize,
    pub(crate) pending_bytes: usize,
    pub(crate) tail_bytes: usize,
    pub(crate) log_bytes: u64,
    pub(crate) log_events: u64,
    pub(crate) log_bytes_per_principal: u64,
    pub(crate) max_starts: u32,
    pub(crate) starts_recovered: bool,
    pub(crate) leaves_foreign: bool,
    pub(crate) protected: Vec<PathBuf>,
    pub(crate) node_pending_bytes: usize,
    pub(crate) max_depth: u32,
    pub(crate) max_children: usize,
    pub(crate) max_descendants: usize,
    pub(crate) conceal_foreign_jobs: bool,
    pub(crate) principal_cancels: bool,
    pub(crate) require_model_use: bool,
    pub(crate) on_budget_exhausted: OnBudgetExhausted,
    pub(crate) retention: RetentionPolicy,
    pub(crate) dialect: Option<Dialect>,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            heartbeat: limits::DEFAULT_HEARTBEAT,
            resume_window: Duration::from_secs(600),
            idle_timeout: limits::DEFAULT_IDLE_LIFE,
            hello_timeout: Duration::from_secs(10),
            auth_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            drain: Duration::from_secs(10),
            cancel_grace: Duration::from_secs(5),
            expiry_grace: Duration::from_secs(1),
            failed_tokens: 10,
            hello_bytes: 64 * 1024,
            sessions_per_principal: 64,
            long_requests_per_principal: 256,
            detached_sessions: 10_000,
            detached_sessions_per_principal: 256,
            subscriptions_per_session: 1024,
            requests_in_flight: 1024,
            spans_per_session: 65_536,
            back_pressure: 1000,
            admission: AdmissionLimits::default(),
            chunks: ChunkLimits::default(),
            inline_result: 4 * 1024 * 1024,
            pending_bytes: 1024 * 1024,
            tail_bytes: 1024 * 1024,
            log_bytes: 1024 * 1024 * 1024,
            log_events: 10_000_000,
            log_bytes_per_principal: 8 * 1024 * 1024 * 1024,
            max_starts: 3,
            starts_recovered: true,
            leaves_foreign: false,
            protected: Vec::new(),
            node_pending_bytes: 256 * 1024 * 1024,
            max_depth: 8,
            max_children: 64,
            max_descendants: 256,
            conceal_foreign_jobs: false,
            principal_cancels: false,
            require_model_use: true,
            on_budget_exhausted: OnBudgetExhausted::End,
            retention: RetentionPolicy::default(),
            dialect: None,
        }
    }
}

impl RuntimeOptions {
    /// Files and directories that no job reaches through [`crate::JobContext::files`], whatever its lease covers: the
    /// runtime's own store, configuration, tokens and keys. Adds to those named before. Default: none.
    ///
    /// A path that is there is protected under its real name as well; what is in a protected directory is protected.
    #[must_use]
    pub fn protect(mut self, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        for path in paths {
            let path = std::path::absolute(&path).unwrap_or(path);
            self.protected
                .extend(real(&path).filter(|real| *real != path));
            self.protected.push(path);
        }
        self
    }

    /// Whether a path in normal form is one of the runtime's own.
    pub(crate) fn protects(&self, path: &str) -> bool {
        let path = Path::new(path);
        self.protected.iter().any(|own| path.starts_with(own))
    }

    /// Whether a file is one of the runtime's own under another name: a hard link to it.
    #[cfg(all(unix, feature = "files"))]
    pub(crate) fn protects_file(&self, device: u64, number: u64) -> bool {
        use std::os::unix::fs::MetadataExt as _;

        let found = self.protected.iter().map(std::fs::metadata);
        found
            .flatten()
            .any(|own| own.is_file() && (own.dev(), own.ino()) == (device, number))
    }
}

/// The path with the links in it followed, as far as it is there: a store may be protected before it is made.
fn real(path: &Path) -> Option<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Some(real);
    }
    Some(real(path.parent()?)?.join(path.file_name()?))
}

macro_rules! setters {
    ($( $(#[$doc:meta])* $name:ident: $kind:ty ),+ $(,)?) => {
        impl RuntimeOptions {
            $( $(#[$doc])*
            #[must_use]
            pub fn $name(mut self, $name: $kind) -> Self {
                self.$name = $name;
                self
            } )+
        }
    };
}

setters! {
    /// How long a peer may be silent before it is pinged; twice as long and it is lost (§6.4). Default 30 s, at least 1 s.
    heartbeat: Duration,
    /// How long a session can be resumed after its transport was lost (§6.3). Default 600 s.
    resume_window: Duration,
    /// How long a session without a live job, a subscription or an open request may send nothing but heartbeats before it is
    /// disconnected with `session.closed{reason:"idle"}` [ARCP 14-1]; it can be resumed all the same. Default 24 h;
    /// [`Duration::MAX`] never does it.
    idle_timeout: Duration,
    /// How long a peer may take to say hello [ARCP 6.1-3]. Default 10 s.
    hello_timeout: Duration,
    /// How many wrong tokens, or refused resumes, within a minute an address is told of at once; further refusals wait
    /// [ARCP 14-2]. Default 10, at least 1.
    failed_tokens: usize,
    /// The largest message received before the welcome, in bytes [ARCP 14-5]. Default 64 KiB.
    hello_bytes: usize,
    /// How long an authenticator may take [ARCP 6.1-5]. Default 10 s.
    auth_timeout: Duration,
    /// How long a goodbye may take to reach a peer that does not read. Default 5 s.
    close_timeout: Duration,
    /// How long running jobs have at shutdown before they are ended [ARCP 6.7-3]. Default 10 s.
    drain: Duration,
    /// How long an agent has to stop once its job is to end, before it is dropped [ARCP 7.3-4]. Default 5 s.
    cancel_grace: Duration,
    /// How long after `expires_at` a job that asks for nothing goes on [ARCP 9.5-2]. Default 1 s.
    expiry_grace: Duration,
    /// How many sessions of a principal may be attached at once [ARCP 14-1]. Default 64.
    sessions_per_principal: usize,
    /// How many requests of a principal that has no connection may stay at once, as event streams and waits for a job's end
    /// over HTTP and MCP are [ARCP 14-6]. Default 256.
    long_requests_per_principal: usize,
    /// How many sessions without a transport are kept in all; over it whoever has most of them loses the one it left first.
    /// Default 10 000.
    detached_sessions: usize,
    /// How many sessions without a transport are kept of one principal; over it the one that it left first goes, and
    /// nobody else's [ARCP 14-6]. Default 256.
    detached_sessions_per_principal: usize,
    /// How many jobs a session may watch [ARCP 14-1]. Default 1024.
    subscriptions_per_session: usize,
    /// How many requests of a session may wait for their reply before no more are read. Default 1024.
    requests_in_flight: usize,
    /// How many spans of a session's stream are kept for resume; over it the oldest go, and a resume from before them is
    /// refused [ARCP 6.5-2]. Default 65 536.
    spans_per_session: usize,
    /// The lag, in events, above which a session's most recent job is told `back_pressure` [ARCP 6.5-3]. Default 1000.
    back_pressure: u64,
    /// How many jobs run at once and how many wait [ARCP 7.1-5].
    admission: AdmissionLimits,
    /// The bounds of streamed results [ARCP 8.4-3]. Default 1 MiB a chunk, 256 MiB in all.
    chunks: ChunkLimits,
    /// The largest inline result, in bytes. Default 4 MiB.
    inline_result: usize,
    /// How many bytes of events a job may have waiting for their commit before its agent waits. Default 1 MiB.
    pending_bytes: usize,
    /// How many bytes of a job's latest events are kept in memory for those who watch it live. Default 1 MiB.
    tail_bytes: usize,
    /// How many bytes of events a job may add to its log; with more it ends, as `INTERNAL_ERROR` [ARCP 14-6]. Counted from the
    /// start of the runtime. Default 1 GiB.
    log_bytes: u64,
    /// How many events a job's log may have; with more the job ends, as `INTERNAL_ERROR` [ARCP 14-6]. Default 10 000 000.
    log_events: u64,
    /// How many bytes of events the running jobs of a principal may have in their logs together; the one that passes it ends, as
    /// `INTERNAL_ERROR` [ARCP 14-6]. Jobs with less than 1 MiB do not count, nor does what has ended: that is bounded by
    /// `retention`. Counted from the start of the runtime. Default 8 GiB.
    log_bytes_per_principal: u64,
    /// How often a restartable agent is started for one job without keeping a checkpoint, before a restart of the runtime
    /// ends the job with INTERNAL_ERROR, `restarted_too_often`: it may be what ends the runtime. Default 3, 1 at least.
    max_starts: u32,
    /// Whether jobs that an earlier run of the runtime left are begun, or run again [ARCP 7.3-4]. Default: on. Without it they
    /// stay as they are, for a runtime that is only there to be looked at [ARCP 14-9]; those that cannot be run again end with
    /// INTERNAL_ERROR, `runtime_restarted`.
    starts_recovered: bool,
    /// Whether jobs that an earlier run of the runtime left, and whose agent is not hosted here, stay as they are, for a runtime that
    /// hosts it. Default: off, they end.
    leaves_foreign: bool,
    /// How many bytes of events of all jobs together may wait for their commit before agents that emit wait. Jobs with less
    /// than 64 KiB waiting do not count. Default 256 MiB.
    node_pending_bytes: usize,
    /// How deep delegation may go [ARCP 10-2]. Default 8.
    max_depth: u32,
    /// How many children a job may have at once [ARCP 10-2]. Default 64.
    max_children: usize,
    /// How many jobs may descend from one root at once, however deep [ARCP 14-6]. Default 256.
    max_descendants: usize,
    /// Answer JOB_NOT_FOUND for jobs of other principals, as if they did not exist [ARCP 7.6-5]. Default: off.
    conceal_foreign_jobs: bool,
    /// Let every session of the submitting principal cancel, not only the submitting session [ARCP 7.4-2]. Default: off.
    principal_cancels: bool,
    /// Without `model.use` in its lease a job may use no model [ARCP 9.7-1]. Default: on.
    require_model_use: bool,
    /// What becomes of an operation when the job's budget is used up [ARCP 15-8]. Default: it is refused. An agent may say
    /// otherwise for its jobs.
    on_budget_exhausted: OnBudgetExhausted,
    /// What the store keeps.
    retention: RetentionPolicy,
    /// Treat every client as one of this dialect instead of guessing. Default: guess.
    dialect: Option<Dialect>,
}
