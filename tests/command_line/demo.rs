//! `dev --demo`: what a newcomer sees first.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// Runs the demo in a directory until it has said what to try next, stops it, and gives what it said.
fn demo(directory: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herdsman"));
    command.args(["dev", "--demo", "--in-memory", "--listen", "127.0.0.1:0"]).current_dir(directory);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.by_ref().map_while(Result::ok) {
        said.push_str(&line);
        said.push('\n');
        if line.contains("Ctrl-C") {
            break;
        }
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}\n{said}");
    said
}

#[test]
fn in_the_repository_it_counts_the_words_of_real_files() {
    let said = demo(env!("CARGO_MANIFEST_DIR"));
    let words = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let line = format!("{} Cargo.toml", words.split_whitespace().count());
    assert!(said.lines().any(|l| l.trim() == line), "{line}\n{said}");
    assert!(said.contains(" SUCCEEDED on worker "), "{said}");
    assert!(said.contains("grpcurl -plaintext"), "{said}");
}

#[test]
fn elsewhere_it_counts_texts_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let said = demo(directory.path().to_str().unwrap());
    assert!(said.lines().any(|line| line.trim() == "13 the-name"), "{said}");
}
