//! The rules of the house, as data where that is possible. Each exception is written here with its reason, or it is
//! none.

use std::fmt;

use super::source::{Path, Source};

/// Who may name whom, among our own modules.
const FLOORS: [(&str, &[&str]); 9] = [
    ("domain", &["domain"]),
    ("wire", &["wire", "domain"]),
    ("store", &["store", "wire", "domain"]),
    ("runtime", &["runtime", "wire", "domain"]),
    ("master", &["master", "runtime", "store", "wire", "domain"]),
    ("worker", &["worker", "runtime", "store", "wire", "domain"]),
    ("client", &["client", "runtime", "store", "wire", "domain"]),
    ("cli", &["cli", "client", "worker", "master", "runtime", "store", "wire", "domain"]),
    ("proof", &["proof", "client", "worker", "master", "runtime", "store", "wire", "domain"]),
];

/// What main names: the command line, and before it the guard that a worker runs this same program as.
const OF_MAIN: [&[&str]; 2] = [&["cli"], &["worker", "guard"]];

/// All that the domain may use from outside; proptest, which its prelude calls `prop` too, is there for tests only.
const CRATES_OF_THE_DOMAIN: [&str; 6] = ["std", "core", "alloc", "thiserror", "proptest", "prop"];

/// Crates that one module hides from all others.
const HIDDEN_CRATES: [(&str, &[&str]); 2] =
    [("zookeeper_client", &["store", "zookeeper"]), ("redb", &["store", "embedded"])];

/// Which files may name generated types outside wire.
///
/// Services and links implement and call generated stubs at their tonic edge: what such a file is called says so, and the
/// standby is one end of its link. The command line is a client of the public API, like anybody's.
fn may_name_generated_types(module: &[String]) -> bool {
    let edge = |name: &String| {
        matches!(name.as_str(), "service" | "link" | "links" | "standby")
            || name.ends_with("_link")
            || name.ends_with("_links")
    };
    module.iter().any(edge) || matches!(module.first().map(String::as_str), Some("wire" | "cli"))
}

/// The longest file, in lines: one that grows past it has two jobs.
const MAX_LINES: usize = 400;

/// Macros that stand for work that was not done.
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// First words of paths that are neither a crate's name nor one of our modules'.
const PRIMITIVES: [&str; 18] = [
    "Self", "bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128",
    "isize", "f32", "f64",
];

/// One place where the house is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub file: String,
    pub line: usize,
    pub problem: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.problem)
    }
}

/// A file below `services/`.
pub struct File {
    /// From the top of the repository.
    name: String,
    module: Vec<String>,
    text: String,
    source: Source,
}

impl File {
    pub fn new(name: &str, text: &str) -> Self {
        let module = module_of(name);
        let source = Source::read(&module, text);
        Self { name: name.into(), module, text: text.into(), source }
    }

    fn is_root(&self) -> bool {
        self.module.is_empty()
    }
}

/// `services/store/embedded/mod.rs` is the module store::embedded.
fn module_of(name: &str) -> Vec<String> {
    let inner = name.trim_start_matches("services/").trim_end_matches(".rs");
    let segments = inner.split('/').filter(|segment| !matches!(*segment, "mod" | "lib" | "main"));
    segments.map(str::to_owned).collect()
}

/// Everything in these files that the rules forbid.
pub fn violations(files: &[File]) -> Vec<Violation> {
    let test_modules: Vec<Vec<String>> = files
        .iter()
        .flat_map(|file| file.source.test_modules.iter().map(|name| [file.module.clone(), vec![name.clone()]].concat()))
        .collect();
    let mut found = Vec::new();
    for file in files {
        let is_test = test_modules.iter().any(|module| file.module.starts_with(module));
        let mut report = |line: usize, problem: String| {
            found.push(Violation { file: file.name.clone(), line, problem });
        };
        check_shape(file, is_test, &mut report);
        for path in &file.source.paths {
            let problems = [floor(file, path), crates(file, path), store(file, path, is_test), generated(file, path)];
            problems.into_iter().flatten().for_each(|problem| report(path.line, problem));
        }
    }
    found.sort_by(|a, b| (&a.file, a.line, &a.problem).cmp(&(&b.file, b.line, &b.problem)));
    found.dedup();
    found
}

