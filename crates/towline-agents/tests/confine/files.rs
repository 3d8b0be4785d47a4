//! Files: what was granted, and nothing else.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use towline_agents::confine::{Access, Plan, Program, Protected, Refusal};

use super::{attempts, both, launcher, place, python, run, scratch, shell, start};

/// [ARCP 18-1] Reading is what was granted for reading, writing what was granted for writing.
#[tokio::test]
async fn only_what_is_granted_is_there() {
    for kernel in both().await {
        let (_directory, path) = scratch();
        for name in ["read", "write", "none"] {
            fs::create_dir(path.join(name)).unwrap();
            fs::write(path.join(name).join("file"), name).unwrap();
        }
        let script = format!(
            "cd {}; cat read/file none/file; echo x > read/new; echo x > write/new; echo x >> read/file; : > none/new; cat /etc/shadow /etc/passwd; ls /etc/ssl /etc/ssl/private /root /home",
            path.display()
        );
        let plan = shell(&script)
            .grant(place(path.join("read")), Access::Read)
            .grant(place(path.join("write")), Access::Write);
        let ran = run(plan, &kernel).await;
        assert_eq!(ran.stdout, "read", "{ran:?}");
        assert!(path.join("write/new").exists(), "{ran:?}");
        assert!(!path.join("read/new").exists() && !path.join("none/new").exists());
        assert_eq!(fs::read_to_string(path.join("read/file")).unwrap(), "read");
    }
}

/// [ARCP 18-1] A link that is put where the granted directory was leads nowhere: the directory was opened once.
#[tokio::test]
async fn a_link_swapped_after_the_check_leads_nowhere() {
    for kernel in both().await {
        let (_directory, path) = scratch();
        fs::create_dir_all(path.join("secret")).unwrap();
        fs::create_dir_all(path.join("granted")).unwrap();
        fs::write(path.join("secret/file"), "secret").unwrap();
        let granted = place(path.join("granted"));
        fs::rename(path.join("granted"), path.join("aside")).unwrap();
        symlink(path.join("secret"), path.join("granted")).unwrap();
        let script = format!("cat {0}/granted/file {0}/secret/file", path.display());
        match start(shell(&script).grant(granted, Access::Read), &kernel, None).await {
            Ok(running) => assert_eq!(running.end().await.stdout, ""),
            Err(refusal) => assert!(matches!(refusal, Refusal::CannotConfine(_)), "{refusal}"),
        }
    }
}

/// [ARCP 18-1] What Landlock does not look at: whose a file is, who may use it, when it was changed, by its mere name.
#[tokio::test]
async fn what_is_noted_of_foreign_files_stays() {
    for kernel in both().await {
        let (_directory, path) = scratch();
        fs::create_dir(path.join("read")).unwrap();
        fs::write(path.join("secret"), "x").unwrap();
        fs::write(path.join("read/file"), "x").unwrap();
        let names = [path.join("secret"), path.join("read/file")];
        let noted = |name: &std::path::PathBuf| {
            let meta = fs::metadata(name).unwrap();
            (meta.permissions().mode(), meta.modified().unwrap())
        };
        let before = names.each_ref().map(noted);
        let setup = format!(
            "names = {:?}",
            names.each_ref().map(|name| name.to_str().unwrap())
        );
        let each = |what: &str| format!("for n in names: {what}");
        let (mode, time, owner, extra) = (
            each("os.chmod(n, 0o777)"),
            each("os.utime(n, (1, 1))"),
            each("os.chown(n, os.getuid(), os.getgid())"),
            each("os.setxattr(n, 'user.x', b'x')"),
        );
        let tries = [
            ("mode", mode.as_str()),
            ("time", &time),
            ("owner", &owner),
            ("extra", &extra),
        ];
        let plan = python(&attempts(&setup, &tries)).grant(place(path.join("read")), Access::Read);
        let ran = run(plan, &kernel).await;
        assert_eq!(ran.stdout, "", "{ran:?}");
        assert_eq!(names.each_ref().map(noted), before);
    }
}

