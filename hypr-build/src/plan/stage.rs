//! One stage: its instructions in order, each either a step of the graph or a change of the configuration.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    CacheUse, MAX_ERRORS, Request,
    budget::{self, Budget},
    error::{PlanError, Problem},
    expand::Words,
    graph::{Graph, ImageRequest, Operation, Origin, Step, StepId, Workdir},
    history,
    outline::{self, Notes},
    path, shell,
    stages::{StageBase, Stages, Task},
    variables::{Places, Scope},
};
use crate::{
    dockerfile::{self, Escape, Instruction, Span, Spanned, nearest},
    image::{History, ImageConfig, Platform},
    lint::{self, Rule},
    progress::StepInfo,
};

/// What a stage came to.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    pub(crate) config: ImageConfig,
    pub(crate) origin: Origin,
    /// The arguments that it declared: a stage on top of it has them too.
    pub(super) scope: Scope,
    /// For each entry that this Dockerfile adds to the history: the step that made its layer.
    pub(crate) history: Vec<Option<StepId>>,
    /// Whether a `WORKDIR` of this Dockerfile has been.
    pub(super) workdir_set: bool,
    /// How many steps stand on one another to make its tree.
    height: usize,
    /// Whether all of its variables are known: its base image's configuration is.
    certain: bool,
}

/// What all stages are built with.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'r, 'a> {
    pub(crate) request: &'r Request<'a>,
    pub(crate) stages: &'r Stages<'a>,
    pub(crate) images: &'r BTreeMap<ImageRequest, ImageConfig>,
    pub(crate) budget: &'r Budget,
    pub(super) notes: &'r Notes,
}

/// What building a stage reads and adds to.
pub(crate) struct Builder<'r, 'a> {
    pub(crate) shared: Shared<'r, 'a>,
    pub(crate) built: &'r BTreeMap<usize, Built>,
    pub(crate) graph: &'r mut Graph,
}

impl Builder<'_, '_> {
    /// Builds the stage with this number; what it needs is built already. An instruction that cannot be planned goes
    /// to `errors` and changes nothing.
    ///
    /// # Errors
    /// Fails when the stage cannot even begin.
    pub(crate) fn build(mut self, stage: usize, errors: &mut Vec<PlanError>) -> Result<Built, PlanError> {
        let this = &self.shared.stages.stages[stage];
        let tasks = self.shared.stages.tasks(stage, self.shared.images)?;
        let mut base = self.base(&this.base);
        let fits = self.shared.budget.inherit(&base.config, &base.scope);
        fits.map_err(|problem| problem.at(this.from.span))?;
        if base.config.config.env("PATH").is_none() {
            // Docker gives every image a search path, once it is built upon.
            base.config.config.set_env("PATH", shell::DEFAULT_PATH);
        }
        for name in &this.used {
            if let Some(global) = self.shared.stages.globals.statement(name) {
                self.shared.notes.arg(outline::declared(global, name, self.shared.stages.globals.get(name)));
            }
        }
        if let StageBase::Image(request) = &this.base {
            self.check_platform(request, &base.config, this.from);
        }
        let label: Arc<str> = self.shared.stages.label(stage).into();
        let steps = tasks.iter().filter(|task| makes_step(&task.statement.instruction)).count();
        let uncached = match self.shared.request.cache {
            CacheUse::All => false,
            CacheUse::None => true,
            CacheUse::Except(stages) => stages.contains(&*label),
        };
        let places = Places::new(&base.config.config.env);
        let mut state = State { built: base, places, cmd_is_own: false, label, steps, done: 0, uncached };
        // The triggers are about to be carried out: the image made here has none but its own.
        state.built.config.config.on_build.clear();
        self.check_repeated(&tasks);
        for task in &tasks {
            if let Err(error) = self.instruction(stage, &mut state, task) {
                let changes_variables = matches!(task.statement.instruction, Instruction::Env(_) | Instruction::Arg(_));
                let is_limit = matches!(error.problem, Problem::TooLarge { .. });
                errors.push(error);
                // What follows would only be wrong because of it.
                if changes_variables || is_limit || errors.len() >= MAX_ERRORS {
                    break;
                }
            }
        }
        Ok(state.built)
    }

    fn base(&self, base: &StageBase) -> Built {
        let start = |config, origin, certain| Built {
            config,
            origin,
            scope: Scope::default(),
            history: Vec::new(),
            workdir_set: false,
            height: 0,
            certain,
        };
        match base {
            // Nothing is for every platform, whatever the stage says.
            StageBase::Scratch => start(scratch(self.shared.request.platform), Origin::Scratch, true),
            StageBase::Stage(base) => self.built[base].clone(),
            StageBase::Image(request) => start(
                self.shared.images[request].clone().into_base(),
                Origin::Image(request.clone()),
                !self.shared.request.unknown.contains(request),
            ),
        }
    }

