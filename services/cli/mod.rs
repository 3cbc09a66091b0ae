//! The command line: parse, bind, run. It knows the doors of the services and the public API, and no rule about tasks.

mod act;
mod bench;
mod cluster;
mod dev;
mod drain;
mod exit;
mod explain;
mod filter;
mod follow;
mod health;
mod inspect;
mod list;
mod logs;
mod options;
mod output;
mod queue;
mod roles;
mod server;
mod submit;
mod tasks;
mod trio;
mod watch;

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};

use exit::Failure;
use output::{Format, Output};

/// Hand over a thousand tasks, sleep, and trust the answer.
#[derive(Debug, Parser)]
#[command(
    name = "herdsman",
    version,
    about = "A distributed task service: hand over a thousand tasks, sleep, and trust the answer",
    after_help = EXAMPLES,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// A verb that has something to say on stdout.
#[derive(Debug, Args)]
struct Told<V: Args> {
    #[command(flatten)]
    verb: V,
    /// Results for people, or as one JSON object a line (canonical proto JSON)
    #[arg(long, env = "HERDSMAN_OUTPUT", value_enum, default_value_t = Format::Human, hide_env_values = true)]
    output: Format,
}

impl<V: Args> Told<V> {
    fn parts(self) -> (V, Output) {
        (self.verb, Output::new(self.output))
    }
}

const EXAMPLES: &str = "\
Try it, with nothing installed:
  herdsman dev                                       a cluster in one process
  herdsman submit --kind echo --payload hi --watch   prints: hi
  herdsman list

A cluster, each line on a host of its own:
  herdsman master --zookeeper zk1:2181,zk2:2181,zk3:2181
  herdsman worker --zookeeper zk1:2181,zk2:2181,zk3:2181 --slots 8
  herdsman client --zookeeper zk1:2181,zk2:2181,zk3:2181

The same on three hosts, with one command each: herdsman node --help

Exit status:
  0  what was asked for came true
  1  it did not: the server refused, or a watched task failed or was cancelled
  2  it could not be tried: a wrong option, nobody answers, a port is taken

Logs go to stderr: for people on a terminal, JSON lines in a pipe; HERDSMAN_LOG filters them
(info, debug, herdsman=debug,info). Traces go to OTEL_EXPORTER_OTLP_ENDPOINT, if it is set.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole cluster in this one process, without ZooKeeper
    Dev(dev::Dev),
    /// Run a master: one of them leads, the others stand by
    Master(roles::Master),
    /// Run a worker: it runs the tasks
    Worker(roles::Worker),
    /// Run a client service: the front door that submitters talk to
    Client(roles::Client),
    /// Run all three in one process: on three machines, a whole cluster
    Node(roles::Node),
    /// Hand tasks over
    Submit(Told<submit::Submit>),
    /// Follow tasks to their end, and print the result
    Watch(Told<watch::Watch>),
    /// Show what a task writes to its log
    Logs(Told<logs::Logs>),
    /// Show tasks with their payload and result
    Get(Told<tasks::Get>),
    /// Say why tasks wait, or what became of them
    Explain(Told<explain::Explain>),
    /// List tasks
    List(Told<list::List>),
    /// Cancel tasks
    Cancel(Told<act::Cancel>),
    /// Run tasks that have ended once more, as new tasks
    Retry(Told<act::Retry>),
    /// Forget tasks that have ended
    Delete(Told<act::Delete>),
    /// List the workers
    Workers(Told<cluster::Workers>),
    /// Take workers out of service: they get nothing new
    Drain(Told<drain::Drain>),
    /// Put workers back into service
    Undrain(Told<drain::Undrain>),
    /// List the queues: what waits and runs in each, and what holds for it
    Queues(Told<queue::Queues>),
    /// Pause or resume a queue, or set its weight and its limits
    Queue(queue::Queue),
    /// Show who leads, and how much is going on
    Cluster(Told<cluster::Cluster>),
    /// Measure how fast a cluster is, and how near it comes to what its store can do
    Bench(Told<bench::Bench>),
    /// Decode what is in ZooKeeper; needs no master
    Inspect(Told<inspect::Inspect>),
    /// Ask a service whether it serves, for health checks: exit status 0 if it does
    Health(Told<health::Health>),
    /// Print the completions of a shell
    #[command(
        after_help = "For bash:\n  herdsman completions bash > ~/.local/share/bash-completion/completions/herdsman"
    )]
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// Does what the process was started for.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return Failure::unable(wrong_option(&error)).tell();
        }
        // What was asked for, or nothing was.
        Err(help) => help.exit(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::unable(format!("cannot start: {error}")).tell(),
    };
    let done = runtime.block_on(cli.run());
    // A read of stdin that nobody waits for any more must not hold the exit up.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

/// One line out of clap's page.
fn wrong_option(error: &clap::Error) -> String {
    let page = error.render().to_string();
    let before_usage = page.split("Usage:").next().unwrap_or_default();
    let problem = before_usage.split("For more information").next().unwrap_or_default().trim();
    format!("{}; --help explains", problem.trim_start_matches("error:"))
}

impl Cli {
    async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Dev(dev) => dev.run().await,
            Command::Master(master) => master.run().await,
            Command::Worker(worker) => worker.run().await,
            Command::Client(client) => client.run().await,
            Command::Node(node) => node.run().await,
            Command::Submit(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Watch(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Logs(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Get(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Explain(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::List(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Cancel(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Retry(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Delete(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Workers(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Drain(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Undrain(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Queues(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Queue(queue) => queue.run().await,
            Command::Cluster(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Bench(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Inspect(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Health(told) => {
                let (verb, output) = told.parts();
                verb.run(&output).await
            }
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "herdsman", &mut script);
                Output::new(Format::Human).raw(&script)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_line_of_an_example_is_broken_in_two() {
        /// clap breaks lines at 100 columns, or where a narrower terminal ends.
        const WIDTH: usize = 97;
        let cli = Cli::command();
        for command in cli.get_subcommands().chain([&cli]) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let long: Vec<_> = help.lines().filter(|line| line.chars().count() > WIDTH).collect();
            assert!(long.is_empty(), "{}: {long:#?}", command.get_name());
        }
    }

    #[test]
    fn every_option_has_help_and_an_environment_variable_of_its_own_verb() {
        // What an exec handler finds in its environment; a submit from inside a handler must not take it for its own.
        let handlers_own = ["HERDSMAN_TASK_ID", "HERDSMAN_ATTEMPT", "HERDSMAN_FENCE", "HERDSMAN_PROGRESS_FD"];
        let cli = Cli::command();
        let verbs = cli.get_subcommands();
        for command in verbs.flat_map(|verb| std::iter::once(verb).chain(verb.get_subcommands())) {
            for option in command.get_opts() {
                let name = format!("{} --{}", command.get_name(), option.get_id());
                assert!(option.get_help().is_some(), "{name} has no help");
                let variable = option.get_env().unwrap_or_else(|| panic!("{name} has no environment variable"));
                let variable = variable.to_str().unwrap();
                assert!(variable.starts_with("HERDSMAN_"), "{name}: {variable}");
                assert!(!handlers_own.contains(&variable), "{name}: {variable}");
            }
        }
    }
}
