//! The expander: one pass over the text, recursive only in the braces of `${}`.

use std::collections::BTreeSet;

use super::{
    Expansion, Lookup, MAX_DEPTH, MAX_EXPANSION, WordError, WordErrorKind, WordList,
    pattern::{Extent, Pattern},
};

/// What of the text is left as it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    /// Quotes group but stay.
    pub(super) raw_quotes: bool,
    /// Escapes protect but stay.
    pub(super) raw_escapes: bool,
    /// Quotes are characters like others.
    pub(super) plain_quotes: bool,
    /// Variables that are not set stay.
    pub(super) keep_unset: bool,
    /// Blanks after `<<` do not end the word.
    pub(super) heredocs: bool,
    /// Bytes that a result may have.
    pub(super) limit: usize,
}

impl Default for Mode {
    fn default() -> Self {
        Self {
            raw_quotes: false,
            raw_escapes: false,
            plain_quotes: false,
            keep_unset: false,
            heredocs: false,
            limit: MAX_EXPANSION,
        }
    }
}

/// Reads a text once.
pub(super) struct Expander<'t, 'l, 'v> {
    text: &'t str,
    at: usize,
    escape: char,
    mode: Mode,
    depth: usize,
    lookup: &'l Lookup<'v>,
    used: BTreeSet<String>,
    unset: BTreeSet<String>,
    undefined: BTreeSet<String>,
}

impl<'t, 'l, 'v> Expander<'t, 'l, 'v> {
    pub(super) fn new(text: &'t str, escape: char, mode: Mode, lookup: &'l Lookup<'v>) -> Self {
        let (used, unset, undefined) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { text, at: 0, escape, mode, depth: 0, lookup, used, unset, undefined }
    }

    pub(super) fn text(mut self) -> Result<Expansion, WordError> {
        let mut text = Text { text: String::new(), limit: self.mode.limit };
        self.until(None, self.mode.raw_escapes, &mut text)?;
        Ok(Expansion { text: text.text, used: self.used, unset: self.unset, undefined: self.undefined })
    }

    pub(super) fn words(mut self) -> Result<WordList, WordError> {
        let mut words = Words { words: Vec::new(), word: String::new(), length: 0, limit: self.mode.limit };
        self.until(None, self.mode.raw_escapes, &mut words)?;
        words.end();
        Ok(WordList { words: words.words, used: self.used, unset: self.unset, undefined: self.undefined })
    }

