//! Agents with models, and programs with a network: what `towline.toml` and a lease give them.
#![cfg(target_os = "linux")]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
};

use serde_json::json;

use crate::support::Place;

/// A server that answers one connection after the other with this body; it gives what it was sent.
fn server(body: &'static str) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut read = Vec::new();
            let mut piece = [0; 8192];
            // A request without a body is whole with its head; one with a body ends with the brace of its JSON.
            while !(read.starts_with(b"GET") && read.ends_with(b"\r\n\r\n") || read.ends_with(b"}"))
            {
                match stream.read(&mut piece).unwrap() {
                    0 => break,
                    count => read.extend_from_slice(&piece[..count]),
                }
            }
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).unwrap();
            sender.send(String::from_utf8(read).unwrap()).unwrap();
        }
    });
    (address, receiver)
}

/// [ARCP 18-3] `[models.NAME]` and `model`: the program calls it with a key of its job, within the job's budget, and the operator's
/// key is no business of its.
#[test]
fn a_model_of_the_file_is_called_and_paid_for() {
    let (address, sent) = server(r#"{"usage":{"prompt_tokens":1000,"completion_tokens":100}}"#);
    let place = Place::new();
    place.write("openai.key", "sk-operators-own\n");
    place.write(
        "prices.toml",
        "[\"gpt-*\"]\ncurrency = \"USD\"\ninput = \"2.50\"\noutput = 10\n",
    );
    let script = "import json, os, urllib.request
url = os.environ['OPENAI_BASE_URL'] + '/chat/completions'
body = json.dumps({'model': 'gpt-x', 'messages': []}).encode()
request = urllib.request.Request(url, body, {'Authorization': 'Bearer ' + os.environ['OPENAI_API_KEY'], 'Content-Type': 'application/json'})
print(urllib.request.urlopen(request).status, end='')";
    place.trusted(format!(
        "[models.main]\nstyle = \"openai\"\nbase_url = \"http://{address}/v1\"\nkey_file = \"openai.key\"\nprices = \"prices.toml\"\n\
         [agents.asks]\ncommand = [\"/usr/bin/python3\", \"-Ic\", {}]\nprotocol = \"exec\"\nmodel = \"main\"\n",
        json!(script)
    ));
    let run = |budget: &str| {
        let model = "model.use=gpt-*";
        let args = [
            "run", "asks", "--lease", model, "--budget", budget, "-o", "ndjson",
        ];
        place.run(args)
    };
    let ran = run("USD:1");
    let lines = ran.ok().lines();
    assert_eq!(lines.last().unwrap()["result"], 200);
    let cost = lines
        .iter()
        .find(|line| line["body"]["name"] == "cost.model");
    let cost = &cost.unwrap()["body"];
    assert_eq!(
        (cost["value"].to_string(), &cost["unit"]),
        ("0.0035".to_owned(), &json!("USD"))
    );
    let got = sent.recv().unwrap();
    assert!(
        got.contains("Bearer sk-operators-own") && !got.contains("jk_"),
        "{got}"
    );
    let ended = run("USD:0.001");
    assert!(ended.stdout.contains("BUDGET_EXHAUSTED"), "{ended:?}");
    let refused = place.run(["run", "asks", "--lease", "model.use=other", "-o", "ndjson"]);
    assert!(refused.stdout.contains("PERMISSION_DENIED"), "{refused:?}");
}

/// A model that is not there is told by the nearest that is.
#[test]
fn a_model_that_is_not_there_is_told() {
    let place = Place::new();
    place.write("k", "sk");
    let file = place.write(
        "other.toml",
        "[models.main]\nstyle = \"openai\"\nbase_url = \"http://x.test\"\nkey_file = \"k\"\n\
         [agents.a]\ncommand = [\"true\"]\nprotocol = \"exec\"\nmodel = \"mian\"\n",
    );
    place
        .run(["run", "a", "--config", file.to_str().unwrap()])
        .status(2)
        .says(&["agents.a.model", "`mian`", "did you mean `main`"]);
}

/// [ARCP 18-2] The built-in `exec` reaches what its lease names, a private address by its number included, and nothing else.
#[test]
fn exec_reaches_what_its_lease_names() {
    let (address, _sent) = server("{}");
    let place = Place::new();
    let script = format!(
        "import os, urllib.error, urllib.request
def get(url):
    try: return urllib.request.urlopen(url).status
    except urllib.error.HTTPError as error: return error.code
print(get('http://{address}/open/a'), get('http://{address}/closed'), get('http://localhost:{}/open/a'), end='')",
        address.port()
    );
    let input = json!({"argv": ["/usr/bin/python3", "-Ic", script]}).to_string();
    let fetch = format!("net.fetch=http://{address}/open/**");
    let ran = place.run([
        "run",
        "exec",
        "--input",
        &input,
        "--lease",
        "tool.call=exec:/usr/bin/**",
        "--lease",
        &fetch,
        "-o",
        "ndjson",
    ]);
    let lines = ran.ok().lines();
    assert_eq!(lines.last().unwrap()["result"], "200 403 403");
    let calls = lines
        .iter()
        .filter(|line| line["body"]["tool"] == "net.fetch");
    assert_eq!(calls.count(), 3);
}
