//! Reads a Rust source as far as the rules need it: which paths it names on which line, resolved from the root of the
//! crate. It knows no types and no macros.

use std::collections::BTreeMap;

/// One word or sign of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

impl Token {
    pub fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// A path that a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Of one of our own modules: `crate`, then the way from the root. Else the way from an external crate, or from a
    /// name that is not further known.
    pub segments: Vec<String>,
    pub line: usize,
    /// In a `#[cfg(test)]` module.
    pub in_test: bool,
}

/// A source, taken apart.
pub struct Source {
    pub tokens: Vec<Token>,
    pub paths: Vec<Path>,
    /// Modules that are declared here for tests only: `#[cfg(test)] mod name;`.
    pub test_modules: Vec<String>,
}

impl Source {
    /// `module` is the way of the file's module from the root: `["store", "embedded"]`.
    pub fn read(module: &[String], text: &str) -> Self {
        let tokens = tokens(text);
        let mut reader = Reader::new(module, &tokens);
        reader.read();
        let Reader { paths, test_modules, .. } = reader;
        Self { tokens, paths, test_modules }
    }
}

/// The words and signs of a source, without comments and without what is in literals.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let end = match (chars[at], chars.get(at + 1)) {
            ('/', Some('/')) => find(&chars, at, &['\n']),
            ('/', Some('*')) => end_of_comment(&chars, at),
            ('"', _) => end_of_text(&chars, at + 1, 0, true),
            ('\'', _) => end_of_char(&chars, at),
            (c, _) if c.is_alphanumeric() || c == '_' => {
                let end = (at..chars.len()).find(|&i| !chars[i].is_alphanumeric() && chars[i] != '_');
                let end = end.unwrap_or(chars.len());
                let word: String = chars[at..end].iter().collect();
                end_of_prefixed_text(&word, &chars, end).unwrap_or_else(|| {
                    tokens.push(Token { text: word, line });
                    end
                })
            }
            (':', Some(':')) => {
                tokens.push(Token { text: "::".into(), line });
                at + 2
            }
            (c, _) => {
                if !c.is_whitespace() {
                    tokens.push(Token { text: c.into(), line });
                }
                at + 1
            }
        };
        line += chars[at..end].iter().filter(|&&c| c == '\n').count();
        at = end;
    }
    tokens
}

fn find(chars: &[char], from: usize, what: &[char]) -> usize {
    (from..chars.len()).find(|&at| chars[at..].starts_with(what)).unwrap_or(chars.len())
}

