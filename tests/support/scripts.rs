//! Programs that a test writes, run by the workers that it starts.

use std::{fs, path::PathBuf};

/// What a worker is given by `--handlers`: the payload of a task of kind `script` is the directory of a [`Script`].
const HANDLERS: &str = r#"
[handlers.script]
program = "/bin/sh"
args = ["-c", "dir=$(cat); . $dir/script"]
pass_env = ["PATH"]
grace = "300ms"
"#;

/// The file of handlers, as long as it lives.
pub struct Handlers(tempfile::TempDir);

impl Handlers {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("handlers.toml"), HANDLERS).unwrap();
        Self(directory)
    }

    /// For `--handlers`.
    pub fn file(&self) -> String {
        self.0.path().join("handlers.toml").display().to_string()
    }
}

/// A shell script, and a directory, `$dir`, by which it and the test tell each other things.
pub struct Script(tempfile::TempDir);

/// A line of a script that waits until the test lets it go on: `until_told go`.
const UNTIL_TOLD: &str = "until_told() { while [ ! -e $dir/$1 ]; do sleep 0.02; done; }\n";

impl Script {
    pub fn new(text: &str) -> Self {
        let script = Self(tempfile::tempdir().unwrap());
        fs::write(script.path("script"), format!("{UNTIL_TOLD}{text}")).unwrap();
        script
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Of a task that runs it.
    pub fn payload(&self) -> String {
        self.0.path().display().to_string()
    }

    /// Lets the script go on that waits for this.
    pub fn tell(&self, name: &str) {
        fs::write(self.path(name), "").unwrap();
    }
}
