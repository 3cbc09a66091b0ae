//! What goes to stdout: for people, or one JSON object a line.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use super::exit::Failure;
use crate::wire::proto::{DESCRIPTORS, v1};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Human,
    Json,
}

/// A message that can be shown, by its name in the .proto.
pub(super) trait Shown: Message {
    const NAME: &str;
    /// Whether the JSON has what is zero or empty too. Not where something is left empty because it was not asked for.
    const IN_FULL: bool = false;
}

impl Shown for v1::Task {
    const NAME: &str = "herdsman.v1.Task";
}
impl Shown for v1::ExplainTaskResponse {
    const NAME: &str = "herdsman.v1.ExplainTaskResponse";
}

impl Shown for v1::ReadTaskOutputResponse {
    const NAME: &str = "herdsman.v1.ReadTaskOutputResponse";
}
impl Shown for v1::Worker {
    const NAME: &str = "herdsman.v1.Worker";
    const IN_FULL: bool = true;
}
impl Shown for v1::Queue {
    const NAME: &str = "herdsman.v1.Queue";
    const IN_FULL: bool = true;
}
impl Shown for v1::Cluster {
    const NAME: &str = "herdsman.v1.Cluster";
    const IN_FULL: bool = true;
}

/// Writes to stdout.
pub(super) struct Output {
    format: Format,
    stdout: io::Stdout,
    /// Stdout is a terminal.
    pub(super) terminal: bool,
    descriptors: std::sync::OnceLock<DescriptorPool>,
}

impl Output {
    pub(super) fn new(format: Format) -> Self {
        let stdout = io::stdout();
        Self { format, terminal: stdout.is_terminal(), stdout, descriptors: std::sync::OnceLock::new() }
    }

    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// One message as canonical proto JSON, on a line.
    pub(super) fn json<M: Shown>(&self, message: &M) -> Result<(), Failure> {
        let pool = self.descriptors.get_or_init(|| {
            DescriptorPool::decode(DESCRIPTORS).expect("the build wrote the descriptors from valid .proto files")
        });
        let descriptor = pool.get_message_by_name(M::NAME).expect("the name is in the .proto files");
        let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
            .expect("a message decodes by its own descriptor");
        let options = SerializeOptions::new().skip_default_fields(!M::IN_FULL);
        let mut line = serde_json::Serializer::new(Vec::new());
        dynamic.serialize_with_options(&mut line, &options).expect("a message has a JSON form");
        let mut line = line.into_inner();
        line.push(b'\n');
        self.raw(&line)
    }

    /// One line.
    pub(super) fn line(&self, text: impl std::fmt::Display) -> Result<(), Failure> {
        self.raw(format!("{text}\n").as_bytes())
    }

    /// Bytes as they are.
    pub(super) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::PipeClosed,
            _ => Failure::unable(format!("cannot write to stdout: {error}")),
        })
    }

    /// The result of a task, byte for byte; on a terminal a line of its own.
    pub(super) fn result(&self, result: &[u8]) -> Result<(), Failure> {
        self.raw(result)?;
        if self.terminal && !result.is_empty() && !result.ends_with(b"\n") { self.raw(b"\n") } else { Ok(()) }
    }

    /// Rows under their titles.
    pub(super) fn table(&self, titles: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING).set_header(titles.to_vec()).add_rows(rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.lines().try_for_each(|line| self.line(line.trim_end()))
    }

    /// Values under each other, each after its name; those that are empty are left out.
    pub(super) fn fields(&self, rows: &[(&str, String)]) -> Result<(), Failure> {
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
        let mut known = rows.iter().filter(|(_, value)| !value.is_empty());
        known.try_for_each(|(name, value)| self.line(format_args!("{name:<width$}{value}")))
    }
}
