//! The stages of a Dockerfile: names, bases, and which of them the target needs.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    Request,
    error::{PlanError, Problem},
    expand,
    graph::ImageRequest,
    variables::{self, Globals},
};
use crate::{
    dockerfile::{self, Dockerfile, Instruction, Span, Spanned, Statement},
    image::{ImageConfig, Platform},
};

/// A stage before any of its instructions is looked at.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// In lower case.
    pub(crate) name: Option<String>,
    pub(crate) base: StageBase,
    pub(crate) platform: Platform,
    pub(crate) from: &'a Statement,
    /// What follows `FROM`, up to the next one.
    pub(crate) statements: &'a [Statement],
}

/// What a stage starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StageBase {
    Scratch,
    /// An earlier stage.
    Stage(usize),
    Image(ImageRequest),
}

/// A tree that `--from` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A directory given with `--build-context`.
    Context(String),
    Stage(usize),
    Image(ImageRequest),
}

/// All stages, and what the lines above the first of them declare.
#[derive(Debug)]
pub(crate) struct Stages<'a> {
    pub(crate) stages: Vec<Stage<'a>>,
    pub(crate) globals: Globals,
    pub(crate) target: usize,
}

/// An instruction to be carried out in a stage: its own, or a trigger of what it stands on.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    pub(crate) statement: Cow<'a, Statement>,
    /// Where to point when it fails: a trigger's own place is in another file.
    pub(crate) place: Option<Span>,
    pub(crate) line: usize,
}

impl Task<'_> {
    /// The place to point at for something at `span` of the instruction.
    pub(crate) fn span(&self, span: Span) -> Span {
        self.place.unwrap_or(span)
    }
}

impl<'a> Stages<'a> {
    /// Reads the stages, with every `FROM` expanded, and finds the target.
    pub(crate) fn new(request: &Request<'a>) -> Result<Self, PlanError> {
        let dockerfile: &'a Dockerfile = request.dockerfile;
        let mut globals = Globals::new(variables::automatic(request.platform, request.target.unwrap_or("default")));
        let mut stages: Vec<Stage<'a>> = Vec::new();
        // The latest stage of each name: looking back through all of them would take quadratic time.
        let mut names = BTreeMap::new();
        let statements = &dockerfile.statements;
        for (at, statement) in statements.iter().enumerate() {
            match &statement.instruction {
                Instruction::From(from) => {
                    let expander = expand::Words::new(dockerfile.directives.escape, |name| globals.get(name));
                    let platform = platform(request, &expander, from.platform.as_ref())?;
                    let image = expander.word(&from.image)?;
                    if image.is_empty() {
                        let what = "the base image's name";
                        return Err(Problem::EmptyImage { what, word: from.image.value.clone() }.at(from.image.span));
                    }
                    let base = if request.contexts.contains_key(&image) {
                        StageBase::Image(ImageRequest { name: image, platform: platform.clone() })
                    } else if let Some(&stage) = names.get(&image.to_ascii_lowercase()) {
                        StageBase::Stage(stage)
                    } else if image == "scratch" {
                        StageBase::Scratch
                    } else {
                        StageBase::Image(ImageRequest { name: image, platform: platform.clone() })
                    };
                    let following = &statements[at + 1..];
                    let end = following.iter().position(|s| matches!(s.instruction, Instruction::From(_)));
                    let name = from.stage_name();
                    if let Some(name) = &name {
                        names.insert(name.clone(), stages.len());
                    }
                    let statements = &following[..end.unwrap_or(following.len())];
                    stages.push(Stage { name, base, platform, from: statement, statements });
                }
                Instruction::Arg(arg) if stages.is_empty() => {
                    for declaration in &arg.declarations {
                        let expander = expand::Words::new(dockerfile.directives.escape, |name| globals.get(name));
                        let default = declaration.default.as_ref().map(|word| expander.word(word)).transpose()?;
                        globals.declare(&declaration.name, default, request.args);
                    }
                }
                _ => {}
            }
        }
        let target = target(&stages, &names, request.target)?;
        Ok(Self { stages, globals, target })
    }

    /// The stage's name, or its number where it has none.
    pub(crate) fn label(&self, stage: usize) -> String {
        self.stages[stage].name.clone().unwrap_or_else(|| format!("stage-{stage}"))
    }

    /// Whether a stage is called so.
    pub(crate) fn has_label(&self, label: &str) -> bool {
        (0..self.stages.len()).any(|stage| self.label(stage) == label)
    }

