//! What the README, docs/TASKS.md and docs/OPERATING.md show is what happens.

use std::process::{Command, Output};

use super::cluster;
use crate::support::process::Role;

/// Stands above each block whose lines are run here.
const MARK: &str = "<!-- run by tests/command_line.rs -->";

fn read(file: &str) -> String {
    std::fs::read_to_string(file).expect("the tests run at the root of the repository")
}

/// The text of a block that the text begins with, and what comes after it.
fn block<'a>(text: &'a str, language: &str) -> Option<(&'a str, &'a str)> {
    text.trim_start().strip_prefix("```")?.strip_prefix(language)?.strip_prefix('\n')?.split_once("```")
}

fn run(lines: &str, cluster: &Role) -> Output {
    let script = format!("set -e\nherdsman() {{ \"$HERDSMAN\" \"$@\"; }}\n{lines}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]);
    shell.env("HERDSMAN", env!("CARGO_BIN_EXE_herdsman")).env("HERDSMAN_SERVER", cluster.url());
    shell.output().unwrap()
}

#[tokio::test]
async fn the_lines_of_the_readme_do_what_they_say() {
    let cluster = cluster(&[]).await;
    let readme = read("README.md");
    let (lines, _) = readme.split_once(MARK).and_then(|(_, rest)| block(rest, "sh")).expect("README.md has a block");
    assert!(lines.matches("herdsman ").count() >= 5, "hardly anything to run:\n{lines}");
    let output = run(lines, &cluster);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {told}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(told.starts_with("hello"), "{told}");
    assert!(told.matches("SUCCEEDED").count() >= 100 && told.contains("nap-1"), "{told}");
}

/// Each example says in the block below it what it prints; its spaces do not count.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_tasks_print_what_they_say() {
    let document = read("docs/TASKS.md");
    let (_, rest) = document.split_once(MARK).expect("docs/TASKS.md begins with its handlers");
    let (handlers, rest) = block(rest, "toml").expect("docs/TASKS.md begins with its handlers");
    let handlers_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(handlers_file.path(), handlers).unwrap();
    let file = handlers_file.path().display().to_string();
    let cluster =
        cluster(&["--handlers", &file, "--queues", "default,mail,nightly", "--label", "zone=a", "--label", "gpu=a100"])
            .await;
    assert!(run_examples(rest, &cluster) >= 5, "hardly any examples");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_operating_print_what_they_say() {
    let cluster = cluster(&[]).await;
    assert!(run_examples(&read("docs/OPERATING.md"), &cluster) >= 1, "no example");
}

/// Runs the examples after each mark, and gives how many there were.
fn run_examples(text: &str, cluster: &Role) -> usize {
    let words = |text: &str| text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let examples: Vec<_> = text.split(MARK).skip(1).collect();
    for example in &examples {
        let (lines, rest) = block(example, "sh").unwrap_or_else(|| panic!("no block of sh:{example}"));
        let (says, _) = block(rest, "text").unwrap_or_else(|| panic!("no block of text below:\n{lines}"));
        let output = run(lines, cluster);
        let (told, said): (Vec<String>, Vec<String>) = (words(&String::from_utf8_lossy(&output.stdout)), words(says));
        assert_eq!(told, said, "{lines}\n{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    examples.len()
}