    fn instruction(&mut self, stage: usize, state: &mut State, task: &Task<'_>) -> Result<(), PlanError> {
        self.charge(state, task).map_err(|problem| problem.at(task.span(task.statement.span)))?;
        match &task.statement.instruction {
            Instruction::Arg(arg) => self.arg(state, task, arg),
            Instruction::Run(run) => {
                self.shared.notes.run(run, task.line);
                self.run(stage, state, task, run)
            }
            Instruction::Copy(copy) => self.copy(stage, state, task, copy),
            Instruction::Add(add) => self.add(state, task, add),
            Instruction::Workdir(path) => self.workdir(state, task, path),
            _ => self.configure(state, task),
        }
    }

    /// Takes off the budget what an instruction costs apart from the words it expands: for a `RUN`, its environment.
    fn charge(&self, state: &State, task: &Task<'_>) -> Result<(), Problem> {
        let statement = &*task.statement;
        if !matches!(statement.instruction, Instruction::Run(_)) {
            return Ok(());
        }
        let text = self.shared.request.dockerfile.source.slice(statement.span);
        let text = if task.place.is_some() { &statement.text } else { text };
        let env = state.built.config.config.env.iter().map(|entry| VARIABLE + entry.len());
        let args = state.built.scope.args().map(|(name, value)| VARIABLE + 2 * (name.len() + value.len()));
        self.shared.budget.spend(env.chain(args).sum::<usize>() + text.len())
    }

    fn arg(&self, state: &mut State, task: &Task<'_>, arg: &dockerfile::Arg) -> Result<(), PlanError> {
        let words = self.words(state, task);
        let mut declared = Vec::new();
        for declaration in &arg.declarations {
            // The default of an argument that is given is not even looked at.
            let given = self.shared.request.args.contains_key(&declaration.name.value);
            let default = declaration.default.as_ref().filter(|_| !given);
            declared.push((declaration.name.value.clone(), default.map(|word| words.word(word)).transpose()?));
            if task.place.is_none() {
                lint::text::secret(&task.statement, "ARG", &declaration.name, self.shared.request.lint);
            }
        }
        self.undefined(state, task, words);
        let mut shown = vec!["ARG".to_owned()];
        let scope = &mut state.built.scope;
        for (name, default) in declared {
            let is_global = default.is_none() && !self.shared.request.args.contains_key(&name);
            match self.shared.stages.globals.statement(&name).filter(|_| is_global) {
                Some(global) => {
                    self.shared.notes.arg(outline::declared(global, &name, self.shared.stages.globals.get(&name)));
                }
                None if is_global && self.shared.stages.globals.get(&name).is_some() => {}
                None => {
                    let value = self.shared.request.args.get(&name).or(default.as_ref()).map(String::as_str);
                    self.shared.notes.arg(outline::declared(task.owner, &name, value));
                }
            }
            scope.declare(&name, default, self.shared.request.args, &self.shared.stages.globals);
            shown.push(match scope.arg(&name) {
                Some(value) => format!("{name}={value}"),
                None => name,
            });
        }
        let count = state.built.scope.count() + state.built.config.config.env.len();
        budget::variables(count).map_err(|problem| problem.at(task.span(task.statement.span)))?;
        state.note(shown.join(" "), None);
        Ok(())
    }

    fn workdir(&mut self, state: &mut State, task: &Task<'_>, word: &Spanned<String>) -> Result<(), PlanError> {
        let words = self.words(state, task);
        let written = words.word(word)?;
        self.undefined(state, task, words);
        let path = path::absolute(&state.built.config.config.working_dir, &written);
        // Each is relative to the one before, so that it is the whole which grows.
        let fits = budget::path(&written).and_then(|()| budget::path(&path));
        fits.and_then(|()| self.shared.budget.spend(path.len())).map_err(|problem| problem.at(task.span(word.span)))?;
        if !written.starts_with('/') && !state.built.workdir_set {
            self.report(Rule::WorkdirRelativePath, task, word.span, || {
                format!("relative WORKDIR `{written}` without an absolute one before it depends on the base image")
            });
        }
        state.built.workdir_set = true;
        let config = &mut state.built.config.config;
        config.working_dir.clone_from(&path);
        let user = config.user.clone();
        self.step(state, task, format!("WORKDIR {path}"), Operation::Workdir(Workdir { path, user }))
    }

