//! Herdsman through other people's tools, with nothing but its address: grpcurl over reflection, and a Python client
//! generated from `proto/`. The tools are those that `tests/run` names in the environment.

use std::{
    env,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::support::process::Role;

/// Stands above the block of README.md whose lines are run here.
const README_MARK: &str = "<!-- run by tests/debugging.rs -->";
/// Where the README's lines find a client service.
const README_ADDRESS: &str = "127.0.0.1:7070";

/// A tool that a test cannot do without.
///
/// # Panics
/// `tests/run` did not start this.
fn tool(variable: &str) -> String {
    env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: start the tests with tests/run, which sets it"))
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

/// What a command that succeeds says.
fn said(command: &mut Command) -> String {
    let output = run(command);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}

fn grpcurl(arguments: &[&str]) -> Command {
    let mut command = Command::new(tool("HERDSMAN_TEST_GRPCURL"));
    command.args(["-plaintext", "-max-time", "60"]).args(arguments);
    command
}

/// A whole cluster in one process, for tools to find at an address.
async fn cluster() -> (Role, String) {
    let role = Role::start(&["dev", "--in-memory", "--listen", "127.0.0.1:0"]).await;
    let address = role.address().to_string();
    (role, address)
}

/// The JSON messages that a call is answered with.
fn messages(arguments: &[&str]) -> Vec<Value> {
    let said = said(&mut grpcurl(arguments));
    serde_json::Deserializer::from_str(&said).into_iter().map(|message| message.expect("grpcurl prints JSON")).collect()
}

#[tokio::test]
async fn grpcurl_lists_the_services() {
    let (_cluster, address) = cluster().await;
    let listed = said(&mut grpcurl(&[&address, "list"]));
    let expected = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "herdsman.v1.ClusterService",
        "herdsman.v1.TaskService",
    ];
    let mut listed: Vec<_> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, expected, "what the port serves, and nothing of the other roles");
    let methods = said(&mut grpcurl(&[&address, "list", "herdsman.v1.TaskService"]));
    assert!(methods.lines().any(|line| line == "herdsman.v1.TaskService.WatchTask"), "{methods}");
}

#[tokio::test]
async fn grpcurl_describes_methods_and_messages_with_their_comments() {
    let (_cluster, address) = cluster().await;
    let service = said(&mut grpcurl(&[&address, "describe", "herdsman.v1.TaskService"]));
    assert!(service.contains("// Hands one task over."), "{service}");
    assert!(service.contains("rpc SubmitTask"), "{service}");
    let spec = said(&mut grpcurl(&[&address, "describe", "herdsman.v1.TaskSpec"]));
    assert!(spec.contains("// Input of the handler, opaque to Herdsman."), "{spec}");
    assert!(spec.contains("bytes payload = 3;"), "{spec}");
}

#[tokio::test]
async fn grpcurl_submits_a_task_and_watches_it_to_its_result() {
    let (_cluster, address) = cluster().await;
    let submit = r#"{"task_id": "from-grpcurl", "spec": {"kind": "echo", "payload": "aGVsbG8="}}"#;
    let submitted = messages(&["-d", submit, &address, "herdsman.v1.TaskService/SubmitTask"]);
    assert_eq!(submitted[0]["task"]["taskId"], "from-grpcurl");

    let watch = r#"{"task_id": "from-grpcurl"}"#;
    let watched = messages(&["-d", watch, &address, "herdsman.v1.TaskService/WatchTask"]);
    let last = &watched.last().expect("a watch has a first state")["task"];
    assert_eq!(last["state"], "TASK_STATE_SUCCEEDED");
    assert_eq!(last["result"], "aGVsbG8=");
}

#[tokio::test]
async fn grpcurl_is_told_which_field_is_wrong() {
    let (_cluster, address) = cluster().await;
    let submit = r#"{"task_id": "../up", "spec": {"kind": "echo"}}"#;
    let output = run(&mut grpcurl(&["-d", submit, &address, "herdsman.v1.TaskService/SubmitTask"]));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(told.contains("Code: InvalidArgument"), "{told}");
    assert!(told.contains("task_id") && told.contains("fieldViolations"), "{told}");
    assert!(!told.contains("not recognized"), "the details can be read: {told}");
}

