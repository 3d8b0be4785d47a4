//! Keys for jobs, from the LiteLLM proxy that `towline.toml` names.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::mpsc,
};

use serde_json::{Value, json};

use crate::support::Place;

/// A proxy that makes one key and deletes what it is told to. Gives its URL, and what it was asked.
fn proxy() -> (String, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, questions) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                let length = name.eq_ignore_ascii_case("content-length");
                length.then(|| value.parse().unwrap())
            });
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            assert!(head.contains("sk-master"), "{head}");
            let answer = json!({"key": "sk-of-the-job", "deleted_keys": []}).to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                answer.len()
            );
            (&stream).write_all(answer.as_bytes()).unwrap();
            if asked
                .send((path, serde_json::from_slice(&body).unwrap_or_default()))
                .is_err()
            {
                return;
            }
        }
    });
    (url, questions)
}

/// [ARCP 9.8-1] A job whose lease calls for it gets a key as narrow as the lease, and it is revoked with the job's end.
#[test]
fn a_proxy_of_the_file_gives_jobs_their_keys() {
    let (url, questions) = proxy();
    let place = Place::new();
    place.write("litellm.key", "sk-master\n");
    place.trusted(format!("[credentials.litellm]\nurl = \"{url}\"\nkey_file = \"litellm.key\"\nmodels = [\"gpt-4o\", \"o3\"]\n"),
    );
    let lease = [
        "run",
        "echo",
        "--lease",
        "model.use=gpt-4o",
        "--budget",
        "USD:1.50",
    ];
    let ran = place.run(lease).ok();
    assert!(
        !ran.stdout.contains("sk-") && !ran.stderr.contains("sk-"),
        "{ran:#?}"
    );
    let (path, asked) = questions.recv().unwrap();
    assert!(path.ends_with("/key/generate"), "{path}");
    assert_eq!(asked["models"], json!(["gpt-4o"]));
    assert_eq!(asked["max_budget"].as_f64(), Some(1.5));
    let (path, deleted) = questions.recv().unwrap();
    assert!(path.ends_with("/key/delete"), "{path}");
    assert_eq!(deleted["key_aliases"], json!([asked["key_alias"]]));
}

#[test]
fn a_proxy_that_cannot_be_used_is_refused_at_the_start() {
    let place = Place::new();
    place.write("key", "sk-master");
    for (table, parts) in [
        ("url = \"http://llm.example\"\nkey_file = \"key\"", "https"),
        (
            "url = \"https://llm.example\"\nkey_file = \"none\"",
            "credentials.litellm.key_file",
        ),
        (
            "url = \"https://llm.example\"\nkey_file = \"key\"\nmodel = []",
            "did you mean `models`",
        ),
    ] {
        place.write("towline.toml", format!("[credentials.litellm]\n{table}\n"));
        // One that does not even read cannot be trusted.
        drop(place.run(["trust"]));
        let ran = place.run(["run", "echo"]);
        assert_ne!(ran.status, 0);
        ran.says(&["towline.toml", parts]);
    }
}
