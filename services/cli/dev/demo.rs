//! `dev --demo`: a few real tasks, through the real API, told as they run.

use std::{fs, net::SocketAddr, path::Path};

use bytes::Bytes;

use super::next_lines;
use crate::{
    cli::{
        exit::Failure,
        follow::follow,
        output::{Format, Output},
        server::task_client,
        submit::send,
        tasks::{failure_line, state_name},
    },
    domain::MAX_PAYLOAD_BYTES,
    runtime::dial::dial,
    wire::proto::v1::{SubmitTaskRequest, TaskSpec, TaskState},
    worker::{guard::Guard, handler::Handlers, handlers},
};

const KIND: &str = "wordcount";
/// Where the program of the demo is, by distribution.
const PROGRAMS: [&str; 2] = ["/usr/bin/wc", "/bin/wc"];
/// Files of the repository; those that are there are counted.
const FILES: [&str; 6] = [
    "README.md",
    "CHANGELOG.md",
    "Cargo.toml",
    "services/ARCHITECTURE.md",
    "proto/herdsman/v1/task.proto",
    "proto/herdsman/v1/cluster.proto",
];
/// Fewer files than this are no demo: then Herdsman counts texts of its own.
const FEWEST_FILES: usize = 3;
const OWN_TEXTS: [(&str, &str); 4] = [
    ("the-name", "A herdsman watches over many animals, and knows where each of them is."),
    ("the-promise", "OK from a submit means that the task is written down. It runs, also if a worker dies."),
    (
        "the-master",
        "One master leads; the others stand by. Who leads is decided by election, and can change at any time.",
    ),
    ("the-worker", "A worker runs what it is told, and repeats its report until somebody has written it down."),
];

/// A text whose words are to be counted, and the task that does it.
struct Errand {
    name: String,
    task_id: String,
    text: Bytes,
}

pub(super) struct Demo {
    program: &'static str,
    errands: Vec<Errand>,
}

impl Demo {
    /// Finds something to count, and adds the handler that counts.
    pub(super) fn prepare(handlers: &mut Handlers) -> Result<Self, Failure> {
        let program = PROGRAMS.into_iter().find(|program| Path::new(program).is_file());
        let program = program.ok_or_else(|| Failure::unable("the demo needs wc, of the coreutils, in /usr/bin"))?;
        *handlers = std::mem::take(handlers).and(counting(program)?);
        // Tasks of an earlier demo may still be kept.
        let run = uuid::Uuid::new_v4().simple().to_string();
        let errands = texts().into_iter().map(|(name, text)| {
            let slug: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            Errand { task_id: format!("demo-{}-{}", &run[..6], slug.to_ascii_lowercase()), name, text }
        });
        Ok(Self { program, errands: errands.collect() })
    }

    pub(super) async fn run(self, address: SocketAddr, place: &str) -> Result<(), Failure> {
        let output = Output::new(Format::Human);
        output.line(format_args!("Herdsman is up: master, worker and client service; tasks are kept {place}.\n"))?;
        output
            .line(format_args!("Submitting to http://{address}, one task a text, to be run by {} -w:", self.program))?;
        let client = task_client(dial(&address.to_string()).await.map_err(Failure::unable)?);
        for errand in &self.errands {
            let spec = TaskSpec { kind: KIND.to_owned(), payload: errand.text.clone(), ..TaskSpec::default() };
            let request = SubmitTaskRequest { task_id: errand.task_id.clone(), spec: Some(spec) };
            let task = send::one(client.clone(), request).await?;
            output.line(format_args!("  {} for {}, {} bytes", task.task_id, errand.name, errand.text.len()))?;
        }
        output.line("\nWatching them:")?;
        let ids: Vec<_> = self.errands.iter().map(|errand| errand.task_id.clone()).collect();
        let width = ids.iter().map(String::len).max().unwrap_or(0);
        let mut counted = Vec::new();
        follow(client, &ids, |task| {
            let on = if task.worker_id.is_empty() { String::new() } else { format!(" on worker {}", task.worker_id) };
            let state = state_name(&task);
            output.line(format!("  {:<width$} {state:<9}{on} {}", task.task_id, failure_line(&task)).trim_end())?;
            if task.state() == TaskState::Succeeded {
                counted.push((task.task_id, String::from_utf8_lossy(&task.result).trim().to_owned()));
            }
            Ok(())
        })
        .await?;
        output.line("\nWords:")?;
        for errand in &self.errands {
            let words = counted.iter().find(|(id, _)| *id == errand.task_id).map_or("?", |(_, words)| words);
            output.line(format_args!("  {words:>6} {}", errand.name))?;
        }
        if counted.len() < self.errands.len() {
            return Err(Failure::Untrue);
        }
        output.line(format_args!("\nThe cluster stays up. {}", next_lines(address, ids.first().map(String::as_str))))
    }
}

/// The handler, by the way that anybody's handlers take: a file.
fn counting(program: &str) -> Result<Handlers, Failure> {
    let file = std::env::temp_dir().join(format!("herdsman-demo-{}.toml", uuid::Uuid::new_v4()));
    let guard = Guard::this_program().map_err(Failure::unable)?;
    fs::write(&file, format!("[handlers.{KIND}]\nprogram = {program:?}\nargs = [\"-w\"]\n"))
        .map_err(Failure::unable)?;
    let loaded = handlers::load(&file, &guard).map_err(Failure::unable);
    // A leftover in the directory for temporary files harms nobody.
    let _ = fs::remove_file(&file);
    loaded
}

/// Files of the repository, if this was started there; texts of its own otherwise.
fn texts() -> Vec<(String, Bytes)> {
    let files: Vec<_> = FILES.iter().filter_map(|name| Some(((*name).to_owned(), read(Path::new(name))?))).collect();
    if files.len() >= FEWEST_FILES {
        return files;
    }
    OWN_TEXTS.map(|(name, text)| (name.to_owned(), Bytes::from_static(text.as_bytes()))).into()
}

/// A file that is small enough to be a payload.
fn read(path: &Path) -> Option<Bytes> {
    let text = fs::read(path).ok()?;
    (text.len() <= MAX_PAYLOAD_BYTES && !text.is_empty()).then(|| text.into())
}