#[tokio::test]
async fn grpcurl_sees_that_the_services_serve() {
    let (_cluster, address) = cluster().await;
    for service in ["", "herdsman.v1.TaskService", "herdsman.v1.ClusterService"] {
        let check = format!(r#"{{"service": "{service}"}}"#);
        let health = messages(&["-d", &check, &address, "grpc.health.v1.Health/Check"]);
        assert_eq!(health[0]["status"], "SERVING", "of '{service}'");
    }
}

/// In one shell and in their order, as a reader would type them.
#[tokio::test]
async fn the_lines_for_grpcurl_in_the_readme_work() {
    let (_cluster, address) = cluster().await;
    let readme = std::fs::read_to_string("README.md").expect("the tests run at the root of the repository");
    let block = readme.split_once(README_MARK).map(|(_, rest)| rest.trim_start()).unwrap_or_default();
    let lines = block.strip_prefix("```sh\n").and_then(|block| block.split_once("```")).map(|(lines, _)| lines);
    let lines = lines.unwrap_or_else(|| panic!("README.md has no block of sh under {README_MARK}"));
    assert!(lines.matches("grpcurl ").count() >= 5, "hardly anything to run:\n{lines}");
    assert!(lines.contains(README_ADDRESS), "not the address that herdsman dev listens at:\n{lines}");

    let script = format!("set -e\ngrpcurl() {{ \"$HERDSMAN_TEST_GRPCURL\" \"$@\"; }}\n{lines}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script.replace(README_ADDRESS, &address)]);
    shell.env("HERDSMAN_TEST_GRPCURL", tool("HERDSMAN_TEST_GRPCURL"));
    let told = said(&mut shell);
    assert!(told.contains("TASK_STATE_SUCCEEDED"), "the README does not show a task's end:\n{told}");
}

#[tokio::test]
async fn a_python_client_generated_from_the_contract_submits_and_watches() {
    let (_cluster, address) = cluster().await;
    let python = tool("HERDSMAN_TEST_PYTHON");
    let generated = tempfile::tempdir().expect("a temporary directory");
    generate(&python, generated.path());
    let mut tests = Command::new(&python);
    tests.args(["-m", "unittest", "discover", "--start-directory", "tests/python"]);
    tests.env("PYTHONPATH", generated.path()).env("PYTHONDONTWRITEBYTECODE", "1").env("HERDSMAN_SERVER", &address);
    let output = run(&mut tests);
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !report.contains("Ran 0 tests"), "{report}");
}

#[tokio::test]
async fn the_lines_for_python_in_the_readme_work() {
    let (_cluster, address) = cluster().await;
    let python = tool("HERDSMAN_TEST_PYTHON");
    let generated = tempfile::tempdir().expect("a temporary directory");
    generate(&python, generated.path());
    let readme = std::fs::read_to_string("README.md").expect("the tests run at the root of the repository");
    let block = readme.split_once("```python\n").and_then(|(_, rest)| rest.split_once("```"));
    let lines = block.expect("README.md has a block of Python").0;
    assert!(lines.contains(README_ADDRESS), "not the address that herdsman dev listens at:\n{lines}");
    let mut program = Command::new(&python);
    program.args(["-c", &lines.replace(README_ADDRESS, &address)]).env("PYTHONPATH", generated.path());
    let told = said(&mut program);
    assert!(told.ends_with("TASK_STATE_SUCCEEDED b'hello'\n"), "{told}");
}

/// As a user would, without the internal contract.
fn generate(python: &str, directory: &Path) {
    let mut protoc = Command::new(python);
    protoc.args(["-m", "grpc_tools.protoc", "-I", "proto"]);
    for out in ["--python_out", "--grpc_python_out"] {
        protoc.arg(out).arg(directory);
    }
    said(protoc.args(["herdsman/v1/task.proto", "herdsman/v1/cluster.proto"]));
}
