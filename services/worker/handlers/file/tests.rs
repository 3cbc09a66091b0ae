use super::*;

fn loaded(text: &str) -> Result<Handlers, String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("handlers.toml");
    fs::write(&file, text).unwrap();
    load(&file, &Guard::program("/bin/true"))
        .map_err(|error| error.to_string().replace(directory.path().to_str().unwrap(), ""))
}

fn refusal(text: &str) -> String {
    loaded(text).err().expect("must be refused")
}

#[test]
fn a_whole_entry_is_loaded() {
    let handlers = loaded(
        r#"
        [handlers.wordcount]
        program = "/bin/sh"
        args = ["-c", "echo {task_id} {attempt} {kind} {queue} {{}}"]
        env = { LC_ALL = "C" }
        pass_env = ["PATH"]
        cwd = "/"
        grace = "250ms"
        "#,
    )
    .unwrap();
    assert_eq!(handlers.kinds().map(Kind::as_str).collect::<Vec<_>>(), ["wordcount"]);
}

#[test]
fn what_is_wrong_is_named_in_one_line_with_file_kind_and_key() {
    let entry = |line: &str| format!("[handlers.a]\nprogram = \"/bin/sh\"\n{line}\n");
    for (text, expected) in [
        ("[handlers.a\n".to_owned(), "/handlers.toml, line 1: "),
        (String::new(), "/handlers.toml: has no [handlers.<kind>]"),
        ("handlers = 3".to_owned(), "/handlers.toml: has no [handlers.<kind>]"),
        (format!("x = 1\n{}", entry("")), "/handlers.toml: unknown key \"x\""),
        ("[handlers.A]\nprogram = \"/bin/sh\"".to_owned(), "/handlers.toml: handlers.A: the kind must match"),
        ("[handlers.a]".to_owned(), "/handlers.toml: handlers.a: missing field `program`"),
        (entry("grce = \"5s\""), "/handlers.toml: handlers.a: unknown field `grce`, expected one of"),
        (entry("args = 3"), "/handlers.toml: handlers.a: invalid type: integer `3`"),
        (entry("args = [\"{payload}\"]"), "handlers.a: args: \"{payload}\": unknown placeholder {payload}"),
        (entry("args = [\"{task_id\"]"), "handlers.a: args: \"{task_id\": a { without its }"),
        (entry("args = [\"}\"]"), "handlers.a: args: \"}\": a } without its {"),
        (entry("env = { HERDSMAN_FENCE = \"1\" }"), "handlers.a: env: HERDSMAN_FENCE is set by Herdsman itself"),
        (entry("pass_env = [\"A=B\"]"), "handlers.a: pass_env: \"A=B\" is not the name"),
        (entry("cwd = \"/nowhere\""), "handlers.a: cwd: /nowhere is not the absolute path of a directory"),
        (entry("grace = \"soon\""), "handlers.a: grace: \"soon\": "),
        (entry("grace = \"2m\""), "handlers.a: grace: must be at most 30s, is 120s"),
        ("[handlers.a]\nprogram = \"sh\"".to_owned(), "handlers.a: program: \"sh\" is not an absolute path"),
        ("[handlers.a]\nprogram = \"/no/sh\"".to_owned(), "handlers.a: program: /no/sh: No such file"),
        ("[handlers.a]\nprogram = \"/etc/passwd\"".to_owned(), "handlers.a: program: /etc/passwd is not an executable"),
        ("[handlers.a]\nprogram = \"/bin\"".to_owned(), "handlers.a: program: /bin is not an executable"),
    ] {
        let refusal = refusal(&text);
        assert!(refusal.contains(expected), "{text}\n-> {refusal}");
        assert!(!refusal.contains('\n'), "{refusal}");
    }
}