    /// The instructions of a stage: what its base triggers, then its own. Triggers of an image whose configuration is not
    /// known are missing.
    pub(crate) fn tasks(
        &self,
        stage: usize,
        images: &BTreeMap<ImageRequest, ImageConfig>,
    ) -> Result<Vec<Task<'a>>, PlanError> {
        let this = &self.stages[stage];
        let place = Some(this.from.span);
        let line = this.from.line;
        let mut tasks = Vec::new();
        match &this.base {
            StageBase::Scratch => {}
            StageBase::Stage(base) => {
                for statement in self.stages[*base].statements {
                    if let Instruction::Onbuild(onbuild) = &statement.instruction {
                        tasks.push(Task {
                            statement: Cow::Owned(trigger(&onbuild.trigger, this.from.span)?),
                            place,
                            line,
                        });
                    }
                }
            }
            StageBase::Image(request) => {
                for text in images.get(request).map_or(&[][..], |config| &config.config.on_build) {
                    tasks.push(Task { statement: Cow::Owned(trigger(text, this.from.span)?), place, line });
                }
            }
        }
        let own = this.statements.iter();
        tasks.extend(own.map(|s| Task { statement: Cow::Borrowed(s), place: None, line: s.line }));
        Ok(tasks)
    }

    /// What `--from` stands for in `stage`: a named context, a stage by name or number, else an image.
    pub(crate) fn source(&self, request: &Request<'_>, stage: usize, from: &str) -> Result<Source, Problem> {
        if let Some(context) = request.contexts.get(from) {
            return Ok(match context {
                super::ContextKind::Directory => Source::Context(from.to_owned()),
                super::ContextKind::Image => Source::Image(self.image(stage, from)),
            });
        }
        let named = |stages: &[Stage<'_>]| {
            stages.iter().rposition(|s| s.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(from)))
        };
        // An earlier stage of the name is meant before a later one.
        if let Some(found) = named(&self.stages[..stage]).or_else(|| named(&self.stages)) {
            return Ok(Source::Stage(found));
        }
        if let Ok(number) = from.parse::<usize>() {
            return match number < self.stages.len() {
                true => Ok(Source::Stage(number)),
                false => Err(Problem::UnknownStageNumber { number, stages: self.stages.len() }),
            };
        }
        Ok(Source::Image(self.image(stage, from)))
    }

    fn image(&self, stage: usize, name: &str) -> ImageRequest {
        ImageRequest { name: name.to_owned(), platform: self.stages[stage].platform.clone() }
    }
}

fn platform<'v>(
    request: &Request<'_>,
    expander: &expand::Words<impl Fn(&str) -> Option<&'v str> + 'v>,
    flag: Option<&Spanned<String>>,
) -> Result<Platform, PlanError> {
    let Some(word) = flag else { return Ok(request.platform.clone()) };
    let text = expander.word(word)?;
    if text.is_empty() {
        return Err(Problem::EmptyImage { what: "--platform", word: word.value.clone() }.at(word.span));
    }
    let expected = "a platform such as linux/amd64";
    text.parse().map_err(|_| Problem::Value { value: text, expected }.at(word.span))
}

fn target(stages: &[Stage<'_>], names: &BTreeMap<String, usize>, target: Option<&str>) -> Result<usize, PlanError> {
    let Some(last) = stages.len().checked_sub(1) else { return Err(Problem::NoStage.nowhere()) };
    let Some(target) = target else { return Ok(last) };
    let by_number = || target.parse().ok().filter(|number| *number < stages.len());
    names.get(&target.to_ascii_lowercase()).copied().or_else(by_number).ok_or_else(|| {
        let stages = stages.iter().filter_map(|stage| stage.name.clone()).collect();
        Problem::UnknownTarget { name: target.to_owned(), stages }.nowhere()
    })
}

/// Parses a trigger, which the image's configuration holds as text.
fn trigger(text: &str, place: Span) -> Result<Statement, PlanError> {
    let malformed = |reason: String| Problem::Trigger { trigger: text.to_owned(), reason }.at(place);
    let parsed = dockerfile::parse_trigger(text).map_err(|errors| malformed(errors.to_string()))?;
    let mut statements = parsed.statements.into_iter();
    match (statements.next(), statements.next()) {
        (Some(statement), None) => Ok(statement),
        _ => Err(malformed(String::from("it is not one instruction"))),
    }
}
