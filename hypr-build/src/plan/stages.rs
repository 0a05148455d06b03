//! The stages of a Dockerfile: names, bases, and which of them the target needs.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    ContextKind, Request,
    budget::{self, Budget},
    error::{PlanError, Problem},
    expand::Words,
    from::{self, Froms},
    graph::ImageRequest,
    variables::Globals,
};
use crate::{
    dockerfile::{self, Dockerfile, Instruction, Span, Statement},
    image::{ImageConfig, Reference},
};

/// A stage before any of its instructions is looked at.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// In lower case.
    pub(crate) name: Option<String>,
    pub(crate) base: StageBase,
    pub(crate) from: &'a Statement,
    /// The arguments that its `FROM` used, and those that these were made of.
    pub(crate) used: BTreeSet<String>,
    /// What follows `FROM`, up to the next one.
    pub(crate) statements: &'a [Statement],
    /// The triggers among them, for the stages on top of it.
    triggers: Vec<&'a str>,
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
    /// The stages of each name, in order: looking through all of them would take quadratic time.
    names: BTreeMap<String, Vec<usize>>,
    pub(crate) globals: Globals<'a>,
    pub(crate) target: usize,
}

/// An instruction to be carried out in a stage: its own, or a trigger of what it stands on.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    pub(crate) statement: Cow<'a, Statement>,
    /// Where to point when it fails: a trigger's own place is in another file.
    pub(crate) place: Option<Span>,
    pub(crate) line: usize,
    /// The statement of this file that asks for it: itself, or the `FROM` that triggers it.
    pub(crate) owner: &'a Statement,
}

impl Task<'_> {
    /// The place to point at for something at `span` of the instruction.
    pub(crate) fn span(&self, span: Span) -> Span {
        self.place.unwrap_or(span)
    }
}

impl<'a> Stages<'a> {
    /// Reads the stages, with every `FROM` expanded, and finds the target.
    pub(crate) fn new(request: &Request<'a>, budget: &Budget) -> Result<Self, Vec<PlanError>> {
        let dockerfile: &'a Dockerfile = request.dockerfile;
        let statements = &dockerfile.statements;
        let last = statements.iter().rev().find_map(|statement| match &statement.instruction {
            Instruction::From(from) => Some(from),
            _ => None,
        });
        // Without --target it is the name of the last stage, if it has one.
        let last = last.and_then(dockerfile::From::stage_name);
        let stage_name = request.target.map(str::to_ascii_lowercase).or(last).unwrap_or_else(|| "default".to_owned());
        let mut froms = Froms::new(request, &stage_name, budget);
        let mut errors = Vec::new();
        let mut this = Self { stages: Vec::new(), names: BTreeMap::new(), globals: Globals::default(), target: 0 };
        for (at, statement) in statements.iter().enumerate() {
            match &statement.instruction {
                Instruction::From(from) => {
                    let following = &statements[at + 1..];
                    let end = following.iter().position(|s| matches!(s.instruction, Instruction::From(_)));
                    let statements = &following[..end.unwrap_or(following.len())];
                    match this.stage(request, &froms, statement, from, statements) {
                        Ok(stage) => this.push(stage),
                        Err(error) => errors.push(error),
                    }
                }
                Instruction::Arg(arg) if this.stages.is_empty() && errors.is_empty() => {
                    if let Err(error) = froms.declare(statement, arg) {
                        errors.push(error);
                    }
                }
                _ => {}
            }
        }
        this.globals = froms.finish();
        if !errors.is_empty() {
            return Err(errors);
        }
        this.target = this.find_target(request.target).map_err(|error| vec![error])?;
        Ok(this)
    }

