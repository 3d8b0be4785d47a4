//! Which files are opened as a store, and whose they are.

use super::*;

#[tokio::test]
async fn a_second_opener_is_refused_and_told_which_file() {
    let dir = Dir::new();
    let first = dir.open().await;
    let error = SqliteStore::open(dir.file("store.db")).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::InUse(text) if text.contains("store.db")),
        "{error}"
    );
    first.close().await.unwrap();
    let second = dir.open().await;
    drop(second);
    dir.open().await;
}

/// A server that is killed while it starts a program leaves that with the lock for a moment. Whoever starts in its place waits for
/// that moment; a holder that is there is refused at once, as above.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_lock_of_a_process_that_was_killed_is_waited_for() {
    let dir = Dir::new();
    dir.open().await.close().await.unwrap();
    let lock = std::fs::File::options()
        .write(true)
        .open(dir.file("store.db-lock"))
        .unwrap();
    lock.lock().unwrap();
    let mut killed = std::process::Command::new("true").spawn().unwrap();
    killed.wait().unwrap();
    std::fs::write(dir.file("store.db-lock"), format!("{}\n", killed.id())).unwrap();
    let has_begun = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let begins = std::sync::Arc::clone(&has_begun);
    let program = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        begins.store(true, std::sync::atomic::Ordering::SeqCst);
        drop(lock);
    });
    let store = dir.open().await;
    assert!(has_begun.load(std::sync::atomic::Ordering::SeqCst));
    program.join().unwrap();
    store.close().await.unwrap();
}

/// The lock belongs to the file, whatever name it was given.
#[cfg(unix)]
#[tokio::test]
async fn a_second_opener_by_another_name_is_refused_too() {
    let dir = Dir::new();
    let first = dir.open().await;
    commit(&first, [job(1).into()]).await;
    std::os::unix::fs::symlink(dir.file("store.db"), dir.file("link.db")).unwrap();
    let error = SqliteStore::open(dir.file("link.db")).await.unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    std::fs::hard_link(dir.file("store.db"), dir.file("hard.db")).unwrap();
    let error = SqliteStore::open(dir.file("hard.db")).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Incompatible(text) if text.contains("hard.db") && text.contains("hard link")),
        "{error}"
    );
    commit(&first, [job(2).into()]).await;
    first.close().await.unwrap();

    // What the first one committed last is in a log that does not have the other name.
    assert!(SqliteStore::open(dir.file("hard.db")).await.is_err());
    std::fs::remove_file(dir.file("hard.db")).unwrap();
    let by_link = SqliteStore::open(dir.file("link.db")).await.unwrap();
    assert_eq!(by_link.stats().await.unwrap().jobs, 2);
    let error = SqliteStore::open(dir.file("store.db")).await.unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    assert!(!dir.file("link.db-lock").exists());
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_to_nothing_is_no_place_for_a_store() {
    let dir = Dir::new();
    std::os::unix::fs::symlink(dir.file("none.db"), dir.file("link.db")).unwrap();
    let error = SqliteStore::open(dir.file("link.db")).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Incompatible(text) if text.contains("link to a file that is not there")),
        "{error}"
    );
    assert!(!dir.file("none.db").exists());
    std::os::unix::fs::symlink(dir.file("elsewhere"), dir.file("store.db-lock")).unwrap();
    let error = SqliteStore::open(dir.file("store.db")).await.unwrap_err();
    assert!(error.to_string().contains("a lock must not be"), "{error}");
    assert!(!dir.file("elsewhere").exists());
}

#[cfg(unix)]
#[tokio::test]
async fn what_others_may_do_with_the_file_is_looked_at() {
    use std::os::unix::fs::PermissionsExt;

    let dir = Dir::new();
    dir.open().await.close().await.unwrap();
    let chmod = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(dir.file("store.db"), mode).unwrap();
    };
    let mode = || {
        let metadata = std::fs::metadata(dir.file("store.db")).unwrap();
        metadata.permissions().mode() & 0o777
    };
    chmod(0o644);
    dir.open().await.close().await.unwrap();
    assert_eq!(mode(), 0o600);
    chmod(0o666);
    let error = SqliteStore::open(dir.file("store.db")).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Incompatible(text) if text.contains("mode 0666")),
        "{error}"
    );
    assert_eq!(mode(), 0o666);
}

