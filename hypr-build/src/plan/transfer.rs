//! `COPY` and `ADD`: what goes where, from which tree.

use super::{
    budget,
    error::{PlanError, Problem},
    expand::Words,
    graph::{Copy, Files, Operation, Origin},
    path,
    stage::{Builder, State},
    stages::{Source, Task},
};
use crate::{
    dockerfile::{self, Heredoc, Spanned},
    lint::Rule,
};

impl Builder<'_, '_> {
    pub(super) fn copy(
        &mut self,
        stage: usize,
        state: &mut State,
        task: &Task<'_>,
        copy: &dockerfile::Copy,
    ) -> Result<(), PlanError> {
        if copy.parents {
            return Err(Problem::NotYet("COPY --parents".to_owned()).at(task.span(task.statement.span)));
        }
        let from = match &copy.from {
            None => Files::Context,
            Some(from) => {
                let source = self.shared.stages.source(self.shared.request, stage, from);
                match source.map_err(|problem| problem.at(task.span(from.span)))? {
                    Source::Context(name) => Files::Named(name),
                    Source::Stage(source) => Files::Tree(self.built[&source].origin.clone()),
                    Source::Image(image) if image.name == "scratch" => Files::Tree(Origin::Scratch),
                    Source::Image(image) => Files::Tree(Origin::Image(image)),
                }
            }
        };
        let words = self.words(state, task);
        let mut sources = Vec::new();
        for word in &copy.sources {
            let source = words.word(word)?;
            if let Some(kind) = remote(&source) {
                let message = format!("COPY takes no {}; ADD does", kind.trim_start_matches("a "));
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
        self.files(state, task, "COPY", Copy { link: copy.link, ..operation }, &shown);
        Ok(())
    }

    pub(super) fn add(&mut self, state: &mut State, task: &Task<'_>, add: &dockerfile::Add) -> Result<(), PlanError> {
        let words = self.words(state, task);
        let mut sources = Vec::new();
        for word in &add.sources {
            let source = words.word(word)?;
            if let Some(kind) = remote(&source) {
                return Err(Problem::NotYet(format!("ADD of {kind}")).at(task.span(word.span)));
            }
            sources.push(source);
        }
        if let Some(checksum) = &add.checksum {
            let message = "--checksum is for remote sources; the sources here are files of the context";
            return Err(Problem::NotAllowed(message.to_owned()).at(task.span(checksum.span)));
        }
        let transfer = Transfer {
            sources,
            heredocs: &add.heredocs,
            destination: &add.destination,
            chown: add.chown.as_ref(),
            chmod: add.chmod.as_ref(),
            exclude: &add.exclude,
        };
        let (copy, shown) = transfer.copy(state, task, &words, Files::Context)?;
        let operation = Copy { link: add.link, unpack: add.unpack.unwrap_or(true), ..copy };
        self.undefined(state, task, words);
        self.files(state, task, "ADD", operation, &shown);
        Ok(())
    }

    /// Reports sources that the context leaves out. Rules with exceptions are not looked through: what they leave in
    /// below a source decides.
    fn ignored(&self, task: &Task<'_>, name: &str, sources: &[String]) {
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
    fn files(&mut self, state: &mut State, task: &Task<'_>, name: &str, copy: Copy, shown: &str) {
        if copy.from == Files::Context {
            self.ignored(task, name, &copy.sources);
        }
        let mut words = vec![name.to_owned()];
        words.extend(copy.chown.iter().map(|owner| format!("--chown={owner}")));
        words.extend(copy.chmod.iter().map(|mode| format!("--chmod={mode}")));
        words.extend(copy.sources.iter().cloned());
        words.extend(copy.inline.iter().map(|(name, _)| format!("<<{name}")));
        words.push(shown.to_owned());
        self.step(state, task, words.join(" "), Operation::Copy(copy));
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
        let copy = Copy {
            from,
            sources: self.sources,
            inline,
            destination,
            chown: optional(self.chown)?.filter(|owner| !owner.is_empty()),
            chmod: optional(self.chmod)?.filter(|mode| !mode.is_empty()),
            exclude: self.exclude.iter().map(|word| words.word(word)).collect::<Result<_, _>>()?,
            link: false,
            unpack: false,
        };
        Ok((copy, shown))
    }
}

/// What kind of remote source `ADD` is asked for, if it is one.
fn remote(source: &str) -> Option<&'static str> {
    let is_git = source.starts_with("git@")
        || source.starts_with("git://")
        || source.starts_with("ssh://")
        || source.split('#').next().is_some_and(|url| url.starts_with("http") && url.ends_with(".git"));
    match source {
        _ if is_git => Some("a git repository"),
        _ if source.starts_with("http://") || source.starts_with("https://") => Some("a URL"),
        _ => None,
    }
}
