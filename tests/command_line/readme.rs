//! What the README shows is what happens.

use std::process::Command;

use super::cluster;

/// Stands above the block of README.md whose lines are run here.
const README_MARK: &str = "<!-- run by tests/command_line.rs -->";

#[tokio::test]
async fn the_lines_of_the_readme_do_what_they_say() {
    let cluster = cluster(&[]).await;
    let readme = std::fs::read_to_string("README.md").expect("the tests run at the root of the repository");
    let block = readme.split_once(README_MARK).map(|(_, rest)| rest.trim_start()).unwrap_or_default();
    let lines = block.strip_prefix("```sh\n").and_then(|block| block.split_once("```")).map(|(lines, _)| lines);
    let lines = lines.unwrap_or_else(|| panic!("README.md has no block of sh under {README_MARK}"));
    assert!(lines.matches("herdsman ").count() >= 5, "hardly anything to run:\n{lines}");

    let script = format!("set -e\nherdsman() {{ \"$HERDSMAN\" \"$@\"; }}\n{lines}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]);
    shell.env("HERDSMAN", env!("CARGO_BIN_EXE_herdsman")).env("HERDSMAN_SERVER", cluster.url());
    let output = shell.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {told}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(told.starts_with("hello"), "{told}");
    assert!(told.matches("SUCCEEDED").count() >= 100 && told.contains("nap-1"), "{told}");
}
