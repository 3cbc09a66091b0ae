//! Exec handlers, from their file to their program's end.

use std::{fmt::Write as _, fs, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use bytes::Bytes;
use herdsman::{
    domain::{AttemptId, FailureReason, Fence, MAX_PAYLOAD_BYTES, MAX_RESULT_BYTES},
    worker::{
        guard::Guard,
        handler::{Attempt, Handler, HandlerError, Reporter},
        handlers,
    },
};
use tokio_util::sync::CancellationToken;

use crate::support::eventually;

const LIMIT: Duration = Duration::from_secs(20);

/// A worker's file of handlers, and a directory for its programs to leave traces in.
struct Bench {
    directory: PathBuf,
    _owner: Option<tempfile::TempDir>,
}

impl Bench {
    fn new() -> Self {
        let owner = tempfile::tempdir().unwrap();
        Self { directory: owner.path().to_owned(), _owner: Some(owner) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok().filter(|text| text.ends_with('\n'))
    }

    /// A handler whose program is this script, with `$1` the directory of the bench.
    fn shell(&self, script: &str) -> Arc<dyn Handler> {
        let mut file = String::from("[handlers.shell]\nprogram = \"/bin/sh\"\ngrace = \"300ms\"\n");
        let arguments = ["-c", script, "sh", self.directory.to_str().unwrap()];
        let arguments = arguments.map(|argument| argument.replace('{', "{{").replace('}', "}}"));
        writeln!(file, "args = {arguments:?}").unwrap();
        self.load(&file)
    }

    fn load(&self, text: &str) -> Arc<dyn Handler> {
        let file = self.path("handlers.toml");
        fs::write(&file, text).unwrap();
        let handlers = handlers::load(&file, &Guard::program(env!("CARGO_BIN_EXE_herdsman"))).unwrap();
        let kind = handlers.kinds().next().unwrap().clone();
        handlers.get(&kind).unwrap().clone()
    }
}

fn attempt(payload: impl Into<Bytes>) -> Attempt {
    Attempt {
        task_id: "the-task".parse().unwrap(),
        attempt: 3,
        fence: Fence(77),
        kind: "shell".parse().unwrap(),
        queue: "night".parse().unwrap(),
        payload: payload.into(),
        labels: [].into(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        cancelled: CancellationToken::new(),
        reporter: Reporter::detached(AttemptId { task_id: "the-task".parse().unwrap(), attempt: 3, fence: Fence(77) }),
    }
}

async fn run(handler: &Arc<dyn Handler>, attempt: Attempt) -> Result<Bytes, HandlerError> {
    tokio::time::timeout(LIMIT, handler.run(attempt)).await.expect("the program ends in time")
}

async fn run_script(script: &str, payload: impl Into<Bytes>) -> Result<Bytes, HandlerError> {
    let bench = Bench::new();
    run(&bench.shell(script), attempt(payload)).await
}

/// Neither there nor a zombie.
fn is_alive(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.trim())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

async fn gone(process: &str) {
    eventually(&format!("process {process} is gone"), LIMIT, async || (!is_alive(process)).then_some(())).await;
}

#[tokio::test]
async fn words_are_counted() {
    let bench = Bench::new();
    let handler = bench.load("[handlers.wordcount]\nprogram = \"/usr/bin/wc\"\nargs = [\"-w\"]");
    assert_eq!(run(&handler, attempt("three little words")).await.unwrap(), "3\n");
}

#[test]
fn the_example_file_loads() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/handlers.toml");
    let handlers = handlers::load(file.as_ref(), &Guard::program("unused")).unwrap();
    assert_eq!(handlers.kinds().map(ToString::to_string).collect::<Vec<_>>(), ["checksum", "wordcount"]);
}

#[tokio::test]
async fn arguments_are_filled_in_and_never_seen_by_a_shell() {
    let bench = Bench::new();
    let handler = bench.load(
        "[handlers.echo]\nprogram = \"/bin/echo\"\nargs = [\"{task_id}#{attempt}\", \"{kind}@{queue}\", \"$(id) {{}}\"]",
    );
    assert_eq!(run(&handler, attempt("")).await.unwrap(), "the-task#3 shell@night $(id) {}\n");
}

#[tokio::test]
async fn the_environment_is_clean() {
    let bench = Bench::new();
    let handler = bench.load(
        "[handlers.env]\nprogram = \"/usr/bin/env\"\nenv = { A = \"b\" }\npass_env = [\"PATH\", \"NOT_SET_ANYWHERE\"]",
    );
    let result = String::from_utf8(run(&handler, attempt("")).await.unwrap().into()).unwrap();
    // Whoever started the tests may have left something open, and so have taken the number.
    let plain =
        |line: &str| line.split_once("_FD=").map_or_else(|| line.to_owned(), |(name, _)| format!("{name}_FD=3"));
    let mut lines: Vec<_> = result.lines().map(plain).collect();
    lines.sort_unstable();
    let path = format!("PATH={}", std::env::var("PATH").unwrap());
    let expected = [
        "A=b",
        "HERDSMAN_ATTEMPT=3",
        "HERDSMAN_FENCE=77",
        "HERDSMAN_KIND=shell",
        "HERDSMAN_PROGRESS_FD=3",
        "HERDSMAN_QUEUE=night",
        "HERDSMAN_TASK_ID=the-task",
        &path,
        "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_program_inherits_no_descriptor_of_its_worker_or_its_guard_but_the_one_for_its_progress() {
    let script = "echo $HERDSMAN_PROGRESS_FD; ls /proc/self/fd";
    let result = String::from_utf8(run_script(script, "").await.unwrap().into()).unwrap();
    let (number, open) = result.split_once('\n').unwrap();
    // Whoever started the tests may have left something open.
    let script = format!("exec {number}>/dev/null; ls /proc/self/fd");
    let plain = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
    assert_eq!(open, String::from_utf8(plain.stdout).unwrap());
}

#[tokio::test]
async fn a_whole_payload_goes_in_and_comes_out() {
    let payload = vec![b'x'; MAX_PAYLOAD_BYTES];
    assert_eq!(run_script("cat", payload.clone()).await.unwrap(), payload);
}

#[tokio::test]
async fn a_program_that_does_not_read_its_input_succeeds() {
    for script in ["echo done", "exec <&-; sleep 0.1; echo done"] {
        assert_eq!(run_script(script, vec![b'x'; MAX_PAYLOAD_BYTES]).await.unwrap(), "done\n", "{script}");
    }
}

#[tokio::test]
async fn a_result_over_the_limit_stops_its_program() {
    let bench = Bench::new();
    let handler = bench.shell("echo $$ > $1/pid; exec cat /dev/zero");
    let error = run(&handler, attempt("")).await.unwrap_err();
    assert_eq!(error.reason, FailureReason::ResultTooLarge);
    gone(&bench.read("pid").unwrap()).await;

    let exact = format!("head -c {MAX_RESULT_BYTES} /dev/zero");
    assert_eq!(run_script(&exact, "").await.unwrap().len(), MAX_RESULT_BYTES);
}

#[tokio::test]
async fn an_exit_status_is_a_failure_with_the_end_of_the_log() {
    let error = run_script("echo out; echo first >&2; echo second >&2; exit 3", "").await.unwrap_err();
    assert_eq!((error.reason, error.exit_status), (FailureReason::Handler, Some(3)));
    assert_eq!(error.message, "/bin/sh exited with status 3: first\nsecond");
}

#[tokio::test]
async fn a_signal_is_named() {
    let error = run_script("kill -SEGV $$", "").await.unwrap_err();
    assert_eq!(error.exit_status, None);
    assert_eq!(error.message, "/bin/sh was killed by signal 11 (SIGSEGV)");
}

#[tokio::test]
async fn a_program_that_cannot_be_started_fails_with_the_reason() {
    let bench = Bench::new();
    let program = bench.path("no-interpreter");
    fs::write(&program, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let handler = bench.load(&format!("[handlers.a]\nprogram = {program:?}"));
    let error = run(&handler, attempt("")).await.unwrap_err();
    assert!(error.message.starts_with(&format!("cannot start {}: No such file", program.display())), "{error}");
}

#[tokio::test]
async fn a_program_that_closes_its_outputs_and_runs_on_is_waited_for() {
    let bench = Bench::new();
    let handler = bench.shell("echo early; exec >&- 2>&-; sleep 0.3; echo end > $1/end");
    assert_eq!(run(&handler, attempt("")).await.unwrap(), "early\n");
    assert_eq!(bench.read("end").as_deref(), Some("end\n"));
}

#[tokio::test]
async fn a_cancelled_program_may_clean_up() {
    let bench = Bench::new();
    let script = "trap 'echo clean > $1/clean; exit 0' TERM; echo $$ > $1/pid; while :; do sleep 0.02; done";
    let handler = bench.shell(script);
    let _ = cancel_once_started(&bench, &handler).await;
    assert_eq!(bench.read("clean").as_deref(), Some("clean\n"));
}

#[tokio::test]
async fn a_program_that_ignores_sigterm_is_killed_with_its_children() {
    let bench = Bench::new();
    let script = "trap '' TERM; sleep 1000 & echo $! > $1/child; echo $$ > $1/pid; while :; do sleep 0.02; done";
    let handler = bench.shell(script);
    let error = cancel_once_started(&bench, &handler).await.unwrap_err();
    assert!(error.message.contains("SIGKILL"), "{error}");
    gone(&bench.read("child").unwrap()).await;
}

/// Returns when the program is gone.
async fn cancel_once_started(bench: &Bench, handler: &Arc<dyn Handler>) -> Result<Bytes, HandlerError> {
    let attempt = attempt("");
    let cancelled = attempt.cancelled.clone();
    let running = {
        let handler = handler.clone();
        tokio::spawn(async move { run(&handler, attempt).await })
    };
    let process = eventually("the program runs", LIMIT, async || bench.read("pid")).await;
    cancelled.cancel();
    let result = running.await.unwrap();
    assert!(!is_alive(&process), "it is gone when the handler returns");
    result
}

#[tokio::test]
async fn what_a_program_leaves_behind_is_killed_when_it_ends() {
    let bench = Bench::new();
    let script = "sleep 1000 & echo $! > $1/in-group; setsid sh -c 'echo $$ > $0/escaped; exec sleep 1000' $1 & \
                  while [ ! -s $1/escaped ]; do sleep 0.01; done; echo done";
    let handler = bench.shell(script);
    assert_eq!(run(&handler, attempt("")).await.unwrap(), "done\n");
    for name in ["in-group", "escaped"] {
        let process = bench.read(name).unwrap();
        assert!(!is_alive(&process), "{name}");
    }
}

#[tokio::test]
async fn an_attempt_that_is_torn_down_leaves_nothing() {
    let bench = Bench::new();
    let handler = bench.shell("echo $$ > $1/pid; exec sleep 1000");
    let running = tokio::spawn(async move { handler.run(attempt("")).await });
    let process = eventually("the program runs", LIMIT, async || bench.read("pid")).await;
    running.abort();
    gone(&process).await;
}

#[tokio::test]
async fn a_program_whose_guard_is_killed_is_killed() {
    let bench = Bench::new();
    let handler = bench.shell("echo $$ > $1/pid; echo $PPID > $1/guard; exec sleep 1000");
    let running = tokio::spawn(async move { run(&handler, attempt("")).await });
    let guard = eventually("the program runs", LIMIT, async || bench.read("guard")).await;
    kill(&guard);
    let error = running.await.unwrap().unwrap_err();
    assert!(error.message.contains("lost its guard"), "{error}");
    gone(&bench.read("pid").unwrap()).await;
}

fn kill(process: &str) {
    let process = rustix::process::Pid::from_raw(process.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn five_hundred_programs_leave_no_process_and_no_descriptor() {
    const AT_ONCE: usize = 8;
    let bench = Bench::new();
    let handler = bench.shell("cat");
    assert_eq!(run(&handler, attempt("warm")).await.unwrap(), "warm");
    // Other tests of this process come and go: what is counted is what these programs would leave.
    let marker = bench.directory.to_str().unwrap().to_owned();
    let start = std::time::Instant::now();
    for round in 0..500 / AT_ONCE {
        let runs = (0..AT_ONCE).map(|one| run(&handler, attempt(format!("{round}-{one}"))));
        for (one, result) in futures::future::join_all(runs).await.into_iter().enumerate() {
            assert_eq!(result.unwrap(), format!("{round}-{one}"));
        }
    }
    println!("{:?} a program, {AT_ONCE} at once", start.elapsed() / 500);
    eventually("no process of theirs is left", LIMIT, async || processes_with(&marker).is_empty().then_some(())).await;
    let sockets_and_pipes = eventually("their descriptors are closed", LIMIT, async || {
        let open = fs::read_dir("/proc/self/fd").unwrap().count();
        (open < 200).then_some(open)
    })
    .await;
    println!("{sockets_and_pipes} descriptors open in the whole test process");
}

/// Processes with this text on their command line.
fn processes_with(marker: &str) -> Vec<String> {
    let numbers = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let commands = numbers.filter_map(|number| {
        let command = fs::read(format!("/proc/{number}/cmdline")).ok()?;
        String::from_utf8_lossy(&command).contains(marker).then_some(number)
    });
    commands.collect()
}

/// Where the worker of the next test finds its directory.
const DIRECTORY: &str = "HERDSMAN_TEST_DIRECTORY";

#[tokio::test]
async fn a_worker_that_is_killed_leaves_neither_child_nor_grandchild() {
    let bench = Bench::new();
    let mut worker = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker_service::exec::the_worker_that_is_killed", "--ignored"])
        .env(DIRECTORY, &bench.directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let names = ["pid", "grandchild", "escaped"];
    let mut processes = Vec::new();
    for name in names {
        processes.push(eventually(name, LIMIT, async || bench.read(name)).await);
    }
    assert!(processes.iter().all(|process| is_alive(process)));
    worker.kill().await.unwrap();
    for process in &processes {
        gone(process).await;
    }
    let marker = bench.directory.to_str().unwrap().to_owned();
    eventually("its guards are gone", LIMIT, async || processes_with(&marker).is_empty().then_some(())).await;
}

/// Not a test: the worker of the test above, in a process of its own.
#[tokio::test]
#[ignore = "run by another test, in a process that is killed"]
async fn the_worker_that_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let bench = Bench { directory: directory.into(), _owner: None };
    let script = "trap '' TERM; sleep 1000 & echo $! > $1/grandchild; \
                  setsid sh -c 'echo $$ > $0/escaped; exec sleep 1000' $1 & echo $$ > $1/pid; wait; sleep 1000";
    let _ = bench.shell(script).run(attempt("")).await;
}