fn check_shape(file: &File, is_test: bool, report: &mut impl FnMut(usize, String)) {
    let lines = file.text.lines().count();
    if lines > MAX_LINES {
        report(MAX_LINES + 1, format!("{lines} lines; more than {MAX_LINES} are two jobs in one file"));
    }
    // A file of tests says what it is by its name, and lib.rs shows ARCHITECTURE.md.
    let says_what_it_is = file.text.starts_with("//!") || file.text.starts_with("#![doc");
    if !is_test && !says_what_it_is {
        report(1, "begins without `//!`: what is it, and what does it refuse to do?".into());
    }
    for pair in file.source.tokens.windows(2) {
        if UNFINISHED.contains(&pair[0].text.as_str()) && pair[1].text == "!" {
            report(pair[0].line, format!("{}! stands for work that was not done", pair[0].text));
        }
    }
    if let [first, ..] = file.module.as_slice()
        && !FLOORS.iter().any(|(floor, _)| floor == first)
    {
        report(1, format!("{first} is on no floor of the house"));
    }
}

/// Our own modules that a module may not name.
fn floor(file: &File, path: &Path) -> Option<String> {
    let own = file.module.first().map(String::as_str);
    let target = match path.segments.as_slice() {
        [root, target, ..] if root == "crate" => target.as_str(),
        // main.rs sees the library from outside.
        [library, inside @ ..] if library == "herdsman" && file.is_root() => {
            let inside: Vec<_> = inside.iter().map(String::as_str).collect();
            let may = OF_MAIN.iter().any(|allowed| inside.starts_with(allowed));
            return (!may).then(|| format!("main names {}; it may name cli, which runs everything", inside.join("::")));
        }
        _ => return None,
    };
    let (floor, allowed) = FLOORS.iter().find(|(floor, _)| Some(*floor) == own)?;
    if !FLOORS.iter().any(|(other, _)| *other == target) && target != "*" {
        return Some(format!("{floor} names crate::{target}, which is no floor; say on which one it is"));
    }
    (!allowed.contains(&target)).then(|| format!("{floor} names {target}; it may name {}", allowed.join(", ")))
}

/// External crates that a module may not name.
fn crates(file: &File, path: &Path) -> Option<String> {
    let first = path.segments.first()?.as_str();
    for (hidden, module) in HIDDEN_CRATES {
        let inside = file.module.iter().map(String::as_str).take(module.len()).eq(module.iter().copied());
        if first == hidden && !inside {
            return Some(format!("{hidden} is known to {} only", module.join("::")));
        }
    }
    let is_crate = first.starts_with(|c: char| c.is_lowercase()) && first != "crate" && !PRIMITIVES.contains(&first);
    let in_domain = file.module.first().is_some_and(|floor| floor == "domain");
    (in_domain && is_crate && !CRATES_OF_THE_DOMAIN.contains(&first))
        .then(|| format!("domain names {first}; from outside it may name {}", CRATES_OF_THE_DOMAIN.join(", ")))
}

/// Who knows which store there is: the command line, which chooses it, and tests, which need one.
fn store(file: &File, path: &Path, is_test: bool) -> Option<String> {
    let knows = matches!(file.module.first().map(String::as_str), Some("store" | "cli") | None);
    match path.segments.as_slice() {
        [root, store, which, ..]
            if root == "crate" && store == "store" && matches!(which.as_str(), "zookeeper" | "embedded") =>
        {
            (!knows && !is_test && !path.in_test)
                .then(|| format!("names store::{which}; only cli knows which store it is"))
        }
        _ => None,
    }
}

/// Generated types where domain values belong.
fn generated(file: &File, path: &Path) -> Option<String> {
    let segments: Vec<_> = path.segments.iter().map(String::as_str).collect();
    let in_wire = file.module.first().is_some_and(|floor| floor == "wire");
    if segments.ends_with(&["tonic", "include_proto"]) && !in_wire {
        return Some("includes generated code; that is wire's".into());
    }
    // The descriptors are bytes that describe: reflection and printing need them.
    let descriptors = segments.ends_with(&["proto", "DESCRIPTORS"]);
    (segments.starts_with(&["crate", "wire", "proto"]) && !descriptors && !may_name_generated_types(&file.module))
        .then(|| "names generated types; they stop in wire, or at a service's or a link's edge".into())
}
