//! Keeps the house in order: which floor may name which, what only one module may know, how a file looks.

mod rules;
mod source;

use std::{fs, path::Path};

use rules::{File, violations};

#[test]
fn the_house_is_in_order() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(top, &top.join("services"), &mut files);
    assert!(files.len() > 30, "only {} files found: is services/ where it was?", files.len());
    let found: Vec<_> = violations(&files).iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

fn collect(top: &Path, directory: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(directory).expect("the directory can be read") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            collect(top, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(top).expect("is below the top").to_str().expect("is text");
            files.push(File::new(name, &fs::read_to_string(&path).expect("the file can be read")));
        }
    }
}

/// What the rules say of one file: the lines, with a part of each message.
fn found(name: &str, body: &str) -> Vec<(usize, String)> {
    let file = File::new(name, &format!("//! A module.\n{body}"));
    violations(&[file]).into_iter().map(|violation| (violation.line, violation.problem)).collect()
}

fn assert_found(name: &str, body: &str, line: usize, problem: &str) {
    let found = found(name, body);
    let is_there = found.len() == 1 && found[0].0 == line && found[0].1.contains(problem);
    assert!(is_there, "in {name}, expected line {line}: {problem}\n{body}\nfound {found:?}");
}

fn assert_clean(name: &str, body: &str) {
    assert_eq!(found(name, body), [], "in {name}:\n{body}");
}

#[test]
fn a_floor_names_no_floor_above_it() {
    let cases = [
        ("services/domain/task.rs", "use crate::wire::name;", "domain names wire"),
        ("services/domain/task.rs", "use crate::{store, domain::Task};", "domain names store"),
        ("services/domain/task.rs", "use super::{Fence, super::wire};", "domain names wire"),
        ("services/domain/deep/er.rs", "use super::super::super::runtime::serve;", "domain names runtime"),
        (
            "services/wire/task.rs",
            "use crate::{\n    domain::{Task, Wall},\n    store::{Leader, Store},\n};",
            "wire names store",
        ),
        ("services/store/mod.rs", "fn f() { crate::master::run() }", "store names master"),
        ("services/store/mod.rs", "use crate::runtime::dial;", "store names runtime"),
        ("services/runtime/serve/mod.rs", "type S = dyn crate::store::Store;", "runtime names store"),
        ("services/master/driver.rs", "impl<'a> From<&'a crate::worker::Options> for X {}", "master names worker"),
        ("services/worker/link.rs", "use crate::client as other;", "worker names client"),
        ("services/client/mod.rs", "use crate::{cli};", "client names cli"),
        ("services/main.rs", "fn main() { herdsman::master::run() }", "main names master::run"),
        ("services/master/mod.rs", "use crate::helpers::retry;", "no floor"),
    ];
    for (name, body, problem) in cases {
        let line = if body.contains("store::{Leader") { 4 } else { 2 };
        assert_found(name, body, line, problem);
    }
    assert_found("services/helpers/mod.rs", "", 1, "on no floor");
}

#[test]
fn what_a_floor_may_name_is_no_violation() {
    assert_clean(
        "services/domain/mod.rs",
        "mod call;\npub use call::Call;\nuse std::fmt;\nfn f() { fmt::format(u8::MAX) }",
    );
    assert_clean("services/domain/task.rs", "#[derive(thiserror::Error)]\nenum E {}\nuse super::{Fence, id::Term};");
    assert_clean("services/store/mod.rs", "use crate::{domain::Task, wire};\nfn f() { tokio::spawn(wire::encode()); }");
    assert_clean(
        "services/master/mod.rs",
        "use crate::{runtime::serve, store::Store};\nmod driver;\nuse self::driver::Driver;",
    );
    assert_clean(
        "services/cli/dev.rs",
        "use crate::{client, master, store::embedded::EmbeddedStore, worker, wire::proto};",
    );
    assert_clean("services/main.rs", "fn main() -> ExitCode { herdsman::cli::run() }");
}