fn program(path: &std::path::Path, says: &str) {
    fs::write(path, format!("#!/bin/sh\necho {says}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// [ARCP 18-1] A program is asked about by the name it has without links and `..`; links in directories of the system alone
/// stand for themselves.
#[test]
fn programs_are_asked_about_by_their_own_names() {
    let (_directory, path) = scratch();
    fs::create_dir(path.join("tools")).unwrap();
    fs::create_dir(path.join("private")).unwrap();
    program(&path.join("private/deploy"), "deployed");
    program(&path.join("tools/build"), "built");
    symlink(path.join("private/deploy"), path.join("tools/link")).unwrap();
    let names = |spelled: &str| {
        Program::find(&format!("{}/{spelled}", path.display()))
            .unwrap()
            .names()
    };
    let is = |name: &str| vec![path.join(name).to_str().unwrap().to_owned()];
    assert_eq!(names("tools/build"), is("tools/build"));
    assert_eq!(names("tools/../private/deploy"), is("private/deploy"));
    assert_eq!(names("tools/link"), is("private/deploy"));
    assert_eq!(names("tools//build"), is("tools/build"));
    let climbed = Program::find("/usr/bin/../bin/env").unwrap();
    assert_eq!(climbed.names(), [climbed.path().to_str().unwrap()]);
    assert_eq!(Program::find("env").unwrap().names(), ["env"]);
    assert!(
        Program::find("/bin/sh")
            .unwrap()
            .names()
            .contains(&"/bin/sh".to_owned())
    );
    assert!(
        Program::find(path.to_str().unwrap()).is_err(),
        "a directory is no program"
    );
}

/// [ARCP 18-1] What runs is the file that was looked at, whatever its name leads to by then.
#[tokio::test]
async fn that_very_program_runs() {
    for kernel in both().await {
        let (_directory, path) = scratch();
        program(&path.join("tool"), "looked at");
        let found = Program::find(path.join("tool").to_str().unwrap()).unwrap();
        let ran = run(Plan::new(found), &kernel).await;
        assert_eq!(ran.stdout, "looked at\n", "{ran:?}");
        let found = Program::find(path.join("tool").to_str().unwrap()).unwrap();
        program(&path.join("other"), "another one");
        fs::rename(path.join("other"), path.join("tool")).unwrap();
        match start(Plan::new(found), &kernel, None).await {
            Ok(running) => assert!(!running.end().await.stdout.contains("another one")),
            Err(refusal) => assert!(matches!(refusal, Refusal::CannotConfine(_)), "{refusal}"),
        }
    }
}

/// [ARCP 18-1] Towline's own files are hidden inside a granted tree, or the job is refused, naming the file; also after
/// somebody renamed a directory above them.
#[tokio::test]
async fn own_files_are_seen_by_nobody() {
    for kernel in both().await {
        let (_directory, path) = scratch();
        fs::create_dir_all(path.join("work/.towline/sessions")).unwrap();
        fs::create_dir_all(path.join("work/conf")).unwrap();
        fs::write(path.join("work/.towline/sessions/s"), "secret").unwrap();
        fs::write(path.join("work/conf/towline.toml"), "secret").unwrap();
        fs::write(path.join("work/file"), "open\n").unwrap();
        let protected = Protected::new([
            path.join("work/.towline"),
            path.join("work/conf/towline.toml"),
        ]);
        fs::rename(path.join("work/conf"), path.join("work/moved")).unwrap();
        fs::create_dir(path.join("work/conf")).unwrap();
        fs::write(path.join("work/conf/towline.toml"), "secret too").unwrap();
        let script = format!(
            "cd {}/work; mv conf away && mkdir conf && echo replaced > conf/towline.toml && echo replaced; cat file moved/towline.toml conf/towline.toml; ls .towline; cat .towline/sessions/s; echo x > moved/towline.toml; mv moved/towline.toml t; rm -rf .towline; chmod 777 .towline; ls .towline; mv moved again; cat again/towline.toml",
            path.display()
        );
        let plan = shell(&script)
            .grant(place(path.join("work")), Access::Read)
            .grant(place(path.join("work")), Access::Write)
            .protect(&protected);
        match start(plan, &kernel, None).await {
            Ok(running) => {
                let ran = running.end().await;
                assert_eq!(ran.stdout, "open\n", "{ran:?}");
                assert_eq!(ran.report.masked.len(), 3, "{ran:?}");
            }
            Err(Refusal::Protected { path: named, .. }) => {
                assert!(named.starts_with(path.join("work")), "{named:?}");
                assert!(
                    kernel.namespaces.is_err(),
                    "with namespaces they are hidden"
                );
            }
            Err(other) => panic!("{other}"),
        }
        let inside = shell("true")
            .grant(place(path.join("work/.towline/sessions")), Access::Read)
            .protect(&protected);
        let refused = inside
            .prepare(
                &mut launcher(),
                &kernel,
                towline_agents::confine::Input::Nothing,
            )
            .unwrap_err();
        assert!(refused.to_string().contains(".towline"), "{refused}");
    }
}

/// [ARCP 18-1] A file of towline's that is not there yet cannot be hidden: who might make it does not run. Who may only read
/// finds nothing there.
#[tokio::test]
async fn own_files_that_are_not_there_are_made_by_nobody() {
    for kernel in both().await {
        let (_directory, path) = scratch();
        let key = path.join("not-there.key");
        let protected = Protected::new([&key]);
        let plan = |access| {
            let script = format!("echo x > {}; echo ran", key.display());
            shell(&script)
                .grant(place(&path), access)
                .protect(&protected)
        };
        for access in [Access::Write, Access::ReadWrite] {
            let refusal = start(plan(access), &kernel, None).await.map(|_| ());
            let told = refusal.unwrap_err().to_string();
            assert!(
                told.contains("not-there.key") && told.contains("not there yet"),
                "{told}"
            );
        }
        assert_eq!(run(plan(Access::Read), &kernel).await.stdout, "ran\n");
        fs::write(&key, "secret").unwrap();
        match start(plan(Access::ReadWrite), &kernel, None).await {
            Ok(running) => assert_eq!(
                running.end().await.report.masked,
                std::slice::from_ref(&key)
            ),
            Err(refusal) => assert!(matches!(refusal, Refusal::Protected { .. }), "{refusal}"),
        }
        assert_eq!(fs::read_to_string(&key).unwrap(), "secret");
    }
}

/// [ARCP 18-1] A directory of towline's that is not there is made before a program could make it, and hidden; where no program
/// could, nothing is made.
#[tokio::test]
async fn own_directories_that_are_not_there_are_made_first() {
    for kernel in both().await {
        let (_directory, path) = scratch();
        let state = path.join("state/towline");
        let protected = Protected::default().directories([&state]);
        let plan = |access| {
            let script = format!("mkdir -p {0}/trusted; ls {0}; echo ran", state.display());
            shell(&script)
                .grant(place(&path), access)
                .protect(&protected)
        };
        assert_eq!(run(plan(Access::Read), &kernel).await.stdout, "ran\n");
        assert!(!path.join("state").exists());
        match start(plan(Access::ReadWrite), &kernel, None).await {
            Ok(running) => assert_eq!(running.end().await.stdout, "ran\n"),
            Err(refusal) => assert!(matches!(refusal, Refusal::Protected { .. }), "{refusal}"),
        }
        let mode = fs::metadata(&state).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    }
}

/// [ARCP 18-1] A file of towline's that has further names may have one of them in what is granted.
#[tokio::test]
async fn own_files_with_further_names_are_read_by_nobody() {
    for kernel in both().await {
        let (_directory, path) = scratch();
        for directory in ["conf", "work"] {
            fs::create_dir(path.join(directory)).unwrap();
        }
        let (file, link) = (path.join("conf/towline.toml"), path.join("work/link"));
        fs::write(&file, "secret").unwrap();
        let protected = Protected::new([&file]);
        let plan = |granted: &std::path::Path| {
            let script = format!("cat {}; echo ran", link.display());
            shell(&script)
                .grant(place(granted), Access::Read)
                .protect(&protected)
        };
        assert_eq!(run(plan(&path.join("work")), &kernel).await.stdout, "ran\n");
        fs::hard_link(&file, &link).unwrap();
        for granted in [path.join("work"), link.clone()] {
            let refusal = start(plan(&granted), &kernel, None).await.map(|_| ());
            let told = refusal.unwrap_err().to_string();
            assert!(
                told.contains("towline.toml") && told.contains("hard links"),
                "{told}"
            );
        }
        fs::remove_file(&link).unwrap();
        assert_eq!(run(plan(&path.join("work")), &kernel).await.stdout, "ran\n");
    }
}

/// [ARCP 18-1] What the operator gives an agent for itself may lie in the data directory.
#[tokio::test]
async fn a_directory_of_its_own_inside_of_what_is_hidden() {
    let [kernel, _] = both().await;
    let (_directory, path) = scratch();
    fs::create_dir_all(path.join("data/state")).unwrap();
    fs::write(path.join("data/key"), "secret").unwrap();
    let script = format!(
        "cd {}/data; echo x > state/new; cat key; cat state/new",
        path.display()
    );
    let plan = shell(&script)
        .grant(place(&path), Access::Read)
        .grant_own(place(path.join("data/state")), Access::ReadWrite)
        .protect(&Protected::new([path.join("data")]));
    let ran = run(plan, &kernel).await;
    assert_eq!(ran.stdout, "x\n", "{ran:?}");
}

/// The whole machine to read is the whole machine but devices, other processes, and what is hidden.
#[tokio::test]
async fn everything_to_read_is_not_everything() {
    let [kernel, _] = both().await;
    let (_directory, path) = scratch();
    fs::write(path.join("key"), "secret").unwrap();
    fs::write(path.join("file"), "open\n").unwrap();
    let script = format!(
        "cat {0}/file {0}/key; ls /dev/vda /dev/mem /dev/kmsg; ls -d /proc/[0-9]* | wc -l; echo x > {0}/new; echo x > /tmp/{1}",
        path.display(),
        path.file_name().unwrap().to_str().unwrap()
    );
    let plan = shell(&script)
        .grant(place("/"), Access::Read)
        .protect(&Protected::new([path.join("key")]));
    let ran = run(plan, &kernel).await;
    let (first, rest) = ran.stdout.split_once('\n').unwrap();
    assert_eq!(first, "open", "{ran:?}");
    assert!(rest.trim().parse::<u32>().unwrap() <= 4, "{ran:?}");
    assert!(!path.join("new").exists());
    for refused in ["/dev", "/proc", "/proc/1"] {
        let plan = shell("true").grant(place(refused), Access::Read);
        let refusal = plan.prepare(
            &mut launcher(),
            &kernel,
            towline_agents::confine::Input::Nothing,
        );
        assert!(
            matches!(refusal, Err(Refusal::Protected { .. })),
            "{refused}"
        );
    }
}

/// A granted place below `/tmp` is there, and the rest of `/tmp` is the program's own.
#[tokio::test]
async fn a_place_below_tmp_and_a_tmp_of_its_own() {
    let [kernel, _] = both().await;
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    fs::write(directory.path().join("file"), "granted\n").unwrap();
    let name = directory.path().display();
    let script = format!(
        "ls -A /tmp | wc -l; cat {name}/file; echo x > /tmp/own && cat /tmp/own; echo x > {name}/file"
    );
    let plan = shell(&script).grant(place(directory.path()), Access::Read);
    let ran = run(plan, &kernel).await;
    assert_eq!(ran.stdout, "1\ngranted\nx\n", "{ran:?}");
    assert_eq!(
        fs::read_to_string(directory.path().join("file")).unwrap(),
        "granted\n"
    );
    assert!(!std::path::Path::new("/tmp/own").exists());
}
