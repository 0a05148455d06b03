//! `COPY` and `ADD`: what goes where, from which tree.

use std::collections::BTreeMap;

use super::{
    budget,
    error::{PlanError, Problem},
    expand::Words,
    graph::{Chmod, Copy, Files, Operation, Origin, Unpack},
    mode::Mode,
    path,
    stage::{Builder, State},
    stages::{Source, Task},
};
use crate::{
    dockerfile::{self, Heredoc, Span, Spanned},
    lint::Rule,
    remote::{self, Location, Wanted, hide_password},
};

impl Builder<'_, '_> {
    pub(super) fn copy(
        &mut self,
        stage: usize,
        state: &mut State,
        task: &Task<'_>,
        copy: &dockerfile::Copy,
    ) -> Result<(), PlanError> {
        let from = match &copy.from {
            None => Files::Context,
            Some(from) => self.source(stage, from, task.span(from.span))?,
        };
        let words = self.words(state, task);
        let mut sources = Vec::new();
        for word in &copy.sources {
            let source = words.word(word)?;
            if let Ok(Some(location)) = Location::parse(&source) {
                let kind = match location {
                    Location::Http(_) => "URL",
                    Location::Git(_) => "git repository",
                };
                let message = format!("COPY takes no {kind}; ADD does");
                return Err(Problem::NotAllowed(message).at(task.span(word.span)));
            }
            sources.push(source);
        }
        let transfer = Transfer {
            sources,
            heredocs: &copy.heredocs,
            destination: &copy.destination,
            chown: copy.chown.as_ref(),
            chmod: copy.chmod.as_ref(),
            exclude: &copy.exclude,
        };
        let (operation, shown) = transfer.copy(state, task, &words, from)?;
        self.undefined(state, task, words);
        self.files(state, task, "COPY", Copy { link: copy.link, parents: copy.parents, ..operation }, &shown)
    }

    /// What `--from` and `from=` name.
    pub(super) fn source(&self, stage: usize, from: &str, span: Span) -> Result<Files, PlanError> {
        let source = self.shared.stages.source(self.shared.request, stage, from);
        Ok(match source.map_err(|problem| problem.at(span))? {
            Source::Context(name) => Files::Named(name),
            Source::Stage(source) => Files::Tree(self.built[&source].origin.clone()),
            Source::Image(image) if image.name == "scratch" => Files::Tree(Origin::Scratch),
            Source::Image(image) => Files::Tree(Origin::Image(image)),
        })
    }

    pub(super) fn add(&mut self, state: &mut State, task: &Task<'_>, add: &dockerfile::Add) -> Result<(), PlanError> {
        let words = self.words(state, task);
        let (mut sources, mut remotes) = (Vec::new(), BTreeMap::new());
        for word in &add.sources {
            let source = words.word(word)?;
            match Location::parse(&source) {
                Ok(None) => {}
                Ok(Some(location)) => drop(remotes.insert(source.clone(), location)),
                Err(reason) => {
                    let message = format!("`{}` cannot be fetched: {reason}", hide_password(&source));
                    return Err(Problem::NotAllowed(message).at(task.span(word.span)));
                }
            }
            sources.push(source);
        }
        let checksum = match &add.checksum {
            None => None,
            Some(word) => {
                let checksum = words.word(word)?;
                let checked = match (&sources[..], remotes.values().next()) {
                    ([_], Some(location)) => check_sum(location, &checksum),
                    ([_], None) => {
                        Err("--checksum is for a URL or a git repository, not for files of the context".to_owned())
                    }
                    _ => Err("--checksum is for one source alone; give each an ADD of its own".to_owned()),
                };
                checked.map_err(|message| Problem::NotAllowed(message).at(task.span(word.span)))?;
                Some(checksum)
            }
        };
        let transfer = Transfer {
            sources,
            heredocs: &add.heredocs,
            destination: &add.destination,
            chown: add.chown.as_ref(),
            chmod: add.chmod.as_ref(),
            exclude: &add.exclude,
        };
        let (copy, shown) = transfer.copy(state, task, &words, Files::Context)?;
        // Archives from URLs are what their authors meant to be kept, unless the Dockerfile says otherwise.
        let unpack = Unpack { local: add.unpack.unwrap_or(true), remote: add.unpack.unwrap_or(false) };
        let wanted = Wanted { checksum, keep_git_dir: add.keep_git_dir };
        let operation = Copy { link: add.link, unpack, remotes, wanted, ..copy };
        self.undefined(state, task, words);
        self.files(state, task, "ADD", operation, &shown)
    }

