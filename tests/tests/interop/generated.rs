//! A client that somebody else's generator makes of `/openapi.json`: the Python package `openapi-python-client`.

use std::fs;

use towline_tests::{
    program::Ran,
    server::{Serve, token_of},
};

use crate::python::http_python;

/// A time that comes once in four years: nothing fires by itself.
const LEAP_DAY: &str =
    "[schedules.leap]\ncron = \"0 0 29 2 *\"\nagent = \"echo\"\ninput = 7\nprincipal = \"alice\"\n";

/// [ARCP 16-5] What is generated from the description submits, looks, lists, fetches, cancels, answers, speaks and turns
/// schedules; what is refused is the problem that the description says.
#[tokio::test]
async fn a_generated_client_works() {
    let Some(python) = http_python() else { return };
    let serve = Serve::demo();
    // Below the target directory, like everything that is built.
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let config = place.path().join("towline.toml");
    fs::write(&config, LEAP_DAY).expect("it can be written");
    let config = config.to_str().expect("the path is text");
    let server = serve.with(&["--config", config]).start().await;

    let answer = server.http("GET /openapi.json", &[]).await;
    let (_, description) = answer.split_once("\r\n\r\n").expect("it has a body");
    let file = place.path().join("openapi.json");
    fs::write(&file, description).expect("it can be written");
    // Nothing but generating: no formatter has to be there.
    let settings = place.path().join("settings.yml");
    fs::write(&settings, "post_hooks: []\n").expect("it can be written");
    let mut generate = python.module("openapi_python_client");
    generate.args(["generate", "--meta", "none", "--fail-on-warning"]);
    generate.arg("--path").arg(&file);
    generate.arg("--config").arg(&settings);
    generate
        .arg("--output-path")
        .arg(place.path().join("generated"));
    let generated: Ran = python.holds(generate).await;
    drop(generated);

    let mut client = python.script("http/client.py");
    client.arg(place.path());
    client.arg(format!("http://{}", server.address()));
    client.arg(token_of("alice"));
    python.holds(client).await;
}
