//! Sessions that `run --detach` left behind, one file each, readable by their owner alone: they hold a resume token, which
//! gives the authority of the session that submitted.
//!
//! A token is good once: whoever takes a session up again saves what the new welcome says before doing anything else.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use towline::Timestamp;

use crate::{
    data_dir::{self, DataDir},
    failure::{Failure, Outcome},
    job_name::{begins, one_of},
};

/// A session that can be taken up again.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SavedSession {
    /// The server it is with.
    pub(crate) url: String,
    /// The session's name.
    pub(crate) session_id: String,
    /// The job it was opened for.
    pub(crate) job_id: String,
    /// That job's agent.
    pub(crate) agent: String,
    /// When the job was submitted.
    pub(crate) created_at: String,
    /// The token it was opened with, for sessions beside it, for as long as it can be taken up itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// Until when it can be taken up, as far as the runtime said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Timestamp>,
    /// What the client needs for it, with the resume token.
    pub(crate) resume: Value,
}

/// Where they are.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    directory: PathBuf,
}

impl Sessions {
    pub(crate) fn new(data: &DataDir) -> Self {
        Self {
            directory: data.sessions(),
        }
    }

    /// Makes the place for them, and sees that something can be written there.
    pub(crate) fn prepare(&self) -> Outcome<()> {
        self.make()?;
        let tried = data_dir::try_private(&self.directory);
        tried.map_err(|error| {
            let place = self.directory.display();
            Failure::local(format!("cannot save a session in `{place}`: {error}"))
                .help("name another data directory with --data-dir")
        })
    }

    fn make(&self) -> Outcome<()> {
        if let Some(parent) = self.directory.parent() {
            data_dir::make_data_dir(parent)?;
        }
        data_dir::make_private_dir(&self.directory)
    }

    /// Saves a session under its job's name.
    pub(crate) fn save(&self, session: &SavedSession) -> Outcome<()> {
        self.make()?;
        let path = self.file(&session.job_id);
        let text = serde_json::to_vec(session)
            .map_err(|error| Failure::local(format!("cannot save the session: {error}")))?;
        data_dir::write_private(&path, &text).map_err(|error| {
            Failure::local(format!(
                "cannot save the session to `{}`: {error}",
                path.display()
            ))
        })
    }

    /// The session a job was submitted by, when it was left behind here.
    pub(crate) fn find(&self, job: &str) -> Option<SavedSession> {
        read(&self.file(job))
    }

    /// The one whose job's name begins so.
    ///
    /// # Errors
    /// A usage error when there are several.
    pub(crate) fn find_beginning(&self, text: &str) -> Outcome<Option<SavedSession>> {
        if let Some(saved) = self.find(text) {
            return Ok(Some(saved));
        }
        let mut all = self.all();
        all.retain(|saved| {
            begins(&saved.job_id, text) || begins(&saved.job_id, &format!("job_{text}"))
        });
        let names = all.iter().map(|saved| saved.job_id.clone()).collect();
        let one = one_of(text, names)?;
        Ok(all
            .into_iter()
            .find(|saved| Some(&saved.job_id) == one.as_ref()))
    }

    /// Forgets a session that cannot be resumed any more.
    pub(crate) fn forget(&self, job: &str) {
        // Gone is what it should be.
        let _ = fs::remove_file(self.file(job));
    }

    /// All of them, oldest first. Files that are not ours are left alone.
    pub(crate) fn all(&self) -> Vec<SavedSession> {
        let entries = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        let json = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "json"));
        let mut all: Vec<SavedSession> = json.filter_map(|path| read(&path)).collect();
        all.sort_by(|left, right| {
            (&left.created_at, &left.job_id).cmp(&(&right.created_at, &right.job_id))
        });
        all
    }

    /// Other SDKs' job names may hold anything; a file's name may not.
    fn file(&self, job: &str) -> PathBuf {
        let plain = !job.is_empty()
            && job.len() <= 128
            && job
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        let stem = if plain {
            job.to_owned()
        } else {
            hex::encode(<sha2::Sha256 as sha2::Digest>::digest(job))
        };
        self.directory.join(format!("{stem}.json"))
    }
}

fn read(path: &Path) -> Option<SavedSession> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(job: &str, created_at: &str) -> SavedSession {
        SavedSession {
            url: "ws://127.0.0.1:1/arcp".to_owned(),
            session_id: "sess_1".to_owned(),
            job_id: job.to_owned(),
            agent: "sleep".to_owned(),
            created_at: created_at.to_owned(),
            token: None,
            until: None,
            resume: serde_json::json!({"resume_token": "rt_secret"}),
        }
    }

    #[test]
    fn sessions_are_found_by_job_and_readable_by_their_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let sessions = Sessions::new(&DataDir::new(Some(&directory.path().join("data"))).unwrap());
        assert!(sessions.all().is_empty());
        for (job, at) in [
            ("job_2", "2026-02"),
            ("job_1", "2026-01"),
            ("../../evil", "2026-03"),
        ] {
            sessions.save(&session(job, at)).unwrap();
        }
        let names: Vec<String> = sessions
            .all()
            .into_iter()
            .map(|session| session.job_id)
            .collect();
        assert_eq!(names, ["job_1", "job_2", "../../evil"]);
        assert_eq!(sessions.find("../../evil").unwrap().created_at, "2026-03");
        assert!(!directory.path().join("../evil.json").exists());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let file = directory.path().join("data/sessions/job_1.json");
            assert_eq!(
                fs::metadata(file).unwrap().permissions().mode() & 0o777,
                0o600
            );
            let mode = fs::metadata(directory.path().join("data/sessions"))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o700);
        }
        let found = |text: &str| {
            sessions
                .find_beginning(text)
                .map(|saved| saved.map(|saved| saved.job_id))
        };
        assert_eq!(found("JOB_2").unwrap().as_deref(), Some("job_2"));
        assert_eq!(found("1").unwrap().as_deref(), Some("job_1"));
        assert_eq!(found("x").unwrap(), None);
        assert!(found("job_").is_err());
        sessions.forget("job_1");
        assert!(sessions.find("job_1").is_none());
    }
}