    /// Expands up to `stop`, which is consumed, or to the end of the text.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool, out: &mut dyn Output) -> Result<(), WordError> {
        let outer = std::mem::replace(&mut self.mode.raw_escapes, raw_escapes);
        let result = self.until_stop(stop, out);
        self.mode.raw_escapes = outer;
        result
    }

    fn until_stop(&mut self, stop: Option<char>, out: &mut dyn Output) -> Result<(), WordError> {
        while let Some(char) = self.peek() {
            if stop == Some(char) {
                self.next();
                return Ok(());
            }
            let fits = match char {
                '\'' if !self.mode.plain_quotes => out.quoted(&self.single_quoted()?),
                '"' if !self.mode.plain_quotes => out.quoted(&self.double_quoted()?),
                '$' => out.unquoted(&self.dollar()?),
                '<' if self.mode.heredocs => out.quoted(self.heredoc()),
                _ if char == self.escape => {
                    self.next();
                    // An escape at the end of the text escapes nothing and is dropped.
                    let raw = !self.mode.raw_escapes || out.quoted(char.encode_utf8(&mut [0; 4]));
                    raw && self.next().is_none_or(|next| out.quoted(next.encode_utf8(&mut [0; 4])))
                }
                _ => {
                    self.next();
                    out.unquoted(char.encode_utf8(&mut [0; 4]))
                }
            };
            if !fits {
                return Err(self.error(WordErrorKind::TooLong));
            }
        }
        if stop.is_some() { Err(self.error(WordErrorKind::MissingBrace)) } else { Ok(()) }
    }

    /// `'...'`: everything as it is.
    fn single_quoted(&mut self) -> Result<String, WordError> {
        let start = self.at;
        self.next();
        let Some(length) = self.text[self.at..].find('\'') else {
            self.at = start;
            return Err(self.error(WordErrorKind::SingleQuote));
        };
        let end = self.at + length;
        let text = if self.mode.raw_quotes { &self.text[start..=end] } else { &self.text[self.at..end] };
        self.at = end + 1;
        Ok(text.to_owned())
    }

    /// `"..."`: variables are expanded, and the escape character works before `"`, `$` and itself.
    fn double_quoted(&mut self) -> Result<String, WordError> {
        let start = self.at;
        let mut out = String::new();
        self.next();
        if self.mode.raw_quotes {
            out.push('"');
        }
        loop {
            if out.len() > self.mode.limit {
                return Err(self.error(WordErrorKind::TooLong));
            }
            match self.peek() {
                None => {
                    self.at = start;
                    return Err(self.error(WordErrorKind::DoubleQuote));
                }
                Some('"') => {
                    self.next();
                    if self.mode.raw_quotes {
                        out.push('"');
                    }
                    return Ok(out);
                }
                Some('$') => out.push_str(&self.dollar()?),
                Some(char) if char == self.escape => {
                    self.next();
                    if self.mode.raw_escapes {
                        out.push(char);
                    }
                    match self.peek() {
                        None => {}
                        Some(next) if next == '"' || next == '$' || next == self.escape => {
                            self.next();
                            out.push(next);
                        }
                        // The escape escapes nothing and stands for itself.
                        Some(_) => out.push(char),
                    }
                }
                Some(char) => {
                    self.next();
                    out.push(char);
                }
            }
        }
    }

    /// `$name` and `${...}`; a `$` that begins neither stands for itself.
    fn dollar(&mut self) -> Result<String, WordError> {
        let start = self.at;
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.needed(name) {
                None if self.mode.keep_unset => format!("${name}"),
                value => value.unwrap_or_default().to_owned(),
            });
        }
        self.next();
        if self.depth == MAX_DEPTH {
            return Err(self.error(WordErrorKind::TooDeep));
        }
        self.depth += 1;
        let result = self.braces();
        self.depth -= 1;
        result.map_err(|mut error| {
            // What is missing is missing from here; any other fault has its own place.
            if matches!(error.kind, WordErrorKind::MissingBrace | WordErrorKind::MissingSlash) {
                error.offset = start;
            }
            error
        })
    }

    /// What follows `${`, up to and with `}`.
    fn braces(&mut self) -> Result<String, WordError> {
        let name = match self.peek() {
            None => return Err(self.error(WordErrorKind::MissingBrace)),
            Some('{' | '}' | ':') => return Err(self.error(WordErrorKind::BadSubstitution)),
            Some(_) => self.name(),
        };
        if name.is_empty() {
            return Err(self.error(WordErrorKind::BadSubstitution));
        }
        let operator = self.at;
        match self.next() {
            None => Err(self.error(WordErrorKind::MissingBrace)),
            Some('}') => Ok(match self.needed(name) {
                None if self.mode.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default().to_owned(),
            }),
            Some(':') => {
                let modifier = self.next().ok_or_else(|| self.error(WordErrorKind::MissingBrace))?;
                let written = &self.text[operator..self.at];
                // A pattern is cut off whether there is a value or not, so it takes no colon.
                if matches!(modifier, '+' | '-' | '?') {
                    return self.modified(name, written, modifier);
                }
                self.at = operator;
                Err(self.error(WordErrorKind::Modifier(written.to_owned())))
            }
            Some(modifier @ ('+' | '-' | '?' | '#' | '%')) => {
                self.modified(name, &self.text[operator..self.at], modifier)
            }
            Some('/') => self.replaced(name),
            Some(other) => {
                self.at = operator;
                Err(self.error(WordErrorKind::Modifier(other.to_string())))
            }
        }
    }

    /// `${name[:]Mword}`, from the word on. With a colon an empty value counts as none.
    fn modified(&mut self, name: &str, operator: &str, modifier: char) -> Result<String, WordError> {
        let at = self.at;
        let cuts = matches!(modifier, '#' | '%');
        let word = self.nested('}', cuts)?;
        let value = if cuts { self.needed(name) } else { self.value(name) };
        if value.is_none() && self.mode.keep_unset {
            return Ok(format!("${{{name}{operator}{word}}}"));
        }
        let present = value.filter(|value| !(operator.starts_with(':') && value.is_empty()));
        let fail = |kind| WordError { kind, offset: at };
        match modifier {
            '-' => Ok(present.map_or(word, str::to_owned)),
            '+' => Ok(present.map(|_| word).unwrap_or_default()),
            '?' => match present {
                Some(value) => Ok(value.to_owned()),
                None => {
                    let default =
                        if value.is_some() { "is not allowed to be empty" } else { "is not allowed to be unset" };
                    let message = if word.is_empty() { default.to_owned() } else { word };
                    Err(fail(WordErrorKind::Required { name: name.to_owned(), message }))
                }
            },
            '#' | '%' => {
                let (pattern, extent) = match word.strip_prefix(modifier) {
                    Some(rest) => (rest, Extent::Longest),
                    None => (&*word, Extent::Shortest),
                };
                let value = value.unwrap_or_default();
                let pattern = Pattern::new(pattern, value).map_err(fail)?;
                let rest = if modifier == '#' {
                    pattern.without_prefix(value, extent)
                } else {
                    pattern.without_suffix(value, extent)
                };
                Ok(rest.to_owned())
            }
            _ => Err(fail(WordErrorKind::Modifier(operator.to_owned()))),
        }
    }

    /// `${name/pattern/replacement}`, from the first slash on.
    fn replaced(&mut self, name: &str) -> Result<String, WordError> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let at = self.at;
        let pattern = self.nested('/', true).map_err(|mut error| {
            if error.kind == WordErrorKind::MissingBrace {
                error.kind = WordErrorKind::MissingSlash;
            }
            error
        })?;
        let replacement = self.nested('}', true)?;
        let value = self.needed(name);
        if value.is_none() && self.mode.keep_unset {
            let slashes = if all { "//" } else { "/" };
            return Ok(format!("${{{name}{slashes}{pattern}/{replacement}}}"));
        }
        let value = value.unwrap_or_default();
        let compiled = Pattern::new(&pattern, value).map_err(|kind| WordError { kind, offset: at })?;
        compiled.replace(value, &replacement, all, self.mode.limit).ok_or_else(|| self.error(WordErrorKind::TooLong))
    }

    fn nested(&mut self, stop: char, raw_escapes: bool) -> Result<String, WordError> {
        let mut out = Text { text: String::new(), limit: self.mode.limit };
        self.until(Some(stop), raw_escapes, &mut out)?;
        Ok(out.text)
    }

    /// A name: a number, one of the shell's special parameters, or letters, digits and underscores.
    fn name(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let length = match rest.chars().next() {
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            Some('0'..='9') => rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len()),
            _ => rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len()),
        };
        self.at += length;
        &rest[..length]
    }

    /// `<<` with the blanks after it, or `<`.
    fn heredoc(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let length = match rest.strip_prefix("<<") {
            Some(word) => rest.len() - word.trim_start_matches([' ', '\t', '\r', '\n']).len(),
            None => 1,
        };
        self.at += length;
        &rest[..length]
    }

    /// The value of a variable that nothing stands in for when it is not set.
    fn needed(&mut self, name: &str) -> Option<&'v str> {
        let value = self.value(name);
        if value.is_none() && !self.undefined.contains(name) {
            self.undefined.insert(name.to_owned());
        }
        value
    }

    fn value(&mut self, name: &str) -> Option<&'v str> {
        let value = (self.lookup)(name);
        let set = if value.is_some() { &mut self.used } else { &mut self.unset };
        if !set.contains(name) {
            set.insert(name.to_owned());
        }
        value
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.at += char.len_utf8();
        Some(char)
    }

    fn error(&self, kind: WordErrorKind) -> WordError {
        WordError { kind, offset: self.at }
    }
}

/// Where expanded text goes. Both methods tell whether it fitted.
trait Output {
    /// Text that never splits words.
    fn quoted(&mut self, text: &str) -> bool;
    /// Text that does, at its blanks.
    fn unquoted(&mut self, text: &str) -> bool;
}

struct Text {
    text: String,
    limit: usize,
}

impl Output for Text {
    fn quoted(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        self.text.len() <= self.limit
    }

    fn unquoted(&mut self, text: &str) -> bool {
        self.quoted(text)
    }
}

struct Words {
    words: Vec<String>,
    word: String,
    length: usize,
    limit: usize,
}

impl Words {
    /// Ends the word; a word of nothing but empty quotes is none.
    fn end(&mut self) {
        if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }
}

impl Output for Words {
    fn quoted(&mut self, text: &str) -> bool {
        self.word.push_str(text);
        self.length += text.len();
        self.length <= self.limit
    }

    fn unquoted(&mut self, text: &str) -> bool {
        for char in text.chars() {
            if char.is_whitespace() {
                self.end();
            } else {
                self.word.push(char);
            }
        }
        self.length += text.len();
        self.length <= self.limit
    }
}