    /// Reports sources that the context leaves out. Rules with exceptions are not looked through: what they leave in
    /// below a source decides.
    fn ignored<'s>(&self, task: &Task<'_>, name: &str, sources: impl Iterator<Item = &'s String>) {
        let Some(ignore) = self.shared.request.ignore.filter(|ignore| !ignore.has_exceptions()) else { return };
        let capital = if name == "ADD" { "Add" } else { "Copy" };
        for source in sources {
            let path = path::absolute("/", source);
            if path != "/" && ignore.excludes(&path.as_bytes()[1..]) {
                self.report(Rule::CopyIgnoredFile, task, task.statement.span, || {
                    format!("{capital} of `{source}`, which .dockerignore leaves out")
                });
            }
        }
    }

    /// `shown` is the destination as the Dockerfile has it, variables expanded.
    fn files(
        &mut self,
        state: &mut State,
        task: &Task<'_>,
        name: &str,
        copy: Copy,
        shown: &str,
    ) -> Result<(), PlanError> {
        if copy.from == Files::Context {
            let local = copy.sources.iter().filter(|source| !copy.remotes.contains_key(*source));
            self.ignored(task, name, local);
        }
        let mut words = vec![name.to_owned()];
        words.extend(copy.chown.iter().map(|owner| format!("--chown={owner}")));
        words.extend(copy.chmod.iter().map(|chmod| format!("--chmod={}", chmod.written)));
        words.extend(copy.sources.iter().map(|source| hide_password(source)));
        words.extend(copy.inline.iter().map(|(name, _)| format!("<<{name}")));
        words.push(shown.to_owned());
        self.step(state, task, words.join(" "), Operation::Copy(copy))
    }
}

/// What COPY and ADD have in common, before expansion.
struct Transfer<'w> {
    /// Expanded already: ADD looks at them first.
    sources: Vec<String>,
    heredocs: &'w [Heredoc],
    destination: &'w Spanned<String>,
    chown: Option<&'w Spanned<String>>,
    chmod: Option<&'w Spanned<String>>,
    exclude: &'w [Spanned<String>],
}

impl Transfer<'_> {
    /// The operation, and the destination as it is shown.
    fn copy(
        self,
        state: &State,
        task: &Task<'_>,
        words: &Words<'_, '_>,
        from: Files,
    ) -> Result<(Copy, String), PlanError> {
        let mut inline = Vec::new();
        for heredoc in self.heredocs {
            let body = heredoc.body();
            let body = if heredoc.expand { words.body(&body, heredoc.span)? } else { body.into_owned() };
            inline.push((heredoc.name.clone(), body.into_bytes()));
        }
        let shown = words.word(self.destination)?;
        let destination = path::destination(&state.built.config.config.working_dir, &shown);
        for path in self.sources.iter().chain([&destination]) {
            budget::path(path).map_err(|problem| problem.at(task.span(task.statement.span)))?;
        }
        if self.sources.len() + inline.len() > 1 && !destination.ends_with('/') {
            let span = task.span(self.destination.span);
            return Err(Problem::DestinationNotDirectory(destination).at(span));
        }
        let optional = |word: Option<&Spanned<String>>| word.map(|word| words.word(word)).transpose();
        let chmod = match (optional(self.chmod)?.filter(|mode| !mode.is_empty()), self.chmod) {
            (Some(written), Some(word)) => {
                let expected = "octal, such as 755, or symbolic, such as u+x";
                let wrong = |value: &str| Problem::Value { value: value.to_owned(), expected }.at(task.span(word.span));
                let mode = Mode::parse(&written).ok_or_else(|| wrong(&written))?;
                Some(Chmod { written, mode })
            }
            _ => None,
        };
        let copy = Copy {
            from,
            sources: self.sources,
            inline,
            destination,
            chown: optional(self.chown)?.filter(|owner| !owner.is_empty()),
            chmod,
            exclude: self.exclude.iter().map(|word| words.word(word)).collect::<Result<_, _>>()?,
            remotes: BTreeMap::new(),
            wanted: Wanted::default(),
            link: false,
            parents: false,
            unpack: Unpack::default(),
        };
        Ok((copy, shown))
    }
}

/// Whether `--checksum` can be that of what is at `location`.
fn check_sum(location: &Location, checksum: &str) -> Result<(), String> {
    match location {
        Location::Git(_) => remote::check_commit(checksum).map_err(|reason| format!("--checksum: {reason}")),
        Location::Http(_) => match checksum.split_once(':') {
            Some(("sha256", digits)) => {
                let is_digest = digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                is_digest
                    .then_some(())
                    .ok_or_else(|| "--checksum=sha256: is followed by 64 digits of 0-9 and a-f".to_owned())
            }
            Some((algorithm, _)) => Err(format!("--checksum knows sha256 alone, not `{algorithm}`")),
            None => Err(format!("--checksum=`{checksum}` is not sha256: and 64 digits")),
        },
    }
}