/// Block comments nest.
fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < chars.len() {
        if chars[at..].starts_with(&['/', '*']) {
            depth += 1;
            at += 2;
        } else if chars[at..].starts_with(&['*', '/']) {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The end of a text literal whose first character is at `from`, that closes with a quote and `hashes` hashes.
fn end_of_text(chars: &[char], from: usize, hashes: usize, escapes: bool) -> usize {
    let mut at = from;
    while at < chars.len() {
        match chars[at] {
            '\\' if escapes => at += 2,
            '"' if chars[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes => return at + 1 + hashes,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `r"…"`, `br#"…"#`, `b"…"`, `c"…"`, `b'x'`: None if `word` is not the prefix of a literal.
fn end_of_prefixed_text(word: &str, chars: &[char], end: usize) -> Option<usize> {
    let raw = matches!(word, "r" | "br" | "cr");
    if !raw && !matches!(word, "b" | "c") {
        return None;
    }
    let hashes = if raw { chars[end..].iter().take_while(|&&c| c == '#').count() } else { 0 };
    match chars.get(end + hashes) {
        Some('"') => Some(end_of_text(chars, end + hashes + 1, hashes, !raw)),
        Some('\'') if word == "b" => Some(end_of_char(chars, end)),
        _ => None,
    }
}

/// A character, or a lifetime, of which only the quote is taken.
fn end_of_char(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => find(chars, start + 3, &['\'']) + 1,
        (Some(_), Some('\'')) => start + 3,
        _ => start + 1,
    }
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    /// Where the reader is: the module, and for each one opened inline, the depth of braces outside it.
    module: Vec<String>,
    inline: Vec<(usize, bool)>,
    depth: usize,
    /// What a name stands for in this file.
    names: BTreeMap<String, Vec<String>>,
    paths: Vec<Path>,
    test_modules: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(module: &[String], tokens: &'a [Token]) -> Self {
        Self {
            tokens,
            at: 0,
            module: module.to_vec(),
            inline: Vec::new(),
            depth: 0,
            names: BTreeMap::new(),
            paths: Vec::new(),
            test_modules: Vec::new(),
        }
    }

    /// Twice, because a name may be used before it is imported.
    fn read(&mut self) {
        self.pass();
        (self.at, self.depth) = (0, 0);
        self.paths.clear();
        self.test_modules.clear();
        self.pass();
    }

    fn pass(&mut self) {
        while let Some(token) = self.tokens.get(self.at) {
            match token.text.as_str() {
                "mod" if self.peek(1).is_some_and(Token::is_name) => self.module_item(),
                // `use<'a>` is no import.
                "use" if !self.next_is(1, "<") => self.import(),
                "{" => {
                    self.depth += 1;
                    self.at += 1;
                }
                "}" => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.inline.last().is_some_and(|&(outside, _)| outside == self.depth) {
                        self.inline.pop();
                        self.module.pop();
                    }
                    self.at += 1;
                }
                _ if token.is_name() || token.text == "::" => self.inline_path(),
                _ => self.at += 1,
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<&'a Token> {
        self.tokens.get(self.at + ahead)
    }

    fn next_is(&self, ahead: usize, text: &str) -> bool {
        self.peek(ahead).is_some_and(|token| token.text == text)
    }

    fn in_test(&self) -> bool {
        self.inline.iter().any(|&(_, test)| test)
    }

    fn module_item(&mut self) {
        let name = self.tokens[self.at + 1].text.clone();
        let test = self.is_for_tests();
        let whole = [from_root(&self.module), vec![name.clone()]].concat();
        self.names.insert(name.clone(), whole);
        if self.next_is(2, "{") {
            self.inline.push((self.depth, test));
            self.module.push(name);
            self.depth += 1;
        } else if test {
            self.test_modules.push(name);
        }
        self.at += 3;
    }

    /// Whether `#[cfg(test)]` stands before the item, other attributes and its visibility between them or not.
    fn is_for_tests(&self) -> bool {
        let before: Vec<_> = self.tokens[..self.at].iter().map(|token| token.text.as_str()).collect();
        let item = before.iter().rposition(|text| matches!(*text, ";" | "{" | "}")).map_or(0, |at| at + 1);
        before[item..].windows(4).any(|words| words == ["cfg", "(", "test", ")"])
    }

    fn import(&mut self) {
        self.at += 1;
        let mut prefix = Vec::new();
        if self.next_is(0, "::") {
            self.at += 1;
        }
        self.import_tree(&mut prefix);
    }

    /// One branch of an import: up to a comma, a closing brace or the end.
    fn import_tree(&mut self, prefix: &mut Vec<String>) {
        let own = prefix.len();
        let mut line = self.peek(0).map_or(0, |token| token.line);
        while let Some(token) = self.peek(0) {
            self.at += 1;
            match token.text.as_str() {
                "{" => {
                    while !self.next_is(0, "}") && self.peek(0).is_some() {
                        self.import_tree(prefix);
                        if self.next_is(0, ",") {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    prefix.truncate(own);
                    return;
                }
                "::" => {}
                "," | "}" | ";" | "as" => {
                    self.at -= 1;
                    break;
                }
                text => {
                    line = token.line;
                    prefix.push(text.into());
                }
            }
        }
        let mut leaf = prefix.clone();
        if leaf.len() > 1 && leaf.last().is_some_and(|last| last == "self") {
            leaf.pop();
        }
        prefix.truncate(own);
        let mut name = leaf.last().cloned();
        if self.next_is(0, "as") {
            name = self.peek(1).map(|token| token.text.clone());
            self.at += 2;
        }
        let segments = self.resolve(&leaf);
        if let Some(name) = name.filter(|name| name != "*" && name != "_") {
            self.names.insert(name, segments.clone());
        }
        self.paths.push(Path { segments, line, in_test: self.in_test() });
    }

    /// A path in the code: `a::b::c`. A single name says nothing and is passed over.
    fn inline_path(&mut self) {
        let line = self.tokens[self.at].line;
        let after_brackets = self.at > 0 && self.tokens[self.at - 1].text == ">";
        let from_outside = self.next_is(0, "::");
        if from_outside {
            self.at += 1;
        }
        let mut segments = Vec::new();
        while let Some(token) = self.peek(0).filter(|token| token.is_name()) {
            segments.push(token.text.clone());
            self.at += 1;
            if !self.next_is(0, "::") {
                break;
            }
            self.at += 1;
        }
        // `Vec::<u8>::new`: what follows the brackets belongs to what is before them.
        if segments.len() > 1 && !(from_outside && after_brackets) {
            let segments = if from_outside { segments } else { self.resolve(&segments) };
            self.paths.push(Path { segments, line, in_test: self.in_test() });
        }
    }

    fn resolve(&self, path: &[String]) -> Vec<String> {
        let Some(first) = path.first() else { return Vec::new() };
        match first.as_str() {
            "crate" => path.to_vec(),
            "self" => [from_root(&self.module), path[1..].to_vec()].concat(),
            "super" => {
                let ups = path.iter().take_while(|segment| *segment == "super").count();
                let kept = self.module.len().saturating_sub(ups);
                [from_root(&self.module[..kept]), path[ups..].to_vec()].concat()
            }
            name => match self.names.get(name) {
                // A name that stands for itself, as in `use std;`, is no detour.
                Some(whole) if whole.as_slice() != [name] => [whole.clone(), path[1..].to_vec()].concat(),
                _ => path.to_vec(),
            },
        }
    }
}

fn from_root(module: &[String]) -> Vec<String> {
    std::iter::once("crate".to_owned()).chain(module.iter().cloned()).collect()
}