#[test]
fn names_in_comments_and_literals_are_only_talk() {
    let talk = "// crate::wire::x\n/* crate::store::y /* nested */ crate::cli::z */\n\
                const A: &str = \"crate::wire::x \\\" crate::cli::y\";\nconst B: &str = r#\"crate::\"wire\"::x\"#;\n\
                const C: char = '\"'; const D: char = '\\''; fn f<'a>(x: &'a str) {}\nconst E: &[u8] = b\"tokio::x\";";
    assert_clean("services/domain/task.rs", talk);
    // And the scanner has not lost its way in them.
    assert_found("services/domain/task.rs", &format!("{talk}\nuse crate::wire;"), 8, "domain names wire");
}

#[test]
fn the_domain_names_no_crate() {
    for body in [
        "use tokio::sync::watch;",
        "fn f() { tracing::warn!() }",
        "#[tokio::test]\nasync fn f() {}",
        "fn f(x: ::uuid::Uuid) {}",
    ] {
        assert_found("services/domain/scheduler.rs", body, 2, "from outside it may name std");
    }
}

#[test]
fn a_path_is_followed_through_its_imports_and_inline_modules() {
    assert_found("services/master/driver.rs", "use crate::wire;\nfn f() -> wire::proto::v1::Task {}", 3, "generated");
    assert_found("services/master/driver.rs", "fn f() -> w::proto::Task {}\nuse crate::wire as w;", 2, "generated");
    assert_found(
        "services/master/driver.rs",
        "mod inner {\n    use super::super::super::worker;\n}",
        3,
        "names worker",
    );
    // Two steps up from an inline module is only one module further.
    assert_clean("services/master/driver.rs", "mod tests {\n    use super::super::worker::Slot;\n}");
    assert_clean("services/master/driver.rs", "fn f() { Vec::<u8>::new(); x.collect::<Vec<_>>(); <T as A>::b::c(); }");
}

#[test]
fn one_module_hides_its_crate() {
    assert_found("services/master/mod.rs", "use zookeeper_client as zk;", 2, "store::zookeeper only");
    assert_found("services/store/mod.rs", "fn f(e: zookeeper_client::Error) {}", 2, "store::zookeeper only");
    assert_found("services/store/zookeeper/mod.rs", "use redb::Database;", 2, "store::embedded only");
    assert_clean("services/store/zookeeper/session.rs", "use zookeeper_client as zk;\nfn f(e: zk::Error) {}");
}

#[test]
fn only_the_command_line_knows_which_store_it_is() {
    let body = "use crate::store::embedded::EmbeddedStore;";
    assert_found("services/master/driver.rs", body, 2, "only cli knows");
    assert_clean("services/master/driver.rs", &format!("#[cfg(test)]\nmod tests {{\n    {body}\n}}"));
    let files = [
        File::new("services/master/mod.rs", "//! A module.\n#[cfg(test)]\nmod bench;"),
        File::new("services/master/bench.rs", body),
    ];
    assert_eq!(violations(&files), []);
}

#[test]
fn generated_types_stop_in_wire_and_at_the_edges() {
    let body = "use crate::wire::{InvalidField, proto::v1};";
    for inside in ["master/driver.rs", "worker/executor.rs", "client/hub.rs", "runtime/serve.rs", "store/mod.rs"] {
        assert_found(&format!("services/{inside}"), body, 2, "generated types");
    }
    for edge in
        ["master/service.rs", "master/worker_links/mod.rs", "client/leader_link.rs", "worker/link.rs", "cli/get.rs"]
    {
        assert_clean(&format!("services/{edge}"), body);
    }
    assert_clean("services/runtime/serve/mod.rs", "use crate::wire::proto::DESCRIPTORS;");
    assert_found("services/master/service.rs", "tonic::include_proto!(\"x\");", 2, "that is wire's");
}

#[test]
fn a_file_has_a_head_an_end_and_no_holes() {
    let without_head = File::new("services/master/mod.rs", "use std::fmt;\n");
    assert!(violations(&[without_head])[0].problem.contains("begins without"));
    assert_found("services/master/mod.rs", &"\n".repeat(400), 401, "two jobs");
    assert_found("services/master/mod.rs", "fn f() { todo!() }", 2, "not done");
    assert_found("services/master/mod.rs", "fn f() {\n    unimplemented!(\"later\")\n}", 3, "not done");
}