    pub(super) fn step(
        &mut self,
        state: &mut State,
        task: &Task<'_>,
        mut text: String,
        operation: Operation,
    ) -> Result<(), PlanError> {
        state.built.height += 1;
        let fits = budget::steps(state.built.height);
        fits.map_err(|problem| problem.at(task.span(task.statement.span)))?;
        state.done += 1;
        let info = StepInfo {
            id: 0,
            stage: state.label.clone(),
            number: state.done,
            of: state.steps,
            text: crate::remote::hide_password(&task.statement.text).into(),
            line: task.line,
        };
        if !matches!(operation, Operation::Workdir(_)) {
            text.push_str(history::CARRIED_OUT);
        }
        let step = Step { info, parent: state.built.origin.clone(), operation, uncached: state.uncached };
        let id = self.graph.push(step);
        state.built.origin = Origin::Step(id);
        state.note(text, Some(id));
        Ok(())
    }

    /// Expansion with what is visible at this point of the stage.
    pub(super) fn words<'s>(&self, state: &'s State, task: &Task<'_>) -> Words<'_, 's> {
        // A trigger was written in another file, whose escape character is not known any more.
        let escape = match task.place {
            None => self.shared.request.dockerfile.directives.escape,
            Some(_) => Escape::default(),
        };
        Words::new(escape, self.shared.budget, |name| state.variable(name))
    }

    /// Reports the variables that an instruction used and nothing has declared.
    pub(super) fn undefined(&self, state: &State, task: &Task<'_>, words: Words<'_, '_>) {
        if !state.built.certain || self.shared.request.lint.is_full() {
            return;
        }
        let (scope, undefined) = (&state.built.scope, words.undefined());
        for (name, span) in undefined {
            // Declared arguments without a value are defined all the same.
            if scope.is_declared(&name) {
                continue;
            }
            self.report(Rule::UndefinedVar, task, span, || {
                let env = state.built.config.config.env.iter().filter_map(|entry| entry.split_once('='));
                let known = env.map(|(name, _)| name).chain(scope.args().map(|(name, _)| name));
                let near = nearest(&name, known).map(|near| format!(" (did you mean `${near}`?)"));
                format!("the variable `${name}` is not defined{}", near.unwrap_or_default())
            });
        }
    }

    pub(super) fn report(&self, rule: Rule, task: &Task<'_>, span: Span, detail: impl FnOnce() -> String) {
        self.shared.request.lint.report(rule, task.owner, task.span(span), detail);
    }

    fn check_platform(&self, request: &ImageRequest, config: &ImageConfig, from: &dockerfile::Statement) {
        let (wanted, found) = (&request.platform, config.platform());
        let differs = wanted.os() != found.os() || wanted.architecture() != found.architecture();
        if differs && !found.os().is_empty() && !found.architecture().is_empty() {
            self.shared.request.lint.report(Rule::InvalidBaseImagePlatform, from, from.span, || {
                format!("the base image `{}` is for {found}, not for {wanted}", request.name)
            });
        }
    }

    /// Reports all but the last of the instructions that replace each other.
    fn check_repeated(&self, tasks: &[Task<'_>]) {
        for name in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
            let mut found = tasks.iter().rev().filter(|task| task.statement.instruction.name() == name);
            found.next();
            for task in found {
                self.report(Rule::MultipleInstructionsDisallowed, task, task.statement.keyword.span, || {
                    format!("only the last {name} of a stage counts; this one does not")
                });
            }
        }
    }
}

/// What a variable of a process costs beside its text, in bytes.
const VARIABLE: usize = 96;

/// A stage half-way.
pub(super) struct State {
    pub(super) built: Built,
    /// Of the variables in `built`'s configuration.
    places: Places,
    /// Whether `CMD` was set in this stage.
    pub(super) cmd_is_own: bool,
    label: Arc<str>,
    /// How many steps the stage will have.
    steps: usize,
    /// How many of them are in the graph.
    done: usize,
    uncached: bool,
}

impl State {
    /// What `$name` is at this point.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.built.scope.visible(name).or_else(|| self.places.get(&self.built.config.config.env, name))
    }

    /// `ENV name=value`.
    pub(super) fn set_env(&mut self, name: &str, value: &str) {
        self.places.set(&mut self.built.config.config.env, name, value);
        self.built.scope.hide(name);
    }

    /// Adds an entry to the history.
    pub(super) fn note(&mut self, text: String, step: Option<StepId>) {
        let entry = History {
            created_by: Some(text),
            comment: Some(history::COMMENT.to_owned()),
            empty_layer: step.is_none(),
            ..History::default()
        };
        self.built.config.history.push(entry);
        self.built.history.push(step);
    }
}

/// What `FROM scratch` begins with. Docker gives such an image a search path and a directory too.
fn scratch(platform: &Platform) -> ImageConfig {
    let mut config = ImageConfig::new(platform);
    config.config.working_dir = "/".to_owned();
    config
}

/// Whether the instruction is a step of the graph.
fn makes_step(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) | Instruction::Workdir(_))
}

pub(super) fn values(words: &[Spanned<String>]) -> Vec<String> {
    words.iter().map(|word| word.value.clone()).collect()
}