/// A log without its database holds what was committed last; it is not thrown away for a new one.
#[tokio::test]
async fn a_log_whose_database_is_gone_is_not_thrown_away() {
    let dir = Dir::new();
    std::fs::write(dir.file("store.db-wal"), "what was committed last").unwrap();
    let error = SqliteStore::open(dir.file("store.db")).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Incompatible(text) if text.contains("store.db` is gone")),
        "{error}"
    );
    assert!(dir.file("store.db-wal").exists() && !dir.file("store.db").exists());
}

/// Nothing is acknowledged that is written to a file without a name.
#[cfg(unix)]
#[tokio::test]
async fn a_store_that_is_removed_while_it_is_open_takes_nothing_more() {
    let dir = Dir::new();
    let store = dir.open().await;
    commit(&store, [job(1).into()]).await;
    std::fs::rename(dir.file("store.db"), dir.file("away.db")).unwrap();
    // It is looked at with the next checkpoint.
    let mut number = 2;
    let error = loop {
        match try_commit(&store, [job(number).into()]).await {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert!(
        error.is_transient() && error.to_string().contains("removed or replaced"),
        "{error}"
    );
    std::fs::rename(dir.file("away.db"), dir.file("store.db")).unwrap();
    commit(&store, [job(number).into()]).await;
    store.close().await.unwrap();
    assert_eq!(dir.open().await.stats().await.unwrap().jobs, number);
}

#[tokio::test]
async fn a_file_that_is_no_store_is_left_alone() {
    let dir = Dir::new();
    let text = dir.file("notes.txt");
    std::fs::write(
        &text,
        "not a database, but long enough to be looked at ".repeat(40),
    )
    .unwrap();
    let error = SqliteStore::open(&text).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Incompatible(text) if text.contains("notes.txt")),
        "{error}"
    );
    assert!(
        std::fs::read_to_string(&text)
            .unwrap()
            .starts_with("not a database")
    );

    let other = dir.file("other.db");
    sql(
        &other,
        "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)",
    );
    let before = std::fs::read(&other).unwrap();
    let error = SqliteStore::open(&other).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Incompatible(text) if text.contains("no towline store")),
        "{error}"
    );
    assert_eq!(std::fs::read(&other).unwrap(), before);
    assert!(SqliteStore::verify(&other).is_err());
}

#[tokio::test]
async fn a_later_schema_is_refused() {
    let dir = Dir::new();
    dir.open().await.close().await.unwrap();
    sql(&dir.file("store.db"), "PRAGMA user_version = 900");
    let error = SqliteStore::open(dir.file("store.db")).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Incompatible(text) if text.contains("schema 900")),
        "{error}"
    );
    assert!(
        SqliteStore::verify(dir.file("store.db"))
            .unwrap_err()
            .to_string()
            .contains("later version")
    );
}

#[tokio::test]
async fn missing_directories_are_made_and_impossible_ones_named() {
    let dir = Dir::new();
    let deep = dir.file("a/b/store.db");
    SqliteStore::open(&deep)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    std::fs::write(dir.file("plain"), "x").unwrap();
    let error = SqliteStore::open(dir.file("plain/store.db"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, StoreError::Failed(text) if text.contains("plain")),
        "{error}"
    );
    let error = SqliteStore::open(dir.0.path()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&dir.0.path().display().to_string()),
        "{error}"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;

    let dir = Dir::new();
    let store = dir.open().await;
    fill(&store).await;
    SqliteStore::backup(dir.file("store.db"), dir.file("copy.db")).unwrap();
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(dir.0.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        seen.push(entry.file_name().into_string().unwrap());
    }
    assert!(
        seen.iter().any(|name| name == "store.db-wal") && seen.iter().any(|name| name == "copy.db"),
        "{seen:?}"
    );
}