    fn stage(
        &self,
        request: &Request<'a>,
        froms: &Froms<'_, 'a>,
        statement: &'a Statement,
        from: &dockerfile::From,
        statements: &'a [Statement],
    ) -> Result<Stage<'a>, PlanError> {
        let from::Expanded { image, platform, used } = froms.expand(statement, from)?;
        let name = from.stage_name();
        let base = |name: String| StageBase::Image(ImageRequest { name, platform: platform.clone() });
        // An image that is given for a stage's name takes the stage's place, instructions and all.
        let replacement = name.as_deref().and_then(|name| context(request, name));
        if let Some((given, ContextKind::Image)) = replacement {
            let base = base(given.to_owned());
            return Ok(Stage { name, base, from: statement, used, statements: &[], triggers: Vec::new() });
        }
        let base = if let Some((given, _)) = context(request, &image) {
            base(given.to_owned())
        } else if let Some(&stage) = self.names.get(&image.to_ascii_lowercase()).and_then(|stages| stages.last()) {
            StageBase::Stage(stage)
        } else if image == "scratch" {
            StageBase::Scratch
        } else {
            base(image)
        };
        let triggers = statements.iter().filter_map(|statement| match &statement.instruction {
            Instruction::Onbuild(onbuild) => Some(onbuild.trigger.as_str()),
            _ => None,
        });
        Ok(Stage { name, base, from: statement, used, statements, triggers: triggers.collect() })
    }

    fn push(&mut self, stage: Stage<'a>) {
        if let Some(name) = &stage.name {
            self.names.entry(name.clone()).or_default().push(self.stages.len());
        }
        self.stages.push(stage);
    }

    /// The stage's name, or its number where it has none.
    pub(crate) fn label(&self, stage: usize) -> String {
        self.stages[stage].name.clone().unwrap_or_else(|| format!("stage-{stage}"))
    }

    /// Whether a stage is called so.
    pub(crate) fn has_label(&self, label: &str) -> bool {
        self.names.contains_key(label) || (0..self.stages.len()).any(|stage| self.label(stage) == label)
    }

    /// The triggers that a stage carries out. Those of an image whose configuration is not known are missing.
    pub(crate) fn triggers<'t>(
        &'t self,
        stage: usize,
        images: &'t BTreeMap<ImageRequest, ImageConfig>,
    ) -> Cow<'t, [&'t str]> {
        match &self.stages[stage].base {
            StageBase::Scratch => Cow::Borrowed(&[]),
            StageBase::Stage(base) => Cow::Borrowed(&self.stages[*base].triggers),
            StageBase::Image(request) => {
                let config = images.get(request);
                Cow::Owned(config.iter().flat_map(|config| &config.config.on_build).map(String::as_str).collect())
            }
        }
    }

    /// The instructions of a stage: what its base triggers, then its own. Triggers of an image whose configuration is not
    /// known are missing.
    pub(crate) fn tasks(
        &self,
        stage: usize,
        images: &BTreeMap<ImageRequest, ImageConfig>,
    ) -> Result<Vec<Task<'a>>, PlanError> {
        let this = &self.stages[stage];
        let (place, line, owner) = (Some(this.from.span), this.from.line, this.from);
        let mut tasks = Vec::new();
        for text in &*self.triggers(stage, images) {
            let statement = Cow::Owned(trigger(text, this.from.span)?);
            tasks.push(Task { statement, place, line, owner });
        }
        let own = this.statements.iter();
        tasks.extend(own.map(|s| Task { statement: Cow::Borrowed(s), place: None, line: s.line, owner: s }));
        Ok(tasks)
    }

    /// What `--from` stands for in `stage`: a named context, a stage by name or number, else an image.
    pub(crate) fn source(&self, request: &Request<'_>, stage: usize, from: &str) -> Result<Source, Problem> {
        budget::path(from)?;
        let image = |name: &str| {
            // Of an image to copy from, the target's platform is meant, whatever the stage's own.
            Source::Image(ImageRequest { name: name.to_owned(), platform: request.platform.clone() })
        };
        if let Some((given, kind)) = context(request, from) {
            return Ok(match kind {
                ContextKind::Directory => Source::Context(given.to_owned()),
                ContextKind::Image => image(given),
            });
        }
        if let Some(stages) = self.names.get(&from.to_ascii_lowercase()) {
            // An earlier stage of the name is meant before a later one.
            let earlier = stages.partition_point(|found| *found < stage).checked_sub(1);
            let found = earlier.map(|at| stages[at]).or_else(|| stages.last().copied());
            return found.map(Source::Stage).ok_or(Problem::NoStage);
        }
        if let Ok(number) = from.parse::<usize>() {
            return match number < self.stages.len() {
                true => Ok(Source::Stage(number)),
                false => Err(Problem::UnknownStageNumber { number, stages: self.stages.len() }),
            };
        }
        Ok(image(from))
    }

    fn find_target(&self, target: Option<&str>) -> Result<usize, PlanError> {
        let Some(last) = self.stages.len().checked_sub(1) else { return Err(Problem::NoStage.nowhere()) };
        let Some(target) = target else { return Ok(last) };
        let by_number = || target.parse().ok().filter(|number| *number < self.stages.len());
        let by_name = self.names.get(&target.to_ascii_lowercase()).and_then(|stages| stages.last()).copied();
        by_name.or_else(by_number).ok_or_else(|| {
            let stages = self.stages.iter().filter_map(|stage| stage.name.clone()).take(20).collect();
            Problem::UnknownTarget { name: target.to_owned(), stages }.nowhere()
        })
    }
}

/// The named context that an image or stage name stands for. `alpine`, `alpine:latest` and
/// `docker.io/library/alpine` are one name.
fn context<'r>(request: &Request<'r>, name: &str) -> Option<(&'r str, ContextKind)> {
    if request.contexts.is_empty() || matches!(name, "scratch" | "context") {
        return None;
    }
    if let Some((given, kind)) = request.contexts.get_key_value(name) {
        return Some((given, *kind));
    }
    let wanted: Reference = name.parse().ok()?;
    let same = |given: &str| given.parse::<Reference>().is_ok_and(|given| given == wanted);
    request.contexts.iter().find(|(given, _)| same(given)).map(|(given, kind)| (given.as_str(), *kind))
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

/// The words of a line above the first stage.
pub(super) fn words<'b, 'v>(request: &Request<'_>, budget: &'b Budget, globals: &'v Globals<'_>) -> Words<'b, 'v> {
    Words::new(request.dockerfile.directives.escape, budget, |name| globals.get(name))
}
